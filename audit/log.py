"""Writing audit events: always in the transaction of the act itself, so that one never exists without the other.

Details hold names and numbers, never secrets: no challenge, password or key material (design.md section 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert
from sqlmodel import Session

from audit.records import AuditEvent
from foundation.statements import Prepared
from foundation.tables import table_of

Outcome = Literal["done", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts and from where.

    ``name`` is ``kind:identifier`` (``cli:root``, ``scep:default``, ``worker``); ``origin`` a client address or ``local``.
    """

    name: str
    origin: str = "local"


@dataclass(frozen=True, slots=True)
class Event:
    """What happened: ``action`` as ``object.verb`` (``certificate.issued``), ``subject`` as ``kind:identifier``."""

    actor: Actor
    action: str
    subject: str
    outcome: Outcome = "done"
    details: Mapping[str, Any] = field(default_factory=dict)


_INSERT = Prepared(insert(table_of(AuditEvent)), "at", "actor", "action", "subject", "origin", "outcome", "details")


def record(session: Session, event: Event, *, now: datetime) -> None:
    """Add ``event`` to the record, in the caller's transaction."""
    _INSERT.run(
        session,
        {
            "at": now,
            "actor": event.actor.name[:200],
            "action": event.action,
            "subject": event.subject[:200],
            "origin": event.actor.origin[:100],
            "outcome": event.outcome,
            "details": dict(event.details),
        },
    )
