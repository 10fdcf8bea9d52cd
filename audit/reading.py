"""Reading the record: what was done, the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from audit.records import AuditEvent
from foundation.tables import table_of

_EVENT = table_of(AuditEvent)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to read: ``since`` and ``until`` (exclusive) bound their time, the rest is equal. None does not restrict."""

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as recorded; ``id`` rises with every event, ``at`` need not, where machines' clocks differ."""

    id: int
    at: datetime
    actor: str
    origin: str
    action: str
    subject: str
    outcome: str
    details: dict[str, Any] = field(default_factory=dict)


_COLUMNS = ("id", "at", "actor", "origin", "action", "subject", "outcome", "details")


def events(
    session: Session,
    wanted: EventFilter = EventFilter(),
    *,
    before: int | None = None,
    limit: int = 100,
) -> Sequence[RecordedEvent]:
    """Return up to ``limit`` events, the newest first, beginning behind the one with the number ``before``."""
    query = select(*(_EVENT.c[name] for name in _COLUMNS)).order_by(_EVENT.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_EVENT.c.id < before)
    for name in ("subject", "actor", "action", "outcome"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(_EVENT.c[name] == value)
    if wanted.since is not None:
        query = query.where(_EVENT.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(_EVENT.c.at < wanted.until)
    return [RecordedEvent(**row._mapping) for row in session.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name for it
