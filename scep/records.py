"""The tables of SCEP enrolment: challenges, the answers that identical retries get again, and the requests that wait."""

from datetime import datetime

from sqlalchemy import Index, LargeBinary, text
from sqlmodel import Field

from foundation.tables import Table, UtcDateTime


class Challenge(Table, table=True):
    """A one-time challengePassword, kept as a digest, redeemed only in the transaction that stores its certificate."""

    __tablename__ = "scep_challenge"

    id: int | None = Field(default=None, primary_key=True)
    digest: str = Field(max_length=64, unique=True)
    endpoint: str = Field(max_length=60)
    person_id: int | None = Field(default=None, index=True)
    device_id: int | None = Field(default=None, index=True)
    profile: str = Field(max_length=60)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    redeemed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    certificate_id: int | None = Field(default=None, foreign_key="certificate.id")


class Enrolment(Table, table=True):
    """An enrolment that was granted: which request, at which endpoint, got which certificate.

    ``retry_key`` is what makes a request the same one: endpoint, transactionID, CSR digest, challenge, and the signing
    certificate when it is one of ours. A transactionID alone is not unique, clients derive it from the key (facts/scep.md).
    """

    __tablename__ = "scep_enrolment"
    __table_args__ = (
        # The withheld are few among many.
        Index(
            "ix_scep_enrolment_withheld",
            "withheld_until",
            sqlite_where=text("withheld_until IS NOT NULL"),
            postgresql_where=text("withheld_until IS NOT NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    retry_key: str = Field(max_length=64, unique=True)
    endpoint: str = Field(max_length=60)
    transaction_id: str = Field(max_length=255)
    certificate_id: int = Field(foreign_key="certificate.id", unique=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    # Set while the certificate is not to be handed out: until when that may take, after which it is revoked (scep/withheld.py).
    withheld_until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PendingRequest(Table, table=True):
    """A request that was answered with PENDING: it waits for an administrator, or for a key that was out of reach.

    The request's bytes are not kept, as a challenge stands in them: the key, whose possession has been proved, the names asked
    for, and the digests that make an identical request the same one.
    """

    __tablename__ = "scep_pending_request"
    __table_args__ = (
        Index("ix_scep_pending_request_endpoint_transaction_id", "endpoint", "transaction_id"),
        # A number that an administrator has seen is never another request's, though rows are deleted.
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    endpoint: str = Field(max_length=60)
    transaction_id: str = Field(max_length=255)
    retry_key: str = Field(max_length=64, unique=True)
    # One of ``scep.pending.State``.
    state: str = Field(max_length=20)
    csr_digest: str = Field(max_length=64)
    challenge_digest: str = Field(max_length=64)
    must_renew: bool
    # Whose polls are answered: the key that signed the request, and the one to be certified.
    signer_spki_sha256: str = Field(max_length=64)
    spki_sha256: str = Field(max_length=64)
    spki: bytes = Field(sa_type=LargeBinary)
    # As shown to the administrator who decides, and as held against the Authorisation: JSON of ``ca.names.RequestedNames``.
    subject: str
    requested: str
    # The address it came from, and what counts as one address where those that wait are limited.
    origin: str = Field(max_length=100)
    network: str = Field(max_length=64)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)

    # The decision: for whom it was approved, or in which words it was rejected.
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    decided_by: str | None = Field(default=None, max_length=200)
    person_id: int | None = Field(default=None, index=True)
    device_id: int | None = Field(default=None, index=True)
    profile: str | None = Field(default=None, max_length=60)
    rejection: str | None = Field(default=None, max_length=255)
    certificate_id: int | None = Field(default=None, foreign_key="certificate.id")
