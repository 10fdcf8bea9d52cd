"""How publication stands: what each directory is owed, what fails and why, in the servers' own words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import and_, func, or_, select
from sqlmodel import Session

from foundation.tables import table_of
from ldap_publish.directory import Directory, DirectoryKind
from ldap_publish.records import DirectoryState, OwedEntry, PublishedValue, SubjectKind
from ldap_publish.wanted import authority_names, person_fields

_OWED = table_of(OwedEntry)
_STATE = table_of(DirectoryState)
_PUBLISHED = table_of(PublishedValue)


class Condition(StrEnum):
    """How a directory fares."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    # The directory answers, and refuses some entries.
    FAILING = "failing"
    # The service has not been started since the settings name it.
    NEW = "new"
    # Nothing goes there any more: the settings do not name it.
    NOT_CONFIGURED = "not-configured"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a directory is owed, in numbers.

    Attributes:
        pending: entries of which something has happened that is not in the directory yet; those that fail are among them.
        oldest: since when the first of them.
        failed: entries that the directory refuses.
        waiting: persons who have no entry yet.
        is_unreachable: whether the directory itself cannot be used.
    """

    directory: str
    pending: int
    oldest: datetime | None
    failed: int
    waiting: int
    is_unreachable: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """An entry that is not as it should be: whose, where it stands as far as that is known, and why."""

    subject: str
    entry: str
    error: str
    failures: int
    next_attempt: datetime | None


@dataclass(frozen=True, slots=True)
class Warned:
    """An entry that should be looked at."""

    subject: str
    warning: str


@dataclass(frozen=True, slots=True)
class DirectoryReport:
    """How one directory fares; ``failures`` holds those that fail longest, as many as were asked for."""

    backlog: Backlog
    # None for one that is not configured.
    kind: DirectoryKind | None
    condition: Condition
    error: str
    failing_since: datetime | None
    retry_at: datetime | None
    warnings: tuple[Warned, ...]
    failures: tuple[Failure, ...]


def backlog(session: Session, now: datetime) -> list[Backlog]:
    """Return what each directory that was ever configured is owed, by name."""
    pending = or_(_OWED.c.owed_since.is_not(None), _OWED.c.due_at <= now)
    failed = and_(_OWED.c.failures > 0, ~_OWED.c.waiting)
    query = (
        select(
            _STATE.c.name,
            _STATE.c.failures,
            func.count(_OWED.c.id).label("pending"),
            func.min(func.coalesce(_OWED.c.owed_since, _OWED.c.due_at)).label("oldest"),
            func.count(_OWED.c.id).filter(failed).label("failed"),
            func.count(_OWED.c.id).filter(_OWED.c.waiting).label("waiting"),
        )
        .outerjoin_from(_STATE, _OWED, and_(_OWED.c.directory == _STATE.c.name, pending))
        .group_by(_STATE.c.name, _STATE.c.failures)
        .order_by(_STATE.c.name)
    )
    return [
        Backlog(row.name, row.pending, row.oldest, row.failed, row.waiting, is_unreachable=row.failures > 0)
        for row in session.execute(query)
    ]


def report(session: Session, configured: Mapping[str, Directory], now: datetime, *, most: int = 100) -> list[DirectoryReport]:
    """Return how each directory fares, with at most ``most`` failures and warnings each.

    One that is not in ``configured`` is reported as long as something is recorded of it.
    """
    states = {state.name: state for state in session.execute(select(_STATE))}
    known = [
        DirectoryReport(
            backlog=each,
            kind=configured[each.directory].kind if each.directory in configured else None,
            condition=_condition(each, configured),
            error=states[each.directory].error,
            failing_since=states[each.directory].failing_since,
            retry_at=states[each.directory].retry_at,
            warnings=_warnings(session, each.directory, most),
            failures=_failures(session, each.directory, most),
        )
        for each in backlog(session, now)
    ]
    new = [_new(directory) for name, directory in sorted(configured.items()) if name not in states]
    return sorted([*known, *new], key=lambda each: each.backlog.directory)


def _new(directory: Directory) -> DirectoryReport:
    nothing = Backlog(directory.name, pending=0, oldest=None, failed=0, waiting=0, is_unreachable=False)
    return DirectoryReport(nothing, directory.kind, Condition.NEW, "", None, None, (), ())


def _condition(each: Backlog, configured: Collection[str]) -> Condition:
    if each.directory not in configured:
        return Condition.NOT_CONFIGURED
    if each.is_unreachable:
        return Condition.UNREACHABLE
    return Condition.FAILING if each.failed else Condition.OK


def _failures(session: Session, directory: str, most: int) -> tuple[Failure, ...]:
    query = select(_OWED).where(_OWED.c.directory == directory, _OWED.c.failures > 0)
    rows = session.execute(query.order_by(_OWED.c.failures.desc(), _OWED.c.id).limit(most)).all()
    names = _names(session, [(row.kind, row.subject_id) for row in rows])
    entries = _entries(session, directory, [row.subject_id for row in rows])
    return tuple(
        Failure(
            subject=names[row.kind, row.subject_id],
            entry=entries.get((row.kind, row.subject_id), ""),
            error=row.error,
            failures=row.failures,
            next_attempt=row.due_at,
        )
        for row in rows
    )


def _warnings(session: Session, directory: str, most: int) -> tuple[Warned, ...]:
    query = select(_OWED.c.kind, _OWED.c.subject_id, _OWED.c.warning).where(_OWED.c.directory == directory, _OWED.c.warning != "")
    rows = session.execute(query.order_by(_OWED.c.id).limit(most)).all()
    names = _names(session, [(row.kind, row.subject_id) for row in rows])
    return tuple(Warned(names[row.kind, row.subject_id], row.warning) for row in rows)


def _names(session: Session, subjects: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    persons = person_fields(session, [number for kind, number in subjects if kind == SubjectKind.PERSON])
    authorities = authority_names(session, [number for kind, number in subjects if kind == SubjectKind.AUTHORITY])
    names = {(str(SubjectKind.PERSON), number): fields["upn"] for number, fields in persons.items()}
    names |= {(str(SubjectKind.AUTHORITY), number): name for number, name in authorities.items()}
    return {(kind, number): names.get((kind, number), f"{kind} {number}") for kind, number in subjects}


def _entries(session: Session, directory: str, numbers: Sequence[int]) -> dict[tuple[str, int], str]:
    """Return the entry that each was put into last."""
    query = select(_PUBLISHED.c.kind, _PUBLISHED.c.subject_id, _PUBLISHED.c.dn).where(_PUBLISHED.c.directory == directory)
    rows = session.execute(query.where(_PUBLISHED.c.subject_id.in_(list(numbers))).order_by(_PUBLISHED.c.id))
    return {(row.kind, row.subject_id): row.dn for row in rows}
