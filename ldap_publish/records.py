"""The tables of LDAP publication: the directories, what each is owed, and what it holds of ours."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from foundation.due import DueRow
from foundation.tables import Table, UtcDateTime


class SubjectKind(StrEnum):
    """What an entry in a directory is about."""

    PERSON = "person"
    AUTHORITY = "authority"


class DirectoryState(Table, table=True):
    """How a configured directory fares; a failure of the directory itself postpones all that it is owed, and nothing else."""

    __tablename__ = "ldap_directory"

    name: str = Field(primary_key=True, max_length=60)
    # Of the settings that decide what is published where: when they change, everything is owed again.
    fingerprint: str = Field(max_length=64)
    failures: int = 0
    retry_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    error: str = ""


class OwedEntry(DueRow, table=True):
    """What a directory is owed for one person or authority. One row each, so that an entry's changes stay in order.

    ``due_at`` may lie ahead, for the day when a published certificate expires; ``owed_since`` says since when something that has
    happened is not yet in the directory, and is empty when nothing is.
    """

    __tablename__ = "ldap_owed_entry"
    __table_args__ = (
        UniqueConstraint("directory", "kind", "subject_id"),
        Index("ix_ldap_owed_entry_directory_due_at", "directory", "due_at"),
    )

    id: int | None = Field(default=None, primary_key=True)
    directory: str = Field(max_length=60)
    kind: str = Field(max_length=10)
    subject_id: int
    # Counts what made the entry due, so that what happens during an upload is not taken for part of it.
    revision: int = 0
    owed_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failures: int = 0
    error: str = ""
    # Whether the error is only that there is no entry yet.
    waiting: bool = False
    # Something that is done all the same, and should be looked at.
    warning: str = ""


class PublishedValue(Table, table=True):
    """A value that we put into an entry, or were about to: written before the directory is changed, removed after.

    Only what stands here is ever taken out of a directory; every other value is somebody else's.
    """

    __tablename__ = "ldap_published_value"
    __table_args__ = (
        UniqueConstraint("directory", "kind", "subject_id", "dn", "attribute", "sha256", name="uq_ldap_published_value"),
    )

    id: int | None = Field(default=None, primary_key=True)
    directory: str = Field(max_length=60)
    kind: str = Field(max_length=10)
    subject_id: int
    dn: str = Field(max_length=2000)
    attribute: str = Field(max_length=60)
    sha256: str = Field(max_length=64)
    # What the value was made from; for one that is a certificate, its own digest. A signature differs each time it is made.
    source: str = Field(max_length=64)
