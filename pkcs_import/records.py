"""The tables of the key archive: what is kept of each person, how it is handed out, and who asked for it back."""

from datetime import datetime

from sqlalchemy import JSON, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field

from foundation.tables import Table, UtcDateTime


class ArchiveKey(Table, table=True):
    """A key pair that private keys are sealed to. The newest is the current one; the archive process has the private half.

    ``key_id`` is the SHA-256 of the SubjectPublicKeyInfo in hex. ``retired_at`` is set once nothing is sealed to it any more.
    """

    __tablename__ = "archive_key"

    id: int | None = Field(default=None, primary_key=True)
    key_id: str = Field(max_length=64, unique=True)
    reference: str = Field(max_length=200)
    algorithm: str = Field(max_length=20)
    spki: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=UtcDateTime)
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ArchivedKey(Table, table=True):
    """A person's private key, sealed (``pkcs_import/sealing.py``). ``uid``, person and key are what its seal is bound to."""

    __tablename__ = "archived_key"
    __table_args__ = (UniqueConstraint("person_id", "spki_sha256"),)

    id: int | None = Field(default=None, primary_key=True)
    uid: str = Field(max_length=32, unique=True)
    person_id: int
    # "imported" or "made": the origins of ``pkcs_import.keeping.Origin``.
    origin: str = Field(max_length=10)
    spki_sha256: str = Field(max_length=64, index=True)
    key_algorithm: str = Field(max_length=20)
    archive_key_id: int = Field(foreign_key="archive_key.id", index=True)
    wrapped_key: bytes = Field(sa_type=LargeBinary)
    nonce: bytes = Field(sa_type=LargeBinary)
    ciphertext: bytes = Field(sa_type=LargeBinary)
    kept_at: datetime = Field(sa_type=UtcDateTime)


class ArchivedCertificate(Table, table=True):
    """A certificate over an archived key. A key may have several: public authorities renew over the same one.

    ``certificate_id`` where it is one of ours. ``chain`` is what came with it, DER after DER, its issuer first.
    """

    __tablename__ = "archived_certificate"
    __table_args__ = (UniqueConstraint("archived_key_id", "sha256"),)

    id: int | None = Field(default=None, primary_key=True)
    archived_key_id: int = Field(foreign_key="archived_key.id")
    person_id: int = Field(index=True)
    certificate_id: int | None = Field(default=None, foreign_key="certificate.id", index=True)
    sha256: str = Field(max_length=64)
    der: bytes = Field(sa_type=LargeBinary)
    chain: bytes = Field(default=b"", sa_type=LargeBinary)
    subject: str
    issuer: str
    serial: str = Field(max_length=64)
    not_before: datetime = Field(sa_type=UtcDateTime)
    not_after: datetime = Field(sa_type=UtcDateTime)
    # The values of ``pkcs_import.purpose.Purpose``, ``trust.Trust`` and ``purpose.Concern``.
    purpose: str = Field(max_length=20)
    trust: str = Field(max_length=20)
    concerns: list[str] = Field(default_factory=list, sa_type=JSON)
    kept_at: datetime = Field(sa_type=UtcDateTime)
    # Of another authority's: since when it is not published any more, because its owner has left.
    withdrawn_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ImportedFile(Table, table=True):
    """A file that was imported whole for a person: once more, it need not be opened."""

    __tablename__ = "imported_file"
    __table_args__ = (UniqueConstraint("sha256", "person_id"),)

    id: int | None = Field(default=None, primary_key=True)
    sha256: str = Field(max_length=64)
    person_id: int
    imported_at: datetime = Field(sa_type=UtcDateTime)


class PublicationHold(Table, table=True):
    """A renewed encryption certificate of ours that is not published yet: the person's devices do not all hold its key."""

    __tablename__ = "publication_hold"

    id: int | None = Field(default=None, primary_key=True)
    certificate_id: int = Field(foreign_key="certificate.id", unique=True)
    person_id: int = Field(index=True)
    until: datetime = Field(sa_type=UtcDateTime, index=True)


class Delivery(Table, table=True):
    """Keys of a person, packed for one device of theirs (or for Intune, none): the values of ``pkcs_import.delivery``.

    ``package`` is one or several PKCS #12 under a passphrase that is kept nowhere; it goes when it was fetched or its time is up.
    """

    __tablename__ = "key_delivery"
    # Of those that wait, the next that is over.
    __table_args__ = (Index("ix_key_delivery_state_expires_at", "state", "expires_at"),)

    id: int | None = Field(default=None, primary_key=True)
    person_id: int = Field(index=True)
    device_id: int | None = Field(default=None, index=True)
    method: str = Field(max_length=20)
    encoding: str = Field(max_length=20)
    state: str = Field(max_length=20)
    ordered_by: str = Field(max_length=200)
    ordered_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    token_digest: str | None = Field(default=None, max_length=64, unique=True)
    package: bytes | None = Field(default=None, sa_type=LargeBinary)


class DeliveredKey(Table, table=True):
    """One key of a delivery."""

    __tablename__ = "delivered_key"
    __table_args__ = (UniqueConstraint("delivery_id", "archived_key_id"),)

    id: int | None = Field(default=None, primary_key=True)
    delivery_id: int = Field(foreign_key="key_delivery.id")
    archived_key_id: int = Field(foreign_key="archived_key.id", index=True)


class PushedPfx(Table, table=True):
    """A certificate with its key that Microsoft Intune was given, for whatever devices of the person it manages.

    The row is there before it is uploaded, and ``pushed_at`` once that is known to have succeeded. ``intune_id`` is Microsoft's
    name for it, ``connector_key`` the SHA-256 of the key (SubjectPublicKeyInfo, hex) that the passphrase is encrypted to.
    """

    __tablename__ = "pushed_pfx"
    __table_args__ = (UniqueConstraint("person_id", "thumbprint"),)

    id: int | None = Field(default=None, primary_key=True)
    person_id: int
    archived_certificate_id: int = Field(foreign_key="archived_certificate.id", index=True)
    thumbprint: str = Field(max_length=40)
    upn: str = Field(max_length=320)
    connector_key: str = Field(max_length=64)
    intune_id: str | None = Field(default=None, max_length=255)
    pushed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RecoveryRequest(Table, table=True):
    """Somebody asks for a person's key: who, why, who approved, and whether it was exported."""

    __tablename__ = "recovery_request"

    id: int | None = Field(default=None, primary_key=True)
    person_id: int = Field(index=True)
    # None for all of the person's encryption keys.
    archived_key_id: int | None = Field(default=None, foreign_key="archived_key.id")
    reason: str = Field(max_length=1000)
    state: str = Field(max_length=20)
    asked_by: str = Field(max_length=200)
    asked_by_person: int
    # The numbers of the API tokens that they were let in with.
    asked_by_token: int
    asked_at: datetime = Field(sa_type=UtcDateTime)
    decided_by: str | None = Field(default=None, max_length=200)
    decided_by_person: int | None = Field(default=None)
    decided_by_token: int | None = Field(default=None)
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime, index=True)
    exported_by: str | None = Field(default=None, max_length=200)
    exported_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
