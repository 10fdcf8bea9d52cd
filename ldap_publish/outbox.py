"""The outbox: what each directory is owed, one row for each person or authority in it.

A row says whose entry must be looked at, not what to change: that follows from the records at the time of the upload, so a row
may be worked off twice, or late, and nothing comes out of order. ``owe`` notes in the transaction of the act that an entry is
due; the worker claims rows with a lease (``foundation.due``) and settles them only while it holds that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, Case, ColumnElement, Select, bindparam, case, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from ca.records import CertificationAuthority
from foundation.due import claim
from foundation.tables import UtcDateTime, table_of
from ldap_publish.directory import Directory
from ldap_publish.foreign import ForeignSource
from ldap_publish.records import DirectoryState, OwedEntry, SubjectKind
from ldap_publish.wanted import certified_persons, profiles_of

_OWED = table_of(OwedEntry)
_STATE = table_of(DirectoryState)
_KEY = ["directory", "kind", "subject_id"]
_FIRST_RETRY = timedelta(seconds=5)
_LAST_RETRY = timedelta(hours=1)
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose entry it is."""

    kind: SubjectKind
    id: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A row as the worker claimed it."""

    row_id: int
    token: str
    subject: Subject
    revision: int
    failures: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claim.

    Attributes:
        claim: the claim.
        due_at: when the entry must be looked at again, None for not before something happens.
        error: why it is not as it should be; empty where it is.
        waiting: whether that is only for want of an entry.
        warning: what an administrator should know all the same.
    """

    claim: Claim
    due_at: datetime | None
    error: str = ""
    waiting: bool = False
    warning: str = ""

    @classmethod
    def failed(cls, claimed: Claim, error: str, *, now: datetime, waiting: bool = False) -> "Settlement":
        """Return a failure's settlement: tried again after 5 seconds, doubling to an hour."""
        wait = min(_FIRST_RETRY * 2 ** min(claimed.failures, _DOUBLINGS), _LAST_RETRY)
        return cls(claimed, now + wait, error=error, waiting=waiting)


def owe(session: Session, directories: Iterable[str], subject: Subject, now: datetime) -> None:
    """Note, in the caller's transaction, that each directory owes ``subject`` a look from ``now`` on."""
    rows = [_row(directory, subject) | {"at": now} for directory in directories]
    if rows:
        session.execute(_owe_statement(session.get_bind().dialect.name), rows if len(rows) > 1 else rows[0])


def owe_again(session: Session, directories: Iterable[str], subject: Subject, now: datetime) -> None:
    """Note that ``subject`` must be looked at again wherever something was owed to it before."""
    known = (_OWED.c.directory.in_(list(directories)), _OWED.c.kind == str(subject.kind), _OWED.c.subject_id == subject.id)
    changes = {
        "revision": _OWED.c.revision + 1,
        "due_at": _earlier(now),
        "owed_since": func.coalesce(_OWED.c.owed_since, _at(now)),
    }
    session.execute(update(_OWED).where(*known).values(changes))


def owe_persons(session: Session, directory: Directory, now: datetime, foreign: ForeignSource | None = None) -> None:
    """Owe a directory everybody who has something to be published there, ``foreign`` certificates included."""
    _owe_all(session, directory, SubjectKind.PERSON, certified_persons(profiles_of(directory.publish), now), now)
    if foreign is not None:
        _owe_all(session, directory, SubjectKind.PERSON, foreign.persons(now), now)


def owe_everything(session: Session, directory: Directory, now: datetime, foreign: ForeignSource | None = None) -> None:
    """Owe a directory all there is, and a look at all that was ever put there."""
    owe_persons(session, directory, now, foreign)
    if directory.authority_base:
        # SQLite takes what follows the ON of an upsert for a join's, unless there is a WHERE.
        authorities: Select[tuple[int]] = select(col(CertificationAuthority.id).label("subject_id")).where(literal(value=True))
        _owe_all(session, directory, SubjectKind.AUTHORITY, authorities, now)
    session.execute(
        update(_OWED)
        .where(_OWED.c.directory == directory.name)
        .values(revision=_OWED.c.revision + 1, due_at=_earlier(now), owed_since=func.coalesce(_OWED.c.owed_since, _at(now)))
    )


def hasten(session: Session, directory: str, now: datetime) -> None:
    """Let attempts that failed be made again at once, and the directory itself be tried again."""
    failed = (_OWED.c.directory == directory) & (_OWED.c.failures > 0)
    session.execute(update(_OWED).where(failed).values(due_at=_earlier(now)))
    session.execute(update(_STATE).where(_STATE.c.name == directory).values(retry_at=None))


def owed(session: Session, directory: str, now: datetime) -> list[Subject]:
    """Return those whose entries are due, or were tried in vain."""
    due = (_OWED.c.due_at <= now) | (_OWED.c.failures > 0)
    query = (
        select(_OWED.c.kind, _OWED.c.subject_id).where(_OWED.c.directory == directory, due).order_by(_OWED.c.due_at, _OWED.c.id)
    )
    return [Subject(SubjectKind(kind), number) for kind, number in session.execute(query)]


def count_due(session: Session, directory: str, now: datetime) -> int:
    """Return how many entries are due now, those under a lease included."""
    query = select(func.count()).select_from(_OWED).where(_OWED.c.directory == directory, _OWED.c.due_at <= now)
    return session.scalar(query) or 0


def claim_due(session: Session, directory: str, *, now: datetime, limit: int) -> list[Claim]:
    """Lease what a directory is owed to the caller, the longest due first."""
    rows = claim(session, OwedEntry, col(OwedEntry.directory) == directory, now=now, limit=limit)
    return [
        Claim(row.id or 0, row.lease_token or "", Subject(SubjectKind(row.kind), row.subject_id), row.revision, row.failures)
        for row in rows
    ]


def still_held(session: Session, claims: Sequence[Claim]) -> set[int]:
    """Return the row numbers of those of ``claims``, all of one batch, whose lease nobody else has taken over; lock them."""
    if not claims:
        return set()
    rows = [claimed.row_id for claimed in claims]
    query = select(_OWED.c.id).where(_OWED.c.id.in_(rows), _OWED.c.lease_token == claims[0].token).order_by(_OWED.c.id)
    return set(session.scalars(query.with_for_update()))


def settle(session: Session, settlements: Sequence[Settlement], *, claimed_at: datetime, now: datetime) -> None:
    """Write what became of claims whose lease is held (``still_held``), and free them.

    What happened since the claim is owed from then on, whatever became of the claim.
    """
    rows = [
        {
            "row": each.claim.row_id,
            "claimed_revision": each.claim.revision,
            "due": each.due_at,
            "failures": each.claim.failures + 1 if each.error else 0,
            "error": each.error,
            "waiting": each.waiting,
            "warning": each.warning,
            "failed": bool(each.error),
            "since": claimed_at,
            "at": now,
        }
        for each in sorted(settlements, key=lambda each: each.claim.row_id)
    ]
    if rows:
        session.execute(_SETTLE, rows)


def release(session: Session, claims: Sequence[Claim]) -> None:
    """Give back claims that nothing was done about."""
    rows = [claimed.row_id for claimed in claims]
    if rows:
        free = {"lease_token": None, "lease_until": None}
        session.execute(update(_OWED).where(_OWED.c.id.in_(rows), _OWED.c.lease_token == claims[0].token).values(free))


def next_due(session: Session, directory: str, now: datetime) -> datetime | None:
    """Return when there will be something to do for a directory, which may be past; None when nothing is scheduled."""
    ours = _OWED.c.directory == directory
    leased = _OWED.c.lease_until > now
    free: datetime | None = session.scalar(
        select(_OWED.c.due_at)
        .where(ours, _OWED.c.due_at.is_not(None), or_(_OWED.c.lease_until.is_(None), ~leased))
        .order_by(_OWED.c.due_at)
        .limit(1)
    )
    if free is None or free > now:
        # What is under a lease counts from the lease's end, when its worker is given up.
        given_up = session.scalar(select(func.min(_OWED.c.lease_until)).where(ours, _OWED.c.due_at <= now, leased))
        free = min((each for each in (free, given_up) if each is not None), default=None)
    if free is None:
        return None
    retry_at: datetime | None = session.scalar(select(_STATE.c.retry_at).where(_STATE.c.name == directory))
    return max(free, retry_at) if retry_at is not None else free


def _row(directory: str, subject: Subject) -> dict[str, object]:
    return {"directory": directory, "kind": str(subject.kind), "subject_id": subject.id}


_DEFAULTS = {"revision": 0, "failures": 0, "error": "", "waiting": False, "warning": ""}


@cache
def _owe_statement(dialect: str) -> postgresql.Insert | sqlite.Insert:
    """Return the statement of ``owe``, made once: every enrolment runs it."""
    at = bindparam("at", type_=UtcDateTime())
    made = postgresql.insert(_OWED) if dialect == "postgresql" else sqlite.insert(_OWED)
    return made.values(**_DEFAULTS, due_at=at, owed_since=at).on_conflict_do_update(
        index_elements=_KEY,
        set_={
            "revision": _OWED.c.revision + 1,
            # What is due already stays due: machines' clocks differ.
            "due_at": case((_OWED.c.due_at <= at, _OWED.c.due_at), else_=at),
            "owed_since": func.coalesce(_OWED.c.owed_since, at),
        },
    )


def _owe_all(session: Session, directory: Directory, kind: SubjectKind, subjects: Select[tuple[int]], now: datetime) -> None:
    source = subjects.subquery()
    constants = {"directory": directory.name, "kind": str(kind), **_DEFAULTS}
    columns: list[ColumnElement[Any]] = [
        *(literal(value) for value in constants.values()),
        _at(now),
        _at(now),
        source.c.subject_id,
    ]
    query = select(*columns).where(literal(value=True))
    made = postgresql.insert(_OWED) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(_OWED)
    names = [*constants, "due_at", "owed_since", "subject_id"]
    changes = {
        "revision": _OWED.c.revision + 1,
        "due_at": _earlier(now),
        "owed_since": func.coalesce(_OWED.c.owed_since, _at(now)),
    }
    session.execute(made.from_select(names, query).on_conflict_do_update(index_elements=_KEY, set_=changes))


def _at(now: datetime) -> BindParameter[datetime]:
    return literal(now, UtcDateTime())


def _earlier(now: datetime) -> Case[datetime]:
    return case((_OWED.c.due_at <= _at(now), _OWED.c.due_at), else_=_at(now))


_UNMOVED = _OWED.c.revision == bindparam("claimed_revision")
_SINCE = bindparam("since", type_=UtcDateTime())
_SETTLE = (
    update(_OWED)
    .where(_OWED.c.id == bindparam("row"))
    .values(
        lease_token=None,
        lease_until=None,
        due_at=case((_UNMOVED, bindparam("due", type_=UtcDateTime())), else_=bindparam("at", type_=UtcDateTime())),
        owed_since=case(
            (bindparam("failed"), func.coalesce(_OWED.c.owed_since, _SINCE)),
            (_UNMOVED, None),
            else_=_SINCE,
        ),
        failures=bindparam("failures"),
        error=bindparam("error"),
        waiting=bindparam("waiting"),
        warning=bindparam("warning"),
    )
)
