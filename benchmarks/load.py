"""A load generator for SCEP: requests made beforehand, sent over kept-alive connections, every reply checked afterwards.

It shares the processors with what it measures, so it does as little as it can while the clock runs: plain sockets behind one
epoll, the bytes to send made beforehand, no parsing beyond Content-Length. What it costs is reported beside each rate.
"""

import resource
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from scep import message
from scep.message import PkiStatus

_RECEIVE_BYTES = 65536
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: ``rate`` in enrolments a second, latencies in seconds, ``generator_cpu`` in seconds an enrolment."""

    rate: float
    median: float
    p99: float
    failed: int
    generator_cpu: float


def run(url: str, requests: Sequence[bytes], connections: int, *, per_second: float | None = None) -> Outcome:
    """Send ``requests`` (PKIMessages, DER) to ``url`` by POST over ``connections`` at once; each is sent once.

    Without ``per_second`` a connection sends its next request as soon as it has an answer. With it, requests fall due at that
    rate whatever the server does, and latencies count from when they were due: a server that stalls cannot hide it.
    """
    run = _Run(url, requests, connections, per_second)
    cpu = _cpu()
    elapsed = run.drive()
    cpu = _cpu() - cpu
    failed = sum(not _succeeded(reply) for reply in run.replies) + len(requests) - len(run.replies)
    ordered = sorted(run.latencies) or [0.0]
    return Outcome(
        rate=(len(requests) - failed) / elapsed,
        median=ordered[len(ordered) // 2],
        p99=ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        failed=failed,
        generator_cpu=cpu / len(requests),
    )


class _Connection:
    """A connection with at most one request under way."""

    __slots__ = ("began", "received", "socket")

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.began = 0.0

    def send(self, request: bytes, began: float) -> None:
        """Send a request whole: a few kilobytes fit into the socket's buffer."""
        self.began = began
        self.received = b""
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Return the body of the answer once it is there."""
        chunk = self.socket.recv(_RECEIVE_BYTES)
        if not chunk:
            raise ConnectionError("closed")
        self.received += chunk
        return _body(self.received)


class _Run:
    def __init__(self, url: str, requests: Sequence[bytes], connections: int, per_second: float | None) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        head = (
            f"POST {parts.path}?operation=PKIOperation HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/x-pki-message\r\nContent-Length: "
        ).encode()
        self._waiting = deque(b"%s%d\r\n\r\n%s" % (head, len(request), request) for request in requests)
        self._per_second = per_second
        self._connections = {made.socket.fileno(): made for made in (_Connection(host, port) for _ in range(connections))}
        self._idle = deque(self._connections.values())
        self._poll = select.epoll()
        for number in self._connections:
            self._poll.register(number, select.EPOLLIN)
        self._sent = 0
        self.replies: list[bytes] = []
        self.latencies: list[float] = []

    def drive(self) -> float:
        """Send everything, take every answer; return the seconds that took."""
        began = time.perf_counter()
        while self._connections and (self._waiting or len(self._idle) < len(self._connections)):
            pause = self._send_due(began)
            events = self._poll.poll(_PATIENCE_SECONDS if pause is None else max(pause, 0.0))
            if not events and pause is None:
                break
            for number, _ in events:
                self._take(self._connections[number])
        elapsed = time.perf_counter() - began
        for connection in self._connections.values():
            connection.socket.close()
        self._poll.close()
        return elapsed

    def _send_due(self, began: float) -> float | None:
        """Send what is due over connections that are free; return the seconds until more is due, None if only answers are."""
        while self._waiting and self._idle:
            now = time.perf_counter()
            due = now if self._per_second is None else began + self._sent / self._per_second
            if due > now:
                return due - now
            self._sent += 1
            connection = self._idle.popleft()
            try:
                connection.send(self._waiting.popleft(), due)
            except OSError:
                self._lose(connection)
        return None

    def _take(self, connection: _Connection) -> None:
        try:
            body = connection.receive()
        except OSError:
            self._lose(connection)
            return
        if body is not None:
            self.latencies.append(time.perf_counter() - connection.began)
            self.replies.append(body)
            self._idle.append(connection)

    def _lose(self, connection: _Connection) -> None:
        """Go on without a connection that broke; what was under way on it has failed."""
        number = connection.socket.fileno()
        self._poll.unregister(number)
        del self._connections[number]
        connection.socket.close()


def _body(received: bytes) -> bytes | None:
    """Return the body of an HTTP answer, None while it is not all there.

    Raises:
        ConnectionError: the answer is not 200.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    if not received.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(received.split(b"\r\n", 1)[0].decode("ascii", "replace"))
    head, body = received[:end].lower(), received[end + 4 :]
    if b"transfer-encoding: chunked" in head:
        return _unchunked(body) if body.endswith(b"\r\n0\r\n\r\n") else None
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return body if len(body) >= length else None


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return whole
        whole += body[:length]
        body = body[length + 2 :]


def _succeeded(reply: bytes) -> bool:
    return message.parse(reply).pki_status == PkiStatus.SUCCESS


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
