"""``/crls``: the newest CRL of every authority, and new ones at once."""

from datetime import datetime
from itertools import islice
from typing import Annotated

from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import Response
from pydantic import Field
from sqlmodel import Session

from signetry.access.roles import Permission
from signetry.administration import crls
from signetry.administration.crls import PublishedCrl
from signetry.api.context import Here
from signetry.api.fields import AuthorityName
from signetry.api.files import Pem, named
from signetry.api.models import Shown, with_examples
from signetry.api.paging import InPages, InvalidCursor, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/crls", "CRLs")

_SHOWN = {
    "ca": "issuing",
    "number": 42,
    "this_update": "2026-06-01T11:55:00Z",
    "next_update": "2026-06-02T11:55:00Z",
    "entries": 17,
    "bytes": 1234,
    "sha256": "5f" * 32,
    "due_at": "2026-06-01T13:00:00Z",
}


class CrlShown(Shown):
    """An authority's newest CRL; before the first one, only when that is due is known."""

    model_config = with_examples(_SHOWN)

    ca: str
    number: int | None
    this_update: datetime | None
    next_update: datetime | None
    entries: int | None
    bytes: int | None
    sha256: str | None
    due_at: Annotated[datetime | None, Field(description="When the next is made, if nothing is revoked before.")]


class CrlsShown(Shown):
    """The newest CRL of several authorities."""

    model_config = with_examples({"items": [_SHOWN]})

    items: list[CrlShown]


class Entry(Shown):
    """A revoked certificate as a CRL lists it."""

    model_config = with_examples(
        {
            "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
            "revoked_at": "2026-06-01T12:00:00Z",
            "reason": "keyCompromise",
            "invalidity_date": None,
        }
    )

    serial: str
    revoked_at: datetime
    reason: str
    invalidity_date: datetime | None


@routes.get("")
def list_all(_caller: Annotated[Caller, requires(Permission.READ_CRLS)], here: Here, paging: InPages) -> Page[CrlShown]:
    """List the newest CRL of every authority, in the order of the authorities' names."""
    (after,) = paging.after(str) or ("",)
    with here.transactions.reading() as session:
        found = sorted((crl for crl in crls.published(session) if crl.ca > after), key=lambda crl: crl.ca)
    return paging.page(found[: paging.one_more], lambda crl: (crl.ca,), CrlShown.model_validate)


@routes.post("", status_code=202)
def issue_all(caller: Annotated[Caller, requires(Permission.ISSUE_CRLS)]) -> CrlsShown:
    """Have a new CRL of every authority made at once.

    The service's worker makes them, within a second or so: `number` has risen when it is done.
    """
    return CrlsShown(items=_owed(caller))


@routes.get("/{ca}")
def show(ca: AuthorityName, _caller: Annotated[Caller, requires(Permission.READ_CRLS)], here: Here) -> CrlShown:
    """Show an authority's newest CRL: number, dates, size, and when the next is due."""
    with here.transactions.reading() as session:
        return CrlShown.model_validate(crls.published(session, ca)[0])


@routes.post("/{ca}/issue", status_code=202)
def issue(ca: AuthorityName, caller: Annotated[Caller, requires(Permission.ISSUE_CRLS)]) -> CrlShown:
    """Have a new CRL of an authority made at once.

    The service's worker makes it, within a second or so: `number` has risen when it is done.
    """
    return _owed(caller, ca)[0]


@routes.get("/{ca}/entries")
def list_entries(
    ca: AuthorityName, _caller: Annotated[Caller, requires(Permission.READ_CRLS)], here: Here, paging: InPages
) -> Page[Entry]:
    """List what an authority's newest CRL lists, in the order of serial numbers."""
    (after,) = paging.after(str) or ("0",)
    with here.transactions.reading() as session:
        crl = crls.newest(session, ca)
    try:
        entries = crls.entries(crl, after=int(after, 16))
    except ValueError:
        raise InvalidCursor from None
    found = list(islice(entries, paging.one_more))
    return paging.page(found, lambda entry: (entry.serial,), Entry.model_validate)


@routes.get("/{ca}/pem", response_class=Pem)
def download(ca: AuthorityName, _caller: Annotated[Caller, requires(Permission.READ_CRLS)], here: Here) -> Response:
    """Download an authority's newest CRL as PEM. The public listener serves it as DER."""
    with here.transactions.reading() as session:
        crl = crls.newest(session, ca)
    return Pem(crl.public_bytes(Encoding.PEM), headers=named(f"{ca}.crl.pem"))


def _owed(caller: Caller, name: str = "") -> list[CrlShown]:
    def act(session: Session) -> list[PublishedCrl]:
        crls.owe(session, caller.house, name)
        return crls.published(session, name)

    return [CrlShown.model_validate(crl) for crl in caller.house.transactions.write(act)]
