"""Due rows: work a room owes, kept in the room's own table and claimed by one worker at a time.

A claim is a lease with a token. A worker that dies leaves the lease to lapse; one that comes back late finds that its token no
longer matches and its result is dropped (design.md section 3). Work that takes longer than a lease is done while ``held``.
"""

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from sqlalchemy import ColumnElement, update
from sqlmodel import Field, Session, col, select

from foundation.clock import Clock
from foundation.errors import SignetryError
from foundation.tables import Table, UtcDateTime, table_of
from foundation.transactions import Transactions

LEASE = timedelta(seconds=30)
# Twice in a lease's time: one extension may fail.
_EXTENDED_EVERY = LEASE / 3

_log = structlog.get_logger("foundation.due")


class DueRow(Table):
    """The columns of a table whose rows are worked off. ``due_at`` in the past and no live lease means: claim me."""

    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)
    lease_token: str | None = Field(default=None, max_length=32)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)


Row = TypeVar("Row", bound=DueRow)


def claim(
    session: Session,
    table: type[Row],
    *where: ColumnElement[bool],
    now: datetime,
    limit: int = 100,
) -> Sequence[Row]:
    """Lease up to ``limit`` due rows of ``table`` that meet ``where`` to the caller, oldest first.

    Run it in a writing transaction: on PostgreSQL the rows are taken with ``FOR UPDATE SKIP LOCKED``, on SQLite the transaction
    itself excludes the other workers. Every row returned carries the caller's token.
    """
    free = (col(table.lease_until).is_(None)) | (col(table.lease_until) <= now)
    query = (
        select(table)
        .where(col(table.due_at) <= now, free, *where)
        .order_by(col(table.due_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = session.exec(query).all()
    token = secrets.token_hex(16)
    for row in rows:
        row.lease_token = token
        row.lease_until = now + LEASE
        session.add(row)
    session.flush()
    return rows


def settle(session: Session, table: type[Row], key: Any, token: str, **changes: object) -> bool:  # noqa: ANN401 - any key type
    """End a lease: write ``changes`` to the row and free it, if the token still holds.

    ``key`` is the row's primary key. Returns False when the lease had lapsed and someone else took the row; the caller's
    result must then be dropped with the transaction.
    """
    primary_key = next(iter(table_of(table).primary_key))
    done = session.execute(
        update(table)
        .where(primary_key == key, col(table.lease_token) == token)
        .values(lease_token=None, lease_until=None, **changes),
    )
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]


def extend(session: Session, table: type[DueRow], token: str, *, now: datetime) -> int:
    """Let the lease of every row that is still held under ``token`` begin anew; return how many there are."""
    done = session.execute(update(table).where(col(table.lease_token) == token).values(lease_until=now + LEASE))
    return int(done.rowcount)  # type: ignore[attr-defined]


@contextmanager
def held(
    transactions: Transactions,
    clock: Clock,
    table: type[DueRow],
    token: str,
    *,
    every: timedelta = _EXTENDED_EVERY,
) -> Iterator[None]:
    """Keep the lease of what was claimed under ``token`` from lapsing while the block runs, from a thread beside it.

    That takes over nothing that another worker has claimed meanwhile, and is no promise: a process that was stopped for longer
    than a lease has lost it all the same, and ``settle`` says so.
    """
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(every.total_seconds()):
            try:
                transactions.write(lambda session: extend(session, table, token, now=clock.now()))
            except SignetryError as error:
                _log.warning("lease not extended", reason=str(error))

    keeper = threading.Thread(target=keep, name="lease-keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
