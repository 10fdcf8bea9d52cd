"""How deliveries end that nobody fetched: their time is up, or they are stopped. What was packed is thrown away with them."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import ColumnElement, func, select, update
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import PersonId
from foundation.clock import Clock
from foundation.tables import table_of
from foundation.transactions import Transactions
from pkcs_import.delivery import State
from pkcs_import.errors import UnknownDelivery
from pkcs_import.records import Delivery

_AT_ONCE: Final = 500
_DELIVERY = table_of(Delivery)
_READY = _DELIVERY.c.state == str(State.READY)

# Told the ids of deliveries that have ended unfetched, in the transaction that ends them.
EndedListener = Callable[[Session, Sequence[int]], None]


def stop(session: Session, delivery_id: int, *, actor: Actor, now: datetime, listeners: Sequence[EndedListener] = ()) -> None:
    """Stop a delivery that has not gone out yet, in the caller's transaction.

    Raises:
        UnknownDelivery: there is none, or it is over.
    """
    if not _end(session, State.STOPPED, _DELIVERY.c.id == delivery_id, actor=actor, now=now, listeners=listeners):
        raise UnknownDelivery(f"there is no delivery {delivery_id} that could still be stopped")


def stop_all(
    session: Session, person: PersonId, *, actor: Actor, now: datetime, listeners: Sequence[EndedListener] = ()
) -> list[int]:
    """Stop everything that waits to be delivered of a person's keys, in the caller's transaction; return the deliveries' ids."""
    return _end(session, State.STOPPED, _DELIVERY.c.person_id == person, actor=actor, now=now, listeners=listeners)


def sweep(transactions: Transactions, clock: Clock, actor: Actor, listeners: Sequence[EndedListener] = ()) -> int:
    """End the deliveries whose time is up, batch after batch; return how many."""
    swept = 0
    while batch := transactions.write(partial(_sweep_batch, actor=actor, now=clock.now(), listeners=listeners)):
        swept += batch
    return swept


def next_due(session: Session) -> datetime | None:
    """Return when the next delivery's time is up; None where none waits."""
    first: datetime | None = session.scalar(select(func.min(_DELIVERY.c.expires_at)).where(_READY))
    return first


def _sweep_batch(session: Session, *, actor: Actor, now: datetime, listeners: Sequence[EndedListener]) -> int:
    due = (
        select(_DELIVERY.c.id)
        .where(_READY, _DELIVERY.c.expires_at <= now)
        .order_by(_DELIVERY.c.expires_at)
        .limit(_AT_ONCE)
        # Another worker takes others.
        .with_for_update(skip_locked=True)
    )
    ids = session.scalars(due).all()
    return len(_end(session, State.EXPIRED, _DELIVERY.c.id.in_(ids), actor=actor, now=now, listeners=listeners)) if ids else 0


def _end(
    session: Session,
    state: State,
    which: ColumnElement[bool],
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[EndedListener],
) -> list[int]:
    columns = (_DELIVERY.c.id, _DELIVERY.c.person_id, _DELIVERY.c.device_id, _DELIVERY.c.method)
    values = {"state": str(state), "ended_at": now, "token_digest": None, "package": None}
    ended = session.execute(update(_DELIVERY).where(_READY, which).values(values).returning(*columns)).all()
    for row in sorted(ended, key=lambda each: each.id):
        details = {"person": row.person_id, "device": row.device_id, "method": row.method}
        record_event(session, Event(actor, f"delivery.{state}", f"delivery:{row.id}", details=details), now=now)
    numbers = sorted(row.id for row in ended)
    for listener in listeners if numbers else ():
        listener(session, numbers)
    return numbers
