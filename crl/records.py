"""The tables of CRL publication."""

from datetime import datetime

from sqlalchemy import LargeBinary, UniqueConstraint
from sqlmodel import Field

from foundation.due import DueRow
from foundation.tables import Table, UtcDateTime


class CrlSchedule(DueRow, table=True):
    """When an authority's next CRL is due, and the last number given out. One row an authority."""

    __tablename__ = "crl_schedule"

    authority_id: int = Field(primary_key=True, foreign_key="certification_authority.id")
    last_number: int = 0
    # Counts what made a new CRL necessary, so that a revocation during a build is not taken for part of it.
    revision: int = 0
    # Builds that failed since the last that succeeded; spaces the attempts.
    failures: int = 0


class PublishedCrl(Table, table=True):
    """A CRL as relying parties get it. The highest number of an authority is the one served."""

    __tablename__ = "published_crl"
    __table_args__ = (UniqueConstraint("authority_id", "number"),)

    id: int | None = Field(default=None, primary_key=True)
    authority_id: int = Field(foreign_key="certification_authority.id")
    number: int
    this_update: datetime = Field(sa_type=UtcDateTime)
    next_update: datetime = Field(sa_type=UtcDateTime)
    entry_count: int
    sha256: str = Field(max_length=64)
    der: bytes = Field(sa_type=LargeBinary)
