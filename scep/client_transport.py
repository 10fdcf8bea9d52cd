"""How our client reaches a server: bounded answers over HTTP, and requests that are sent again (RFC 8894 section 4)."""

import base64
from collections.abc import Mapping
from typing import Final

import httpx2

from foundation.errors import BadRequest
from scep.errors import HttpFailed, ServerMisbehaved, ServerUnreachable

# A CRL may come in an answer; what else comes has a few thousand bytes.
MAX_REPLY_BYTES: Final = 8 * 1024 * 1024
_TIMEOUT_SECONDS: Final = 30.0
# A reply lost on the way is asked for again with the same bytes: the server then answers with the same certificate.
_ATTEMPTS: Final = 3
# What a server says that will answer later.
_LATER: Final = frozenset({httpx2.codes.SERVICE_UNAVAILABLE, httpx2.codes.TOO_MANY_REQUESTS})


class ScepTransport:
    """The URL of an endpoint, and the connections to it.

    Args:
        url: the endpoint, without query.
        transport: how to reach the server, where it is not the network.

    Raises:
        BadRequest: the URL is none.
    """

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self._url = _checked(url)
        self._http = httpx2.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, operation: str) -> bytes:
        """Return what the server answers to ``operation``.

        Raises:
            ServerUnreachable: no answer, or none now.
            HttpFailed: an HTTP error.
        ServerMisbehaved: more than is read.
        """
        return self._exchange("GET", {"operation": operation})

    def send(self, message: bytes, *, post: bool) -> bytes:
        """Return what the server answers to a PKIOperation; by GET, as base64, where it takes no POST.

        Raises:
            As for ``get``.
        """
        if post:
            return self._exchange("POST", {"operation": "PKIOperation"}, message)
        return self._exchange("GET", {"operation": "PKIOperation", "message": base64.b64encode(message).decode()})

    def _exchange(self, method: str, parameters: Mapping[str, str], body: bytes | None = None) -> bytes:
        headers = {"content-type": "application/x-pki-message"} if body is not None else {}
        last: httpx2.HTTPError | None = None
        for _ in range(_ATTEMPTS):
            try:
                with self._http.stream(method, self._url, params=parameters, content=body, headers=headers) as answer:
                    return _bounded(answer)
            except httpx2.HTTPError as error:
                last = error
        raise ServerUnreachable(f"{self._url} does not answer: {type(last).__name__}")


def _checked(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadRequest("the URL of an endpoint begins with http:// or https:// and a host name")
    return url


def _bounded(answer: httpx2.Response) -> bytes:
    received = b""
    for chunk in answer.iter_bytes():
        received += chunk
        if len(received) > MAX_REPLY_BYTES:
            raise ServerMisbehaved(f"an answer above {MAX_REPLY_BYTES} bytes")
    if answer.status_code == httpx2.codes.OK:
        return received
    told = f"HTTP {answer.status_code}: {received[:200].decode('utf-8', 'replace').strip()}"
    raise ServerUnreachable(told) if answer.status_code in _LATER else HttpFailed(told)
