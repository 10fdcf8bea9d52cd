"""The tables of access: tokens, and the answers to requests that may be repeated."""

from datetime import datetime

from sqlalchemy import JSON, LargeBinary, UniqueConstraint
from sqlmodel import Field

from foundation.tables import Table, UtcDateTime


class ApiToken(Table, table=True):
    """A bearer token of the API; the token itself is not kept, only its digest."""

    __tablename__ = "api_token"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=100)
    role: str = Field(max_length=20)
    digest: str = Field(max_length=64, unique=True)
    # Whose it is; officers and recovery agents are named persons.
    person_id: int | None = Field(default=None, foreign_key="person.id", index=True)
    # Who stands behind its making: an administrator made by an administrator counts as the same one.
    administrator: str = Field(max_length=200, index=True)
    # What an MDM's token is limited to; empty means nothing, not everything.
    endpoints: list[str] = Field(default_factory=list, sa_type=JSON)
    profiles: list[str] = Field(default_factory=list, sa_type=JSON)
    group_name: str | None = Field(default=None, max_length=100)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class StoredAnswer(Table, table=True):
    """What a request with an Idempotency-Key was answered, for its repetition.

    ``sealed`` can be opened with the token and the key only, neither of which is kept: an answer may hold a challenge.
    """

    __tablename__ = "stored_answer"
    __table_args__ = (UniqueConstraint("token_id", "key_digest"),)

    id: int | None = Field(default=None, primary_key=True)
    token_id: int = Field(foreign_key="api_token.id")
    key_digest: str = Field(max_length=64)
    request_digest: str = Field(max_length=64)
    status: int = 0
    sealed: bytes = Field(default=b"", sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime, index=True)
