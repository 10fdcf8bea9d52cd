"""Publication: every authority's newest CRL, built when it is owed, numbered by the database.

``owe`` notes in the transaction of a revocation that a CRL is due. The worker's ``publish_due`` claims what is due, reads the
entries, signs outside any transaction and stores the result under its lease: a worker that lost the lease loses its CRL, and
numbers only rise (RFC 5280 section 5.2.3). What is revoked during a build moves ``revision`` and makes the next CRL due at once;
any number of revocations before a build are one CRL. A retired authority's goes on until its last certificate has expired.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, case, delete, func, insert, literal, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from ca.certificate import BACKDATING
from ca.issuance import IssuingAuthority
from ca.lineage import is_over
from ca.records import Certificate, CertificationAuthority
from crl.build import BuiltCrl, CrlContent, Entries, build
from crl.records import CrlSchedule, PublishedCrl
from foundation.clock import Clock
from foundation.due import claim, held, settle
from foundation.errors import SignetryError
from foundation.tables import UtcDateTime
from foundation.transactions import Transactions

_log = structlog.get_logger("crl.publication")

_FIRST_RETRY = timedelta(seconds=5)
_LAST_RETRY = timedelta(hours=1)
_DOUBLINGS = 10
_KEY = ["authority_id"]
# Rows fetched from the database at a time; 5000 entries are some 250 kB.
_BATCH = 5000


@dataclass(frozen=True, slots=True)
class Freshness:
    """How long a CRL is good (``validity``), and how old it may grow before the next is built (``interval``)."""

    validity: timedelta
    interval: timedelta

    def __post_init__(self) -> None:
        if not timedelta(0) < self.interval < self.validity:
            raise ValueError("a CRL is rebuilt before it ends")


@dataclass(frozen=True, slots=True)
class PublicationSettings:
    """Design.md section 3: an issuing CA's CRL is valid for a day and rebuilt hourly; a root's key may be away for two months."""

    issuing: Freshness = Freshness(timedelta(hours=24), timedelta(hours=1))
    root: Freshness = Freshness(timedelta(days=90), timedelta(days=30))
    # CRLs of an authority that stay in the database: the one served, and those a slow download may still be reading.
    keep: int = 3

    def of(self, authority: IssuingAuthority) -> Freshness:
        """Return what holds for ``authority``; a root is who signed its own certificate."""
        return self.root if authority.certificate.issuer == authority.certificate.subject else self.issuing


@dataclass(frozen=True, slots=True)
class CrlHead:
    """What is known of a published CRL without reading it."""

    id: int
    authority_id: int
    number: int
    this_update: datetime
    next_update: datetime
    entry_count: int
    sha256: str

    @property
    def issued_at(self) -> datetime:
        """When it was made; ``this_update`` is dated back."""
        return self.this_update + BACKDATING


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one authority's due CRL: published, or not and why; neither when another worker took it over."""

    authority_id: int
    published: CrlContent | None = None
    entry_count: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Claim:
    authority_id: int
    token: str
    last_number: int
    revision: int
    failures: int


# Told of an authority's new CRL in the transaction that stores it.
CrlListener = Callable[[Session, int], None]


def owe(session: Session, authority_id: int, now: datetime) -> None:
    """Note, in the caller's transaction, that ``authority_id`` owes a CRL from ``now`` on."""
    due_at = col(CrlSchedule.due_at)
    # What is due already stays due: machines' clocks differ, and a stream of revocations must not push the CRL ahead of itself.
    changes = {
        "revision": col(CrlSchedule.revision) + 1,
        "due_at": case((due_at <= now, due_at), else_=literal(now, UtcDateTime())),
    }
    session.execute(_first_schedule(session, authority_id, now).on_conflict_do_update(index_elements=_KEY, set_=changes))


def ensure_schedules(session: Session, now: datetime) -> None:
    """Give every authority a schedule, and make a CRL due where there is none, or only an outdated one. Run at each start.

    Left out are authorities whose key is somebody else's, and those that wait for their certificate.
    """
    certified = select(col(Certificate.certifies_id)).where(col(Certificate.certifies_id).is_not(None))
    query = select(col(CertificationAuthority.id)).where(
        col(CertificationAuthority.key_reference).is_not(None), col(CertificationAuthority.id).in_(certified)
    )
    for authority_id in session.execute(query).scalars().all():
        newest = current(session, authority_id)
        if newest is None or (newest.next_update <= now and not is_over(session, authority_id, now)):
            owe(session, authority_id, now)
        else:
            session.execute(_first_schedule(session, authority_id, now).on_conflict_do_nothing(index_elements=_KEY))


def publish_due(
    transactions: Transactions,
    authorities: Callable[[int], IssuingAuthority],
    clock: Clock,
    settings: PublicationSettings,
    listeners: Sequence[CrlListener] = (),
) -> list[Outcome]:
    """Build and store every CRL that is due. One authority's failure is logged, tried again later, and holds up no other."""
    now = clock.now()
    claims = transactions.write(lambda session: _claims(session, now))
    if not claims:
        return []
    # A CRL of millions takes longer than a lease, and so do many small ones, one after the other.
    with held(transactions, clock, CrlSchedule, claims[0].token):
        return [_publish_or_postpone(transactions, authorities, clock, settings, listeners, claimed) for claimed in claims]


def is_needed(session: Session, authority_id: int, now: datetime) -> bool:
    """Say whether a CRL of this authority must be valid: it is not retired, or certificates of it have not expired yet."""
    return not is_over(session, authority_id, now)


def next_due(session: Session) -> datetime | None:
    """Return when ``publish_due`` will next find something to do, which may be past; None when nothing is scheduled.

    A row under a lease counts from the lease's end: that is when its worker is given up.
    """
    rows = session.execute(
        select(col(CrlSchedule.due_at), col(CrlSchedule.lease_until)).where(col(CrlSchedule.due_at).is_not(None))
    )
    return min((max(due_at, lease_until or due_at) for due_at, lease_until in rows), default=None)


def current(session: Session, authority_id: int) -> CrlHead | None:
    """Return the newest CRL of an authority, or None before its first."""
    return _head(session, col(PublishedCrl.authority_id) == authority_id)


def current_by_name(session: Session, name: str) -> CrlHead | None:
    """Return the newest CRL of the authority called ``name``, or None where there is no CRL, or no such authority."""
    of_name = select(col(CertificationAuthority.id)).where(col(CertificationAuthority.name) == name)
    return _head(session, col(PublishedCrl.authority_id) == of_name.scalar_subquery())


def size(session: Session, crl_id: int) -> int:
    """Return how many bytes a published CRL has, without reading it; 0 when it has been deleted since."""
    return (
        session.execute(select(func.length(col(PublishedCrl.der))).where(col(PublishedCrl.id) == crl_id)).scalar_one_or_none()
        or 0
    )


def encoded(session: Session, crl_id: int) -> bytes | None:
    """Return the DER of a published CRL, or None when it has been deleted since."""
    der: bytes | None = session.execute(select(col(PublishedCrl.der)).where(col(PublishedCrl.id) == crl_id)).scalar_one_or_none()
    return der


def _first_schedule(session: Session, authority_id: int, now: datetime) -> postgresql.Insert | sqlite.Insert:
    """Return the INSERT of an authority's row; the caller says what happens when it is there already."""
    row = {"authority_id": authority_id, "due_at": now, "last_number": 0, "revision": 0, "failures": 0}
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(CrlSchedule).values(row)
    return sqlite.insert(CrlSchedule).values(row)


def _claims(session: Session, now: datetime) -> list[_Claim]:
    # All at once, and so under one token.
    return [
        _Claim(row.authority_id, row.lease_token or "", row.last_number, row.revision, row.failures)
        for row in claim(session, CrlSchedule, now=now)
    ]


def _publish_or_postpone(
    transactions: Transactions,
    authorities: Callable[[int], IssuingAuthority],
    clock: Clock,
    settings: PublicationSettings,
    listeners: Sequence[CrlListener],
    claimed: _Claim,
) -> Outcome:
    try:
        return _publish(transactions, authorities(claimed.authority_id), clock, settings, listeners, claimed)
    except Exception as error:  # noqa: BLE001 - a key store fails in its own ways; the other authorities' CRLs must still come out
        wait = min(_FIRST_RETRY * 2 ** min(claimed.failures, _DOUBLINGS), _LAST_RETRY)
        expected = isinstance(error, SignetryError)
        reason = str(error) if expected else type(error).__name__
        retry_in = wait.total_seconds()
        _log.error("crl not published", authority=claimed.authority_id, reason=reason, retry_in=retry_in, exc_info=not expected)
        now = clock.now()
        transactions.write(lambda session: _settle(session, claimed, now, due=now + wait, failures=claimed.failures + 1))
        return Outcome(claimed.authority_id, failure=reason)


def _publish(
    transactions: Transactions,
    authority: IssuingAuthority,
    clock: Clock,
    settings: PublicationSettings,
    listeners: Sequence[CrlListener],
    claimed: _Claim,
) -> Outcome:
    now = clock.now()
    freshness = settings.of(authority)
    with transactions.reading() as session:
        newest = current(session, authority.id)
        since = _still_listed(newest, freshness, now)
        entries = _entries(session, authority.id, since)
        # What has just expired is listed once more; then there is nothing left to say of a retired authority.
        following = None if is_over(session, authority.id, since) else now + freshness.interval
    # As far back as certificates are dated: a checker whose clock is behind must not find the CRL to be of the future.
    this_update = now.replace(microsecond=0) - BACKDATING
    number = max(claimed.last_number, newest.number if newest else 0) + 1
    content = CrlContent(number, this_update, this_update + freshness.validity)
    built = build(authority.certificate, authority.private_key, entries, content)

    finished = clock.now()

    def store(session: Session) -> bool:
        if not _settle(session, claimed, finished, due=following, failures=0, last_number=number):
            return False
        _store(session, authority.id, built)
        outdated = (col(PublishedCrl.authority_id) == authority.id) & (col(PublishedCrl.number) <= number - settings.keep)
        session.execute(delete(PublishedCrl).where(outdated))
        for listener in listeners:
            listener(session, authority.id)
        return True

    if not transactions.write(store):
        _log.warning("crl dropped, another worker took over", authority=authority.name, number=number)
        return Outcome(authority.id)
    _log.info("crl published", authority=authority.name, number=number, entries=built.entry_count, bytes=len(built.der))
    return Outcome(authority.id, published=content, entry_count=built.entry_count)


def _still_listed(newest: CrlHead | None, freshness: Freshness, now: datetime) -> datetime:
    """Return since when a certificate may have expired and still be listed.

    RFC 5280 section 3.3: an entry leaves only after one CRL that was regularly issued beyond the certificate's validity. What
    expired since the newest CRL has not been in one, and what expired within the interval perhaps only in an extra one.
    """
    oldest = now - freshness.interval
    return min(oldest, newest.this_update) if newest else oldest


def _entries(session: Session, authority_id: int, since: datetime) -> Entries:
    """Read the entries by serial, without holding more of them than a batch as objects."""
    query = (
        select(col(Certificate.crl_entry))
        .where(
            col(Certificate.authority_id) == authority_id,
            col(Certificate.revoked_at).is_not(None),
            # What was revoked after it expired must still be seen once.
            or_(col(Certificate.not_after) >= since, col(Certificate.revoked_at) >= since),
        )
        .order_by(col(Certificate.serial))
    )
    return Entries.collect(session.execute(query, execution_options={"yield_per": _BATCH}).scalars())


def _settle(session: Session, claimed: _Claim, now: datetime, *, due: datetime | None, **changes: object) -> bool:
    """End the lease; the next CRL is due at ``due`` (None: never), or now where something was revoked since the claim."""
    unmoved = col(CrlSchedule.revision) == claimed.revision
    due_at = case((unmoved, literal(due, UtcDateTime())), else_=literal(now, UtcDateTime()))
    return settle(session, CrlSchedule, claimed.authority_id, claimed.token, due_at=due_at, **changes)


def _store(session: Session, authority_id: int, built: BuiltCrl) -> None:
    session.execute(
        insert(PublishedCrl).values(
            authority_id=authority_id,
            number=built.content.number,
            this_update=built.content.this_update,
            next_update=built.content.next_update,
            entry_count=built.entry_count,
            sha256=hashlib.sha256(built.der).hexdigest(),
            der=built.der,
        )
    )


_HEAD = (
    col(PublishedCrl.id),
    col(PublishedCrl.authority_id),
    col(PublishedCrl.number),
    col(PublishedCrl.this_update),
    col(PublishedCrl.next_update),
    col(PublishedCrl.entry_count),
    col(PublishedCrl.sha256),
)


def _head(session: Session, condition: ColumnElement[bool]) -> CrlHead | None:
    row = session.execute(select(*_HEAD).where(condition).order_by(col(PublishedCrl.number).desc()).limit(1)).one_or_none()
    return None if row is None else CrlHead(**row._asdict())
