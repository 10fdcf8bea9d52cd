"""The audit table."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Integer
from sqlmodel import Field

from foundation.tables import Table, UtcDateTime


class AuditEvent(Table, table=True):
    """One act. Rows are only ever added."""

    __tablename__ = "audit_event"

    id: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer, "sqlite"),
    )
    at: datetime = Field(sa_type=UtcDateTime, index=True)
    actor: str = Field(max_length=200)
    action: str = Field(max_length=60)
    subject: str = Field(max_length=200, index=True)
    origin: str = Field(max_length=100)
    outcome: str = Field(max_length=20)
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
