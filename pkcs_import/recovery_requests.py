"""Requests to recover keys, as they are on record: how each stands, and finding them. Acting on them is ``recovery``'s."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, select
from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.tables import table_of
from pkcs_import.errors import UnknownRecovery
from pkcs_import.records import RecoveryRequest

_REQUEST = table_of(RecoveryRequest)


class State(StrEnum):
    """How a request stands. ``EXPIRED`` is not stored: it is what waits, or is approved, for longer than it may."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPORTED = "exported"
    EXPIRED = "expired"


# Those that end by themselves.
OPEN: Final = (State.WAITING, State.APPROVED)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A recovery request, as recorded. ``key`` is None for all encryption keys of the person."""

    id: int
    person: PersonId
    key: int | None
    reason: str
    state: State
    asked_by: str
    asked_by_person: PersonId
    asked_by_token: int
    asked_at: datetime
    decided_by: str | None
    decided_by_person: PersonId | None
    decided_by_token: int | None
    decided_at: datetime | None
    expires_at: datetime
    exported_by: str | None
    exported_at: datetime | None


def get(session: Session, number: int, *, now: datetime) -> Recovery:
    """Return the request of this number. Raises UnknownRecovery."""
    row = session.execute(select(_REQUEST).where(_REQUEST.c.id == number)).one_or_none()
    if row is None:
        raise UnknownRecovery(f"there is no recovery request {number}")
    return _recovery(row, now)


def matching(
    session: Session,
    *,
    state: State | None = None,
    person: PersonId | None = None,
    before: int | None = None,
    limit: int,
    now: datetime,
) -> list[Recovery]:
    """Return up to ``limit`` requests, the newest first, from below the number ``before``; None does not restrict."""
    query = select(_REQUEST)
    if state is not None:
        query = query.where(_is(state, now))
    if person is not None:
        query = query.where(_REQUEST.c.person_id == person)
    if before is not None:
        query = query.where(_REQUEST.c.id < before)
    rows = session.execute(query.order_by(_REQUEST.c.id.desc()).limit(limit))
    return [_recovery(row, now) for row in rows]


def _is(state: State, now: datetime) -> ColumnElement[bool]:
    if state is State.EXPIRED:
        return _REQUEST.c.state.in_([str(each) for each in OPEN]) & (_REQUEST.c.expires_at <= now)
    found: ColumnElement[bool] = _REQUEST.c.state == str(state)
    return found & (_REQUEST.c.expires_at > now) if state in OPEN else found


def _recovery(row: Row[Any], now: datetime) -> Recovery:
    state = State(row.state)
    return Recovery(
        id=row.id,
        person=PersonId(row.person_id),
        key=row.archived_key_id,
        reason=row.reason,
        state=State.EXPIRED if state in OPEN and row.expires_at <= now else state,
        asked_by=row.asked_by,
        asked_by_person=PersonId(row.asked_by_person),
        asked_by_token=row.asked_by_token,
        asked_at=row.asked_at,
        decided_by=row.decided_by,
        decided_by_person=None if row.decided_by_person is None else PersonId(row.decided_by_person),
        decided_by_token=row.decided_by_token,
        decided_at=row.decided_at,
        expires_at=row.expires_at,
        exported_by=row.exported_by,
        exported_at=row.exported_at,
    )
