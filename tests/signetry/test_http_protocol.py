"""The bounds of HTTP/1, tried on a real server over a real socket."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from signetry.app import WebParts, public_app
from signetry.http_protocol import HEAD_AT_MOST, BoundedHttpToolsProtocol
from signetry.settings import Settings, load_settings
from signetry.web import configure


class Hasty(BoundedHttpToolsProtocol):
    """The same with little patience."""

    head_seconds = 0.3
    body_seconds = 0.3
    write_seconds = 0.3


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse(
        {"query": len(request.url.query), "body": len(body), "client": request.client.host if request.client else ""}
    )


LARGE = 32 * 1024 * 1024


async def large(_request: Request) -> Response:
    return Response(bytes(LARGE))


class Service:
    """A server in a thread."""

    def __init__(self, settings: Settings, protocol: type[BoundedHttpToolsProtocol]) -> None:
        routes = [Route("/echo", echo, methods=["GET", "POST"]), Route("/large", large)]
        config = configure(public_app(WebParts(public_routes=routes)), settings)
        config.http = protocol
        self._config = config
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve(sockets=[self._socket])))
        self._thread.start()

    def limit(self, connections: int) -> None:
        """Take no more than so many connections from now on."""
        self._config.limit_concurrency = connections

    def stop(self) -> None:
        """End the server and its thread."""
        self._server.should_exit = True
        self._thread.join()

    def exchange(self, *parts: bytes) -> bytes:
        """Send ``parts`` and return all that comes back until the server closes."""
        with socket.create_connection(self.address, timeout=10) as connection:
            answer = b""
            try:
                for part in parts:
                    connection.sendall(part)
                while data := connection.recv(65536):
                    answer += data
            except ConnectionError:
                pass
            return answer


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(load_settings(home=tmp_path), BoundedHttpToolsProtocol)
    yield running
    running.stop()


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Service]:
    running = Service(load_settings(home=tmp_path), Hasty)
    yield running
    running.stop()


@pytest.fixture
def behind_proxy(tmp_path: Path) -> Iterator[Service]:
    running = Service(load_settings(home=tmp_path, trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"]), BoundedHttpToolsProtocol)
    yield running
    running.stop()


def test_a_request_line_of_48_kib_is_served(service: Service) -> None:
    answer = service.exchange(b"GET /echo?" + b"x" * 49152 + b" HTTP/1.1\r\nHost: ca\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"query":49152' in answer


def test_http_1_0_without_a_host_is_served_and_closed(service: Service) -> None:
    answer = service.exchange(b"GET /echo HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()
    assert b"transfer-encoding" not in answer.lower()


def test_http_1_1_without_a_host_is_served(service: Service) -> None:
    assert service.exchange(b"GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_an_endless_request_line_is_refused(service: Service) -> None:
    assert service.exchange(b"GET /echo?", *[b"x" * 16384] * 40).startswith(b"HTTP/1.1 414 ")


def test_an_endless_head_is_refused(service: Service) -> None:
    answer = service.exchange(b"GET /echo HTTP/1.1\r\n", *[b"X-Header: " + b"x" * 16384 + b"\r\n"] * 40)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_an_endless_header_is_refused(service: Service) -> None:
    answer = service.exchange(b"GET /echo HTTP/1.1\r\nHost: ca\r\nX-Header: ", *[b"x" * 16384] * 40)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_the_bound_is_on_the_head_not_on_the_body(service: Service) -> None:
    size = 3 * HEAD_AT_MOST
    head = f"POST /echo HTTP/1.1\r\nHost: ca\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()
    assert f'"body":{size}'.encode() in service.exchange(head, b"x" * size)


def test_the_bound_starts_anew_with_each_request_of_a_connection(service: Service) -> None:
    request = b"GET /echo?" + b"x" * 40000 + b" HTTP/1.1\r\nHost: ca\r\n"
    answer = service.exchange(request + b"\r\n", request + b"\r\n", request + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 3


def test_a_head_that_trickles_is_timed_out(hasty: Service) -> None:
    assert hasty.exchange(b"GET /echo HTTP/1.1\r\nHost:").startswith(b"HTTP/1.1 408 ")


def test_a_silent_connection_is_closed(hasty: Service) -> None:
    assert hasty.exchange(b"") == b""


def test_a_body_that_trickles_is_given_up(hasty: Service) -> None:
    answer = hasty.exchange(b"POST /echo HTTP/1.1\r\nHost: ca\r\nContent-Length: 100\r\n\r\nx")
    assert b" 200 " not in answer


def test_an_empty_line_after_a_request_holds_no_connection(hasty: Service) -> None:
    """It stops the keep-alive clock and begins no request."""
    with socket.create_connection(hasty.address, timeout=5) as connection:
        connection.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        connection.sendall(b"\r\n")
        assert connection.recv(65536) == b""


CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "line"),
    [
        pytest.param(CHUNKED + b"0\r\n", b"x: " + b"y" * 1000 + b"\r\n", id="trailers"),
        pytest.param(CHUNKED + b"1;x=", b"y" * 1000, id="chunk extension"),
    ],
)
def test_what_frames_a_body_has_an_end(service: Service, head: bytes, line: bytes) -> None:
    with socket.create_connection(service.address, timeout=5) as connection:
        connection.sendall(head)
        # Much more than the kernel buffers for both sides.
        with pytest.raises(ConnectionError):
            connection.sendall(line * 40_000)


def test_a_chunked_body_with_small_chunks_and_trailers_is_read(service: Service) -> None:
    head = CHUNKED.replace(b"Host", b"Connection: close\r\nHost")
    answer = service.exchange(head, b"1\r\nx\r\n" * 20_000, b"0\r\nx: y\r\n\r\n")
    assert b'"body":20000' in answer


def drained(connection: socket.socket) -> int:
    """Read until the end; return how many bytes came."""
    taken = 0
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(1 << 20):
            taken += len(data)
    return taken


def test_a_peer_that_does_not_read_its_answer_is_given_up(hasty: Service) -> None:
    with socket.create_connection(hasty.address, timeout=5) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.5)
        assert drained(connection) < LARGE


def test_a_peer_that_reads_gets_all_of_a_large_answer(hasty: Service) -> None:
    with socket.create_connection(hasty.address, timeout=5) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert drained(connection) > LARGE


def test_a_connection_too_many_is_closed_at_once(service: Service) -> None:
    service.limit(2)
    with contextlib.ExitStack() as stack:
        first, second, third = (stack.enter_context(socket.create_connection(service.address, timeout=5)) for _ in range(3))
        with contextlib.suppress(ConnectionError):
            assert third.recv(1) == b""
        first.close()
        second.close()
    assert service.exchange(b"GET /echo HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_no_server_header_is_sent(service: Service) -> None:
    head = service.exchange(b"GET /healthz HTTP/1.0\r\n\r\n").split(b"\r\n\r\n")[0].lower()
    assert b"\r\nserver:" not in head


def test_a_forwarded_address_counts_only_from_a_trusted_proxy(service: Service, behind_proxy: Service) -> None:
    request = b"GET /echo HTTP/1.0\r\nX-Forwarded-For: 1.2.3.4, 198.51.100.7, 10.9.9.9\r\n\r\n"
    assert b'"client":"127.0.0.1"' in service.exchange(request)
    # The last hop that is no proxy of ours; what stands before it is the client's own claim.
    assert b'"client":"198.51.100.7"' in behind_proxy.exchange(request)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 11\r\n\r\nhello world", b"Transfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("pieces", [1, 3])
def test_an_offer_to_upgrade_is_ignored_and_the_body_is_read(service: Service, framing: bytes, pieces: int) -> None:
    """As Java's HttpClient posts to a plain listener."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    whole = b"POST /echo HTTP/1.1\r\nHost: x\r\n" + offer + framing
    after = b"GET /echo?next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    step = -(-len(whole) // pieces)
    answer = service.exchange(*(whole[start : start + step] for start in range(0, len(whole), step)), after)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b'"body":11' in answer
    assert b'"query":4' in answer


def test_an_offer_to_upgrade_without_a_body_is_ignored(service: Service) -> None:
    for protocol in (b"h2c", b"websocket"):
        offer = b"GET /echo?q HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        answer = service.exchange(offer, b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_connect_is_answered_as_any_unknown_method(service: Service) -> None:
    answer = service.exchange(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 4")
