"""``/certificates``: which there are, whose they are, their files, and one at a time revoked, held and released."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import Field
from sqlmodel import Session

from ca import selection
from ca.revocation import RevokedCertificate
from ca.selection import Criteria, Status
from people.devices import device_named
from people.persons import person_named
from signetry.access.roles import Permission
from signetry.administration import certificate_view, revocation
from signetry.administration.certificate_view import Encoding
from signetry.administration.rehearsal import perform
from signetry.administration.revocation import Choice
from signetry.api.context import Here
from signetry.api.fields import ASKS_FOR_SOMEBODY, AnyProfile, DryRun, OfDevice, OfPerson, SerialNumber
from signetry.api.files import Chain, Der, Pem, named
from signetry.api.models import Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.reaching import reach_of
from signetry.api.revocation_models import Changed, RevocationAsked
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/certificates", "Certificates")

_MAY_BE_WITHHELD: Any = {409: {"$ref": "#/components/responses/conflict"}}

_LISTED = {
    "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
    "status": "good",
    "reason": None,
    "revoked_at": None,
    "invalidity_date": None,
    "person": "taro@corp.example.com",
    "device": "taro-iphone",
    "escrowed": False,
    "profile": "identity",
    "authority": "issuing",
    "subject": "CN=Taro Yamada",
    "not_before": "2026-06-01T11:55:00Z",
    "not_after": "2027-06-01T11:55:00Z",
    "issued_at": "2026-06-01T12:00:00Z",
}
_SHOWN = {
    **_LISTED,
    "held_until": None,
    "name": "Taro Yamada",
    "mail": "taro.yamada@example.com",
    "emails": ["taro.yamada@example.com"],
    "upn": "taro@corp.example.com",
    "dns_names": [],
    "uris": [],
    "sid": None,
    "key": "RSA 3072",
    "issued_by": "scep:default",
    "origin": "192.0.2.7",
    "granted_by": "one-time challenge 17",
    "endpoint": "default",
    "transaction_id": "6f1a",
    "sha256": "5f" * 32,
}


class CertificateListed(Shown):
    """A certificate as lists show it."""

    model_config = with_examples(_LISTED)

    serial: Annotated[str, Field(description="Its serial number, in hexadecimal.")]
    status: Status
    reason: Annotated[str | None, Field(description="Why it is revoked, by its name in RFC 5280.")]
    revoked_at: datetime | None
    invalidity_date: datetime | None
    person: Annotated[str | None, Field(description="The UPN of whose it is.")]
    device: Annotated[str | None, Field(description="The name of the device it is on.")]
    escrowed: Annotated[bool, Field(description="Whether the key archive has its private key.")]
    profile: str
    authority: Annotated[str, Field(description="The authority that issued it.")]
    subject: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime


class CertificateShown(CertificateListed):
    """All that is known of a certificate: what it says, and how it came to be."""

    model_config = with_examples(_SHOWN)

    held_until: Annotated[
        datetime | None, Field(description="Until when it is published nowhere, at most: the person's devices wait for its key.")
    ]
    name: Annotated[str | None, Field(description="The display name of whose it is, as recorded now.")]
    mail: Annotated[str | None, Field(description="The primary address of whose it is, as recorded now.")]
    emails: Annotated[list[str], Field(description="The mail addresses in it.")]
    upn: Annotated[str | None, Field(description="The user principal name in it.")]
    dns_names: list[str]
    uris: list[str]
    sid: str | None
    key: Annotated[str, Field(description="Family and size of the certified key.")]
    issued_by: Annotated[str | None, Field(description="Who had it issued, as the audit record names them.")]
    origin: Annotated[str | None, Field(description="From where.")]
    granted_by: Annotated[str | None, Field(description="What let the request in.")]
    endpoint: str | None
    transaction_id: str | None
    sha256: Annotated[str, Field(description="SHA-256 of its DER.")]


@routes.get("", responses=ASKS_FOR_SOMEBODY)
def list_all(
    caller: Annotated[Caller, requires(Permission.READ_CERTIFICATES)],
    here: Here,
    paging: InPages,
    *,
    person: OfPerson = None,
    device: OfDevice = None,
    profile: Annotated[AnyProfile | None, Query(description="Only those of this profile.")] = None,
    status: Annotated[Status | None, Query(description="Only those in this state.")] = None,
    expiring_days: Annotated[
        int | None, Query(ge=1, le=36_500, description="Only those that expire within so many days, and have not yet.")
    ] = None,
) -> Page[CertificateListed]:
    """List certificates, the newest first."""
    (before,) = paging.after(int) or (None,)
    reach, now = reach_of(caller), here.now()
    with here.transactions.reading() as session:
        criteria = Criteria(
            person_id=person_named(session, person, within=reach.group).id if person else None,
            device_id=device_named(session, device, within=reach.group).id if device else None,
            profile=profile,
            status=status,
            expiring_before=now + timedelta(days=expiring_days) if expiring_days else None,
            holders=reach.holders,
        )
        found = selection.matching(session, criteria, now=now, limit=paging.one_more, before=before)
        shown = certificate_view.summaries(session, found, reach)
    return paging.page(shown, lambda listed: (listed["id"],), CertificateListed.model_validate)


@routes.get("/{serial}")
def show(serial: SerialNumber, caller: Annotated[Caller, requires(Permission.READ_CERTIFICATES)], here: Here) -> CertificateShown:
    """Show whose a certificate is, what it says, and what it is worth."""
    with here.transactions.reading() as session:
        reach = reach_of(caller)
        found = selection.by_serial(session, serial, now=here.now(), holders=reach.holders)
        return CertificateShown.model_validate(certificate_view.full(session, found, reach))


@routes.get("/{serial}/pem", response_class=Pem, responses=_MAY_BE_WITHHELD)
def download_pem(serial: SerialNumber, caller: Annotated[Caller, requires(Permission.READ_CERTIFICATES)], here: Here) -> Response:
    """Download a certificate as PEM (RFC 7468)."""
    return _file(caller, here, serial, Encoding.PEM)


@routes.get("/{serial}/der", response_class=Der, responses=_MAY_BE_WITHHELD)
def download_der(serial: SerialNumber, caller: Annotated[Caller, requires(Permission.READ_CERTIFICATES)], here: Here) -> Response:
    """Download a certificate as DER."""
    return _file(caller, here, serial, Encoding.DER)


@routes.get("/{serial}/chain", response_class=Chain, responses=_MAY_BE_WITHHELD)
def download_chain(
    serial: SerialNumber, caller: Annotated[Caller, requires(Permission.READ_CERTIFICATES)], here: Here
) -> Response:
    """Download a certificate with its issuers' behind it, as PEM (RFC 8555 section 9.1)."""
    return _file(caller, here, serial, Encoding.CHAIN)


@routes.post("/{serial}/revoke")
def revoke(
    serial: SerialNumber,
    asked: RevocationAsked,
    caller: Annotated[Caller, requires(Permission.REVOKE_CERTIFICATES)],
    *,
    dry_run: DryRun = False,
) -> Changed:
    """Revoke a certificate. One that is revoked for this reason already stays as it is."""

    def act(session: Session) -> list[RevokedCertificate]:
        return revocation.revoke(session, caller.house, Choice(serials=(serial,)), asked.order, reach_of(caller))

    return _changed(caller, act, dry_run=dry_run)


@routes.post("/{serial}/hold")
def hold(serial: SerialNumber, caller: Annotated[Caller, requires(Permission.HOLD_CERTIFICATES)]) -> Changed:
    """Put a certificate on hold: revoked until it is released, or revoked for good."""
    return _changed(caller, lambda session: revocation.hold(session, caller.house, Choice(serials=(serial,)), reach_of(caller)))


@routes.post("/{serial}/release")
def release(serial: SerialNumber, caller: Annotated[Caller, requires(Permission.HOLD_CERTIFICATES)]) -> Changed:
    """Take a certificate off hold."""
    return _changed(
        caller, lambda session: revocation.release(session, caller.house, Choice(serials=(serial,)), reach_of(caller))
    )


def _changed(caller: Caller, act: Callable[[Session], list[RevokedCertificate]], *, dry_run: bool = False) -> Changed:
    (state,) = caller.house.transactions.write(lambda session: perform(session, act, dry_run=dry_run))
    return Changed.of(state)


def _file(caller: Caller, here: Here, serial: str, encoding: Encoding) -> Response:
    with here.transactions.reading() as session:
        found = selection.by_serial(session, serial, now=here.now(), holders=reach_of(caller).holders)
        content = certificate_view.exported(session, found, encoding)
    shapes: dict[Encoding, Any] = {Encoding.PEM: Pem, Encoding.DER: Der, Encoding.CHAIN: Chain}
    suffix = "cer" if encoding is Encoding.DER else "pem"
    shaped: Response = shapes[encoding](content, headers=named(f"{found.serial}.{suffix}"))
    return shaped
