"""The SCEP transport: GET and POST as real clients send them (RFC 8894 section 4; facts/scep.md sections 3 and 6).

Bare ASGI routes rather than FastAPI's: this is the hot path, and there is nothing here for a framework to validate.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from foundation.errors import BadRequest, NotFound, SignetryError
from scep.decoding import MAX_SIZE as MAX_MESSAGE_BYTES

# Clients append what their server used to be called: Windows and Cisco the names below, others a slash (facts/scep.md section 3).
# HTML instead of SCEP shows on Windows as 0x800700CE, so no suffix is worth a 404.
_PATHS = ("/scep/{endpoint}", "/scep/{endpoint}/{suffix:path}")
# Cisco routers and NDES clients that were given only a host name.
_BARE_PATHS = ("/cgi-bin/pkiclient.exe", "/certsrv/mscep/mscep.dll", "/certsrv/mscep/mscep.dll/pkiclient.exe")
_DEFAULT_ENDPOINT = "default"

_WHITE_SPACE = re.compile(rb"[\r\n\t]+")
_PKI_MESSAGE = "application/x-pki-message"
# Base64 takes four bytes for three, and %XX three for one in the worst case.
MAX_QUERY_BYTES = MAX_MESSAGE_BYTES * 4


class ScepResponder(Protocol):
    """What answers SCEP: bytes in, bytes out."""

    def capabilities(self, endpoint: str) -> str:
        """Return the GetCACaps keywords, one a line."""
        ...

    def ca_certificates(self, endpoint: str) -> tuple[str, bytes]:
        """Return the GetCACert content type and body."""
        ...

    def pki_operation(self, endpoint: str, message: bytes, *, origin: str) -> bytes:
        """Return the CertRep to a PKIMessage."""
        ...


def routes(responder: ScepResponder, executor: Executor) -> Sequence[Route]:
    """Return the routes of SCEP; they are worked on in ``executor``: neither RSA nor the database blocks the event loop."""

    async def scep(request: Request) -> Response:
        try:
            return await _answer(request, responder, executor)
        except NotFound as error:
            return PlainTextResponse(f"{error}\n", status_code=404)
        except BadRequest as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        except SignetryError as error:
            return PlainTextResponse(f"{error}\n", status_code=503, headers={"retry-after": "10"})

    return [Route(path, scep, methods=["GET", "POST"]) for path in (*_PATHS, *_BARE_PATHS)]


async def _answer(request: Request, responder: ScepResponder, executor: Executor) -> Response:
    endpoint = request.path_params.get("endpoint", _DEFAULT_ENDPOINT)
    query = request.scope["query_string"]
    loop = asyncio.get_running_loop()
    match _parameter(query, b"operation"):
        case b"GetCACaps":
            return _typed(responder.capabilities(endpoint).encode(), "text/plain")
        case b"GetCACert":
            # It may have to ask the database, or to decrypt a key.
            content_type, body = await loop.run_in_executor(executor, responder.ca_certificates, endpoint)
            return _typed(body, content_type)
        case b"PKIOperation" | b"PKCSReq" if request.method == "POST":
            message = await _bounded_body(request)
        case b"PKIOperation" if request.method == "GET":
            message = decode_get_message(_raw_parameter(query, b"message"))
        case None:
            raise BadRequest("this is a SCEP endpoint: it takes operation=GetCACaps, GetCACert or PKIOperation")
        case _:
            raise BadRequest("operation is none of GetCACaps, GetCACert and PKIOperation")
    origin = request.client.host if request.client else "unknown"
    answer = await loop.run_in_executor(executor, lambda: responder.pki_operation(endpoint, message, origin=origin))
    return _typed(answer, _PKI_MESSAGE)


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


async def _bounded_body(request: Request) -> bytes:
    # The content type is not looked at: strongSwan and sscep send none (facts/scep.md section 3).
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_MESSAGE_BYTES:
            raise BadRequest(f"a message may have {MAX_MESSAGE_BYTES} bytes at most")
        chunks.append(chunk)
    return b"".join(chunks)


def _raw_parameter(query: bytes, name: bytes) -> bytes:
    """Return a query parameter as sent: split by hand, for a form parser would turn ``+`` into a space."""
    prefix = name + b"="
    return next((part[len(prefix) :] for part in query.split(b"&") if part.startswith(prefix)), b"")


def _parameter(query: bytes, name: bytes) -> bytes | None:
    return unquote_to_bytes(_raw_parameter(query, name)) or None


def _typed(body: bytes, content_type: str) -> Response:
    # Set as a header, not a media type: Starlette would add a charset, and certmonger compares the whole value.
    return Response(body, headers={"content-type": content_type})
