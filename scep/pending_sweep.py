"""Forgetting requests whose time is up: those that nobody decided, and those whose answer has long been there."""

from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import delete, select
from sqlmodel import Session

from audit import log
from audit.log import Actor, Event
from foundation.clock import Clock
from foundation.tables import table_of
from foundation.transactions import Transactions
from scep.pending import State
from scep.records import PendingRequest

_SWEPT_AT_ONCE: Final = 500
_PENDING = table_of(PendingRequest)


def sweep(transactions: Transactions, clock: Clock, actor: Actor) -> int:
    """Forget requests whose time is up, batch after batch; return how many."""
    swept = 0
    while batch := transactions.write(partial(_sweep_batch, actor=actor, now=clock.now())):
        swept += batch
    return swept


def _sweep_batch(session: Session, *, actor: Actor, now: datetime) -> int:
    expired = session.execute(
        select(_PENDING.c.id, _PENDING.c.endpoint, _PENDING.c.state)
        .where(_PENDING.c.expires_at <= now)
        .order_by(_PENDING.c.id)
        .limit(_SWEPT_AT_ONCE)
        # Another worker takes others.
        .with_for_update(skip_locked=True)
    ).all()
    for row in expired:
        if row.state in (State.WAITING, State.APPROVED):
            details = {"endpoint": row.endpoint, "state": row.state}
            log.record(session, Event(actor, "request.expired", f"request:{row.id}", details=details), now=now)
    session.execute(delete(_PENDING).where(_PENDING.c.id.in_([row.id for row in expired])))
    return len(expired)
