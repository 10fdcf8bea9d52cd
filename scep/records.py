"""The tables of SCEP enrolment: challenges, and the answers that identical retries get again."""

from datetime import datetime

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

    id: int | None = Field(default=None, primary_key=True)
    retry_key: str = Field(max_length=64, unique=True)
    endpoint: str = Field(max_length=60)
    transaction_id: str = Field(max_length=255)
    certificate_id: int = Field(foreign_key="certificate.id", unique=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
