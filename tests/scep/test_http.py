"""The SCEP transport, with the quirks of real clients (facts/scep.md sections 3 and 6)."""

import asyncio
import base64
import contextlib
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient

from foundation.errors import BadRequest
from scep import message
from scep.algorithms import Cipher, Digest, Suite
from scep.client import build_csr, named, throwaway_signer
from scep.decoding import MAX_SIZE as MAX_MESSAGE_BYTES
from scep.http import ScepApplication, decode_get_message, routes
from scep.message import MessageType
from scep.responder import Awaited, Responder
from tests.scep.world import World


@pytest.fixture
def http(world: World) -> Iterator[httpx2.Client]:
    """The endpoint behind its routes."""
    with ThreadPoolExecutor(2) as pool:
        yield TestClient(Starlette(routes=list(routes(ScepApplication(world.responder, pool)))), raise_server_exceptions=False)


@pytest.fixture
def request_der(world: World, rsa_key: rsa.RSAPrivateKey) -> bytes:
    """A PKCSReq that gets a certificate."""
    challenge = world.challenge(world.add_person())
    return message.build_request(
        throwaway_signer(rsa_key, named("SCEP SIGNER")),
        world.ra.certificate,
        build_csr(rsa_key, "x", challenge).public_bytes(Encoding.DER),
        message_type=MessageType.PKCS_REQ,
        transaction_id="1",
        sender_nonce=message.new_nonce(),
        suite=Suite(digest=Digest.SHA256, cipher=Cipher.AES128),
    )


PATHS = [
    "/scep/default",
    "/scep/default/",
    "/scep/default/pkiclient.exe",
    "/scep/default/cgi-bin/pkiclient.exe",
    "/scep/default/certsrv/mscep/mscep.dll",
    "/scep/default/certsrv/mscep/mscep.dll/pkiclient.exe",
    "/cgi-bin/pkiclient.exe",
    "/certsrv/mscep/mscep.dll",
    "/certsrv/mscep/mscep.dll/pkiclient.exe",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_that_clients_make_of_the_url_answers(http: httpx2.Client, path: str) -> None:
    assert "AES" in http.get(f"{path}?operation=GetCACaps").text


@pytest.mark.parametrize("hint", ["", "&message=", "&message=default", "&message=0", "&message=1", "&message=My%20trustpoint"])
def test_the_message_parameter_is_only_a_hint_where_certificates_are_asked_for(http: httpx2.Client, hint: str) -> None:
    answer = http.get(f"/scep/default?operation=GetCACert{hint}")
    assert answer.headers["content-type"] == "application/x-x509-ca-ra-cert"
    assert http.get(f"/scep/default?operation=GetCACaps{hint}").status_code == 200


def test_certificates_are_asked_for_off_the_event_loop(world: World) -> None:
    """A database that does not answer must not stop the whole process."""
    threads: list[str] = []

    class Noting(Responder):
        def ca_certificates(self, endpoint: str) -> tuple[str, bytes]:
            threads.append(threading.current_thread().name)
            return super().ca_certificates(endpoint)

    responder = Noting(world.endpoints, world.keys, world.enroller, world.transactions)
    with ThreadPoolExecutor(1, thread_name_prefix="scep") as pool:
        client = TestClient(Starlette(routes=list(routes(ScepApplication(responder, pool)))))
        assert client.get("/scep/default?operation=GetCACert").status_code == 200
    assert threads == ["scep_0"]


@pytest.mark.parametrize(
    ("at_once", "is_remote", "where"),
    [(True, False, "MainThread"), (False, False, "local"), (True, True, "remote"), (False, True, "remote")],
)
def test_only_what_waits_for_nothing_is_worked_on_in_the_event_loop(
    world: World, request_der: bytes, *, at_once: bool, is_remote: bool, where: str
) -> None:
    threads: list[str] = []

    class Noting(Responder):
        def is_remote(self, endpoint: str) -> bool:
            return super().is_remote(endpoint) or is_remote

        def begin(self, endpoint: str, der: bytes, *, origin: str) -> bytes | Awaited:
            threads.append(threading.current_thread().name)
            return super().begin(endpoint, der, origin=origin)

    responder = Noting(world.endpoints, world.keys, world.enroller, world.transactions)
    with ThreadPoolExecutor(1, "local") as local, ThreadPoolExecutor(1, "remote") as remote:
        application = ScepApplication(responder, local, remote=remote, at_once=at_once)
        transport = httpx2.ASGITransport(application)

        async def post() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=transport, base_url="http://scep.test") as client:
                return await client.post("/scep/default?operation=PKIOperation", content=request_der)

        answer = asyncio.run(post())
    assert message.parse(answer.content).pki_status == 0
    assert [name.partition("_")[0] for name in threads] == [where]


def test_a_request_that_does_not_arrive_whole_enrols_nobody(world: World, request_der: bytes) -> None:
    sent: list[MutableMapping[str, Any]] = []
    events: Iterator[MutableMapping[str, Any]] = iter(
        [{"type": "http.request", "body": request_der[:100], "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> MutableMapping[str, Any]:
        return next(events)

    async def send(event: MutableMapping[str, Any]) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "POST", "path": "/scep/default", "query_string": b"operation=PKIOperation"}
    with ThreadPoolExecutor(1) as pool:
        asyncio.run(ScepApplication(world.responder, pool)(scope, receive, send))
    assert sent[0]["status"] == 400
    assert world.counts()["certificates"] == 0


def test_content_types_carry_no_charset(http: httpx2.Client, request_der: bytes) -> None:
    """certmonger compares the whole value."""
    assert http.get("/scep/default?operation=GetCACaps").headers["content-type"] == "text/plain"
    answer = http.post("/scep/default?operation=PKIOperation", content=request_der)
    assert answer.headers["content-type"] == "application/x-pki-message"


def test_capabilities_fit_the_kilobyte_that_certmonger_reads(http: httpx2.Client) -> None:
    assert len(http.get("/scep/default?operation=GetCACaps").content) <= 1024


@pytest.mark.parametrize("content_type", [None, "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_post_is_taken_whatever_content_type_it_has(http: httpx2.Client, request_der: bytes, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = http.post("/scep/default?operation=PKIOperation", content=request_der, headers=headers)
    assert message.parse(answer.content).pki_status == 0


def standard(text: str) -> str:
    return quote(text, safe="")


ENCODINGS: dict[str, Callable[[str], str]] = {
    "escaped": standard,
    "raw + and /, as macOS and jscep send": lambda text: text,
    "spaces where a proxy decoded +": lambda text: text.replace("+", "%20"),
    "line breaks, as sscep and strongSwan send": lambda text: "%0A".join(
        standard(text[i : i + 64]) for i in range(0, len(text), 64)
    ),
    "CRLF line breaks": lambda text: "%0D%0A".join(standard(text[i : i + 76]) for i in range(0, len(text), 76)),
    "URL-safe, as micromdm sends": lambda text: text.replace("+", "-").replace("/", "_"),
    "no padding": lambda text: standard(text.rstrip("=")),
    "a line break at the end": lambda text: standard(text + "\n"),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_get_messages_decode_in_every_shape_clients_send(
    http: httpx2.Client, request_der: bytes, encode: Callable[[str], str]
) -> None:
    text = base64.b64encode(request_der).decode()
    assert "+" in text
    assert "/" in text
    # A raw URL: httpx2 would escape what is to stay as it is.
    url = httpx2.URL("http://testserver/scep/default").copy_with(
        raw_path=f"/scep/default?operation=PKIOperation&message={encode(text)}".encode()
    )
    answer = http.get(url)
    assert message.parse(answer.content).pki_status == 0


@pytest.mark.parametrize("raw", [b"", b"=", b"!!!!", b"A", b"%FF%FF", b"AAAA*AAA"])
def test_what_is_not_base64_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        decode_get_message(raw)


@given(st.binary(min_size=1, max_size=300))
def test_decoding_undoes_encoding(data: bytes) -> None:
    for encode in ENCODINGS.values():
        assert decode_get_message(encode(base64.b64encode(data).decode()).encode()) == data


@given(st.binary(max_size=200))
def test_arbitrary_queries_raise_nothing_but_a_bad_request(raw: bytes) -> None:
    with contextlib.suppress(BadRequest):
        decode_get_message(raw)


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/scep/default", 400),
        ("GET", "/scep/default?operation=Unknown", 400),
        ("GET", "/scep/default?operation=PKIOperation", 400),
        ("GET", "/scep/default?operation=PKIOperation&message=AAAA", 400),
        ("POST", "/scep/default?operation=PKIOperation", 400),
        ("GET", "/scep/nobody?operation=GetCACaps", 404),
        ("GET", "/scep/nobody?operation=GetCACert", 404),
        ("POST", "/scep/nobody?operation=PKIOperation", 404),
    ],
)
def test_what_is_no_scep_is_refused_in_plain_words(http: httpx2.Client, method: str, url: str, status: int) -> None:
    answer = http.request(method, url)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert "Traceback" not in answer.text


def test_a_body_above_the_bound_is_refused(http: httpx2.Client) -> None:
    answer = http.post("/scep/default?operation=PKIOperation", content=b"\x30" * (MAX_MESSAGE_BYTES + 1))
    assert answer.status_code == 400
    assert str(MAX_MESSAGE_BYTES) in answer.text


def test_a_refusal_is_http_200_with_a_signed_failure(http: httpx2.Client, request_der: bytes) -> None:
    http.post("/scep/default?operation=PKIOperation", content=request_der)
    broken = request_der[:-1] + bytes([request_der[-1] ^ 1])
    answer = http.post("/scep/default?operation=PKIOperation", content=broken)
    assert answer.status_code == 200
    reply = message.parse(answer.content)
    assert (reply.pki_status, reply.fail_info) == (2, 1)


def test_a_look_at_the_headers_enrols_nobody(world: World, http: httpx2.Client, request_der: bytes) -> None:
    encoded = base64.urlsafe_b64encode(request_der).decode()
    assert http.head(f"/scep/default?operation=PKIOperation&message={encoded}").status_code == 400
    assert world.counts()["certificates"] == 0
