"""The CRLs that are published, what they list, and making new ones due."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from sqlmodel import Session, col, select

from ca import hierarchy
from ca.errors import UnknownAuthority
from ca.rows import name_of
from crl import publication
from crl.records import CrlSchedule
from foundation.errors import NotFound
from scep.retrieval import FoundCrl
from signetry.house import House


class NoCrl(NotFound):
    """The authority has not published a CRL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCrl:
    """An authority's newest CRL, and when the next is due; before the first one only the latter is known."""

    ca: str
    number: int | None = None
    this_update: datetime | None = None
    next_update: datetime | None = None
    entries: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A revoked certificate as a CRL lists it."""

    serial: str
    revoked_at: datetime
    reason: str
    invalidity_date: datetime | None


def chosen(session: Session, name: str = "") -> dict[int, str]:
    """Return the numbers and names of the authorities that publish CRLs, or of the one that is named.

    Raises:
        UnknownAuthority: there is none of this name.
    """
    # Those above ours publish theirs elsewhere.
    ours = [record for record in hierarchy.authorities(session) if record.is_ours]
    found = {record.id: str(record.name) for record in ours if name in ("", record.name)}
    if not found:
        if not name:
            raise UnknownAuthority("no certification authority of ours has a certificate yet")
        raise UnknownAuthority(f"there is no certification authority {name!r} of ours that has a certificate")
    return found


def published(session: Session, name: str = "") -> list[PublishedCrl]:
    """Return the newest CRL of every authority, or of the one that is named. Raises UnknownAuthority."""
    return [_published(session, authority_id, ca) for authority_id, ca in chosen(session, name).items()]


def owe(session: Session, house: House, name: str = "") -> dict[int, str]:
    """Make a new CRL due at once, of every authority or of the one that is named; return which. Raises UnknownAuthority."""
    owing = chosen(session, name)
    for authority_id in owing:
        publication.owe(session, authority_id, house.clock.now())
    return owing


def newest(session: Session, name: str) -> x509.CertificateRevocationList:
    """Return the newest CRL of an authority.

    Raises:
        UnknownAuthority: there is none of this name.
        NoCrl: it has not published any.
    """
    chosen(session, name)
    head = publication.current_by_name(session, name)
    der = publication.encoded(session, head.id) if head else None
    if der is None:
        raise NoCrl(f"{name} has published no CRL yet")
    return x509.load_der_x509_crl(der)


def newest_within(house: House, authority_id: int, at_most: int) -> FoundCrl | None:
    """Return the newest CRL of an authority, and itself only if it has at most so many bytes; None before its first."""
    with house.transactions.reading() as session:
        head = publication.current(session, authority_id)
        if head is None:
            return None
        url = hierarchy.crl_url(house.settings.public_url, name_of(session, authority_id))
        der = publication.encoded(session, head.id) if publication.size(session, head.id) <= at_most else None
    return FoundCrl(url, der)


def entries(crl: x509.CertificateRevocationList, *, after: int = 0) -> Iterator[Entry]:
    """Return what a CRL lists, in the order of serial numbers, beginning behind the serial number ``after``."""
    start = bisect_right(range(len(crl)), after, key=lambda place: crl[place].serial_number) if after else 0
    return (_entry(crl[place]) for place in range(start, len(crl)))


def _published(session: Session, authority_id: int, ca: str) -> PublishedCrl:
    due_at = session.exec(select(CrlSchedule.due_at).where(col(CrlSchedule.authority_id) == authority_id)).first()
    head = publication.current(session, authority_id)
    if head is None:
        return PublishedCrl(ca=ca, due_at=due_at)
    return PublishedCrl(
        ca=ca,
        number=head.number,
        this_update=head.this_update,
        next_update=head.next_update,
        entries=head.entry_count,
        bytes=len(publication.encoded(session, head.id) or b""),
        sha256=head.sha256,
        due_at=due_at,
    )


def _entry(entry: x509.RevokedCertificate) -> Entry:
    found = {type(extension.value): extension.value for extension in entry.extensions}
    reason = found.get(x509.CRLReason)
    since = found.get(x509.InvalidityDate)
    return Entry(
        serial=f"{entry.serial_number:032x}",
        revoked_at=entry.revocation_date_utc,
        reason=reason.reason.value if isinstance(reason, x509.CRLReason) else "unspecified",
        invalidity_date=since.invalidity_date_utc if isinstance(since, x509.InvalidityDate) else None,
    )
