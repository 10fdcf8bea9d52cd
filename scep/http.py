"""The SCEP transport: GET and POST as real clients send them (RFC 8894 section 4; facts/scep.md sections 3 and 6).

Bare ASGI rather than FastAPI or Starlette: this is the hot path, and there is nothing here for a framework to validate.
"""

import asyncio
import base64
import binascii
import contextlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from foundation.errors import BadRequest, NotFound, SignetryError
from scep.decoding import MAX_SIZE as MAX_MESSAGE_BYTES
from scep.errors import TooManyRequests
from scep.responder import Awaited

# Clients append what their server used to be called: Windows and Cisco the names below, others a slash (facts/scep.md section 3).
# HTML instead of SCEP shows on Windows as 0x800700CE, so no suffix is worth a 404.
_PREFIX = "/scep/"
_PATHS = ("/scep/{endpoint}", "/scep/{endpoint}/{suffix:path}")
# Cisco routers and NDES clients that were given only a host name.
_BARE_PATHS = frozenset(("/cgi-bin/pkiclient.exe", "/certsrv/mscep/mscep.dll", "/certsrv/mscep/mscep.dll/pkiclient.exe"))
_CERTSRV = "/certsrv/"
_DEFAULT_ENDPOINT = "default"

_WHITE_SPACE = re.compile(rb"[\r\n\t]+")
_PKI_MESSAGE = b"application/x-pki-message"
_REFUSAL = b"text/plain; charset=utf-8"
# Base64 takes four bytes for three, and %XX three for one in the worst case.
MAX_QUERY_BYTES = MAX_MESSAGE_BYTES * 4


_Asked = TypeVar("_Asked")


class ScepResponder(Protocol):
    """What answers SCEP: bytes in, bytes out."""

    def capabilities(self, endpoint: str) -> str:
        """Return the GetCACaps keywords, one a line."""
        ...

    def ca_certificates(self, endpoint: str) -> tuple[str, bytes]:
        """Return the GetCACert content type and body."""
        ...

    def next_ca_certificates(self, endpoint: str) -> tuple[str, bytes]:
        """Return the GetNextCACert content type and body."""
        ...

    def is_remote(self, endpoint: str) -> bool:
        """Say whether somebody is asked over a network about what is sent to an endpoint."""
        ...

    def begin(self, endpoint: str, message: bytes, *, origin: str) -> bytes | Awaited:
        """Return the CertRep to a PKIMessage, or what it waits for."""
        ...


class ScepApplication:
    """SCEP as an ASGI application: every request to one of ``takes`` ends here.

    Args:
        responder: what answers.
        executor: threads for what may have to wait: for the database, for a key to be loaded.
        remote: threads for endpoints where somebody is asked over a network, for seconds perhaps; ``executor`` where not given.
        at_once: whether the other endpoints answer a PKIOperation without waiting for anything but a processor, so that the event
            loop can do that itself: a thread would only take its turns with it.
        certsrv: the endpoint that the paths of NDES mean.
    """

    def __init__(
        self,
        responder: ScepResponder,
        executor: Executor,
        *,
        remote: Executor | None = None,
        at_once: bool = False,
        certsrv: str = _DEFAULT_ENDPOINT,
    ) -> None:
        self._responder = responder
        self._executor = executor
        self._remote = remote or executor
        self._at_once = at_once
        self._certsrv = certsrv

    def takes(self, path: str) -> bool:
        """Say whether a path is one of SCEP's."""
        return path.startswith(_PREFIX) or path in _BARE_PATHS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            content_type, body = await self._answer(scope, receive)
        except NotFound as error:
            await _send(send, 404, _REFUSAL, _words(error))
        except BadRequest as error:
            await _send(send, 400, _REFUSAL, _words(error))
        except TooManyRequests as error:
            await _send(send, 429, _REFUSAL, _words(error), (b"retry-after", str(error.retry_after).encode()))
        except SignetryError as error:
            await _send(send, 503, _REFUSAL, _words(error), (b"retry-after", b"10"))
        else:
            await _send(send, 200, content_type, body)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[bytes, bytes]:
        path: str = scope["path"]
        endpoint = self._endpoint(path)
        query: bytes = scope["query_string"]
        match _parameter(query, b"operation"), scope["method"]:
            case b"GetCACaps", _:
                return b"text/plain", (await self._run(self._responder.capabilities, endpoint)).encode()
            case b"GetCACert", _:
                content_type, body = await self._run(self._responder.ca_certificates, endpoint)
                return content_type.encode(), body
            case b"GetNextCACert", _:
                content_type, body = await self._run(self._responder.next_ca_certificates, endpoint)
                return content_type.encode(), body
            case b"PKIOperation" | b"PKCSReq", "POST":
                message = await _bounded_body(receive)
            case b"PKIOperation", "GET":
                message = decode_get_message(_raw_parameter(query, b"message"))
            case None, _:
                raise BadRequest(
                    "this is a SCEP endpoint: it takes operation=GetCACaps, GetCACert, GetNextCACert or PKIOperation"
                )
            case _:
                raise BadRequest("operation is none of GetCACaps, GetCACert, GetNextCACert and PKIOperation")
        client = scope.get("client")
        return _PKI_MESSAGE, await self._certrep(endpoint, message, client[0] if client else "unknown")

    def _endpoint(self, path: str) -> str:
        if path.startswith(_PREFIX):
            return path.removeprefix(_PREFIX).partition("/")[0]
        return self._certsrv if path.startswith(_CERTSRV) else _DEFAULT_ENDPOINT

    async def _certrep(self, endpoint: str, message: bytes, origin: str) -> bytes:
        is_remote = self._responder.is_remote(endpoint)
        if self._at_once and not is_remote:
            begun = self._responder.begin(endpoint, message, origin=origin)
        else:
            begin = partial(self._responder.begin, endpoint, message, origin=origin)
            begun = await asyncio.get_running_loop().run_in_executor(self._remote if is_remote else self._executor, begin)
        if isinstance(begun, bytes):
            return begun
        # No thread waits for a commit: what other requests need is worked on meanwhile, and shares the next one.
        await _done(begun.committed)
        if begun.committed.exception() is None:
            return begun.finish()
        return await asyncio.get_running_loop().run_in_executor(self._remote if is_remote else self._executor, begun.finish)

    async def _run(self, ask: Callable[[str], _Asked], endpoint: str) -> _Asked:
        # It may have to ask the database, or to decrypt a key.
        return await asyncio.get_running_loop().run_in_executor(self._executor, ask, endpoint)


def routes(application: ScepApplication) -> Sequence[Route]:
    """Return the routes of SCEP."""
    return [Route(path, application, methods=["GET", "POST"]) for path in (*_PATHS, *_BARE_PATHS)]


async def _done(committed: Future[None]) -> None:
    """Return when ``committed`` is settled, whichever way."""
    loop = asyncio.get_running_loop()
    settled: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not settled.done():
            settled.set_result(None)

    def tell(_: Future[None]) -> None:
        # The service may have stopped meanwhile, without whoever was waiting.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    committed.add_done_callback(tell)
    await settled


def decode_get_message(raw: bytes) -> bytes:
    """Decode the ``message`` parameter of a PKIOperation sent by GET.

    ``raw`` is as it stands in the query. Base64 arrives in every shape: ``%2B`` and ``+`` (macOS and jscep leave it raw; a proxy
    may have made it a space), ``%0A`` line breaks (sscep, strongSwan), the URL-safe alphabet (micromdm), no padding.

    Raises:
        BadRequest: not base64, empty, or too long.
    """
    if len(raw) > MAX_QUERY_BYTES:
        raise BadRequest("the message is too long")
    text = _WHITE_SPACE.sub(b"", unquote_to_bytes(raw)).replace(b" ", b"+").replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    try:
        message = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise BadRequest("the message parameter is not base64") from None
    if not message:
        raise BadRequest("the message parameter is missing or empty")
    return message


async def _bounded_body(receive: Receive) -> bytes:
    # The content type is not looked at: strongSwan and sscep send none (facts/scep.md section 3).
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise BadRequest("the request did not arrive whole")
        chunk: bytes = event.get("body", b"")
        body += chunk
        if len(body) > MAX_MESSAGE_BYTES:
            raise BadRequest(f"a message may have {MAX_MESSAGE_BYTES} bytes at most")
        if not event.get("more_body", False):
            return body


def _raw_parameter(query: bytes, name: bytes) -> bytes:
    """Return a query parameter as sent: split by hand, for a form parser would turn ``+`` into a space."""
    prefix = name + b"="
    return next((part[len(prefix) :] for part in query.split(b"&") if part.startswith(prefix)), b"")


def _parameter(query: bytes, name: bytes) -> bytes | None:
    return unquote_to_bytes(_raw_parameter(query, name)) or None


def _words(error: Exception) -> bytes:
    return f"{error}\n".encode()


async def _send(send: Send, status: int, content_type: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    # No charset beside a type of SCEP's: certmonger compares the whole value.
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
