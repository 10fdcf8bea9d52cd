"""What relying parties fetch: CRLs, issuer certificates and chains, over plain HTTP.

    /crl/{ca}.crl   application/pkix-crl         the newest CRL, DER (RFC 5280 section 4.2.1.13, RFC 2585)
    /aia/{ca}.cer   application/pkix-cert        the authority's current certificate, DER
    /aia/{ca}.p7c   application/pkcs7-mime       that certificate and those above it, a certs-only CMS (RFC 5280 section 4.2.2.1)

A CRL may be cached for five minutes, though it is good for a day: with the worker's second that bounds how long a cache hides a
revocation. ``Expires`` says nextUpdate, for programs that keep CRLs by it; HTTP/1.1 caches go by ``max-age`` (RFC 9111 section
5.3). Starlette routes instead of FastAPI's: this is asked by every verifier of every mail.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crl import aia, publication
from crl.errors import NoCrlYet, UnknownIssuer
from foundation.clock import Clock
from foundation.transactions import Transactions

CRL_MAX_AGE = 300
AIA_MAX_AGE = 3600
_RETRY_AFTER = 5
# CRLs of this many authorities stay in memory.
_CACHED = 32


@dataclass(frozen=True, slots=True)
class Representation:
    """A file as HTTP serves it."""

    media_type: str
    body: bytes
    sha256: str
    modified: datetime
    expires: datetime | None
    max_age: int


def routes(transactions: Transactions, clock: Clock) -> list[Route]:
    """Return the routes; they only read, through ``transactions``."""
    files = _Files(transactions)

    def answering(find: Callable[[str, datetime], Representation]) -> Callable[[Request], Response]:
        # A plain function: Starlette runs it in a thread, where waiting for the database stops nobody.
        def answer(request: Request) -> Response:
            now = clock.now()
            name = request.path_params["ca"]
            if "\0" in name:
                # PostgreSQL holds no such text, and asking it is an error.
                return Response("no certification authority of this name\n", 404, media_type="text/plain")
            try:
                return _respond(request, find(name, now), now)
            except UnknownIssuer as error:
                return Response(f"{error}\n", 404, media_type="text/plain")
            except NoCrlYet as error:
                headers = {"Retry-After": str(_RETRY_AFTER), "Cache-Control": "no-store"}
                return Response(f"{error}\n", 503, headers, media_type="text/plain")

        return answer

    return [
        Route("/crl/{ca}.crl", answering(files.crl), methods=["GET"], name="crl"),
        Route("/aia/{ca}.cer", answering(files.certificate), methods=["GET"], name="ca-issuers"),
        Route("/aia/{ca}.p7c", answering(files.chain), methods=["GET"], name="ca-chain"),
    ]


class _Files:
    """Finds the files, and keeps the CRLs it has read: a request costs one small query for the newest one's number."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._lock = threading.Lock()
        self._bodies: dict[str, tuple[int, bytes]] = {}

    def crl(self, name: str, now: datetime) -> Representation:
        with self._transactions.reading() as session:
            head = publication.current_by_name(session, name)
            if head is None:
                if not aia.publishes_crls(session, name):
                    raise UnknownIssuer("no certification authority of this name")
                raise NoCrlYet("the CRL is being prepared")
            cached = self._bodies.get(name)
            body = cached[1] if cached and cached[0] == head.id else publication.encoded(session, head.id)
        if body is None:
            # Another CRL has replaced it between the two statements, and this one's time was up.
            raise NoCrlYet("the CRL is being replaced")
        with self._lock:
            if len(self._bodies) >= _CACHED and name not in self._bodies:
                self._bodies.clear()
            self._bodies[name] = (head.id, body)
        # An outdated CRL is still served, and checkers judge it; caches are asked to look for a newer one at once.
        max_age = max(0, min(CRL_MAX_AGE, int((head.next_update - now).total_seconds())))
        return Representation("application/pkix-crl", body, head.sha256, head.issued_at, head.next_update, max_age)

    def certificate(self, name: str, now: datetime) -> Representation:  # noqa: ARG002 - the shape of a finder
        with self._transactions.reading() as session:
            chain = aia.chain(session, name)
        return _of_authority("application/pkix-cert", chain[0].der, chain)

    def chain(self, name: str, now: datetime) -> Representation:  # noqa: ARG002 - the shape of a finder
        with self._transactions.reading() as session:
            chain = aia.chain(session, name)
        return _of_authority("application/pkcs7-mime", aia.certs_only(chain), chain)


def _of_authority(media_type: str, body: bytes, chain: Sequence[aia.AuthorityCertificate]) -> Representation:
    modified = max(certificate.issued_at for certificate in chain)
    return Representation(media_type, body, hashlib.sha256(body).hexdigest(), modified, None, AIA_MAX_AGE)


def _respond(request: Request, file: Representation, now: datetime) -> Response:
    """Answer GET, HEAD and their conditional forms (RFC 9110 section 13)."""
    etag = f'"{file.sha256}"'
    # A file from the future would make conditional requests fail until then (RFC 9110 section 8.8.2.1).
    modified = min(file.modified, now).replace(microsecond=0)
    headers = {
        "ETag": etag,
        "Last-Modified": format_datetime(modified, usegmt=True),
        "Cache-Control": f"public, max-age={file.max_age}, must-revalidate",
    }
    if file.expires is not None:
        headers["Expires"] = format_datetime(file.expires, usegmt=True)
    if _not_modified(request, etag, modified):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(len(file.body))
    body = b"" if request.method == "HEAD" else file.body
    return Response(body, headers=headers, media_type=file.media_type)


def _not_modified(request: Request, etag: str, modified: datetime) -> bool:
    wanted = request.headers.get("If-None-Match")
    if wanted is not None:
        # With an entity tag, dates do not count (RFC 9110 section 13.1.3).
        return any(tag.strip() in ("*", etag, f"W/{etag}") for tag in wanted.split(","))
    since = request.headers.get("If-Modified-Since")
    if since is None:
        return False
    try:
        date = parsedate_to_datetime(since)
    except (ValueError, OverflowError):
        return False
    return modified <= (date if date.tzinfo else date.replace(tzinfo=UTC))
