"""What became of mails: to be looked at, to be tried again, to be forgotten in time. What they say is shown to nobody."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, case, delete, func, null, or_, select, update
from sqlmodel import Session

from foundation.tables import table_of
from notices.errors import NothingToSend, UnknownNotice
from notices.kinds import KINDS
from notices.records import OwedNotice
from people.records import Person

_OWED = table_of(OwedNotice)
_PERSON = table_of(Person)
_SWEPT_AT_ONCE = 1000


class State(StrEnum):
    """How a mail stands."""

    WAITING = "waiting"
    """It has not been tried yet."""
    DEFERRED = "deferred"
    """It was tried in vain, and is tried again."""
    SENT = "sent"
    """The mail server has taken it. Whether it was read, or bounced later, nobody knows here."""
    GIVEN_UP = "given-up"
    """It is not tried any more."""


@dataclass(frozen=True, slots=True)
class MailView:
    """A mail as lists show it.

    Attributes:
        person: the UPN of whose mail it is; None where it is nobody's.
        next_attempt: when it is tried, None where it is not.
        error: why it was not sent, in the server's own words where it has said any.
    """

    id: int
    state: State
    template: str
    person: str | None
    address: str
    attachment_name: str
    owed_at: datetime
    good_until: datetime | None
    next_attempt: datetime | None
    sent_at: datetime | None
    failures: int
    error: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is owed: how many mails wait, how many of them were tried in vain, since when the oldest, and those given up."""

    waiting: int
    deferred: int
    given_up: int
    oldest: datetime | None


def listed(
    session: Session,
    *,
    state: State | None = None,
    person: int | None = None,
    only: Collection[int] | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[MailView]:
    """Return mails, the newest first: those in a state, of a person, with one of these numbers, with a smaller number."""
    query = _VIEW.order_by(_OWED.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(_IS[state])
    if person is not None:
        query = query.where(_OWED.c.person_id == person)
    if only is not None:
        query = query.where(_OWED.c.id.in_(only))
    if before is not None:
        query = query.where(_OWED.c.id < before)
    return [_view(row) for row in session.execute(query)]


def get(session: Session, number: int) -> MailView:
    """Return a mail.

    Raises:
        UnknownNotice: there is none of this number.
    """
    row = session.execute(_VIEW.where(_OWED.c.id == number)).one_or_none()
    if row is None:
        raise UnknownNotice(f"there is no mail {number}")
    return _view(row)


def owe_again(session: Session, numbers: Sequence[int], *, now: datetime) -> list[MailView]:
    """Let mails be tried at once, those that were given up included, all or none; return them.

    Raises:
        UnknownNotice: there is none of a number.
        NothingToSend: one has been sent, or is of no use any more.
    """
    for number in sorted(set(numbers)):
        mail = get(session, number)
        if mail.state is State.SENT:
            raise NothingToSend(f"mail {number} has been sent")
        values = session.scalar(select(_OWED.c["values"]).where(_OWED.c.id == number))
        kind = KINDS.get(mail.template)
        if kind is None or kind.values.keys() != (values or {}).keys():
            raise NothingToSend(f"mail {number} cannot be sent again, its words are gone: repeat what it was about")
        if mail.state is State.GIVEN_UP:
            # As if it were owed today: it is tried as long as a new one.
            begun = {"due_at": now, "owed_at": now, "failures": 0, "error": ""}
            session.execute(update(_OWED).where(_OWED.c.id == number, _OWED.c.due_at.is_(None)).values(**begun))
    hasten(session, numbers, now=now)
    return listed(session, only=numbers, limit=len(numbers))


def hasten(session: Session, only: Collection[int] | None = None, *, now: datetime) -> None:
    """Let the mails that are owed, or ``only`` some of them, be tried at once."""
    waiting = (_OWED.c.due_at > now) if only is None else (_OWED.c.due_at > now) & _OWED.c.id.in_(only)
    session.execute(update(_OWED).where(waiting).values(due_at=now))


def unsent(session: Session) -> list[int]:
    """Return the numbers of the mails that are owed, the oldest first."""
    return list(session.scalars(select(_OWED.c.id).where(_OWED.c.due_at.is_not(None)).order_by(_OWED.c.id)))


def backlog(session: Session) -> Backlog:
    """Return what is owed."""
    owed, given_up = _OWED.c.due_at.is_not(None), _IS[State.GIVEN_UP]
    waiting, deferred, abandoned, oldest = session.execute(
        select(
            func.count(case((owed, 1))),
            func.count(case((_IS[State.DEFERRED], 1))),
            func.count(case((given_up, 1))),
            func.min(case((owed, _OWED.c.owed_at))),
        ).where(_OWED.c.sent_at.is_(None))
    ).one()
    return Backlog(waiting, deferred, abandoned, oldest)


def sweep(session: Session, *, ended_before: datetime, now: datetime) -> int:
    """Delete mails owed before ``ended_before`` that are sent or given up, and what is of no use any more in those given up.

    Returns how many rows were deleted, a bounded number at a time.
    """
    over = or_(_IS[State.SENT], _IS[State.GIVEN_UP]) & (_OWED.c.owed_at < ended_before)
    doomed = list(session.scalars(select(_OWED.c.id).where(over).order_by(_OWED.c.id).limit(_SWEPT_AT_ONCE)))
    if doomed:
        session.execute(delete(_OWED).where(_OWED.c.id.in_(doomed)))
    useless = _IS[State.GIVEN_UP] & (_OWED.c.good_until <= now)
    session.execute(update(_OWED).where(useless).values({"values": {}, "attachment": null()}))
    return len(doomed)


_IS: dict[State, ColumnElement[bool]] = {
    State.WAITING: _OWED.c.due_at.is_not(None) & (_OWED.c.failures == 0),
    State.DEFERRED: _OWED.c.due_at.is_not(None) & (_OWED.c.failures > 0),
    State.SENT: _OWED.c.sent_at.is_not(None),
    State.GIVEN_UP: _OWED.c.due_at.is_(None) & _OWED.c.sent_at.is_(None),
}
_VIEW = select(
    _OWED.c.id,
    _OWED.c.template,
    _OWED.c.address,
    _OWED.c.attachment_name,
    _OWED.c.owed_at,
    _OWED.c.good_until,
    _OWED.c.due_at,
    _OWED.c.sent_at,
    _OWED.c.failures,
    _OWED.c.error,
    _PERSON.c.upn,
).join_from(_OWED, _PERSON, _OWED.c.person_id == _PERSON.c.id, isouter=True)


def _view(row: Row[Any]) -> MailView:
    if row.sent_at is not None:
        state = State.SENT
    elif row.due_at is None:
        state = State.GIVEN_UP
    else:
        state = State.DEFERRED if row.failures else State.WAITING
    return MailView(
        id=row.id,
        state=state,
        template=row.template,
        person=row.upn,
        address=row.address,
        attachment_name=row.attachment_name,
        owed_at=row.owed_at,
        good_until=row.good_until,
        next_attempt=row.due_at,
        sent_at=row.sent_at,
        failures=row.failures,
        error=row.error,
    )
