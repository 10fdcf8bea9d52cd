"""Due rows: work a room owes, kept in the room's own table and claimed by one worker at a time.

A claim is a lease with a token. A worker that dies leaves the lease to lapse; one that comes back late finds that its token no
longer matches and its result is dropped (design.md section 3).
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, update
from sqlmodel import Field, Session, col, select

from foundation.tables import Table, UtcDateTime, table_of

LEASE = timedelta(seconds=30)


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
