"""The authority's tables: certification authorities, every certificate they issued, and their other keys."""

from datetime import datetime

from sqlalchemy import Index, LargeBinary, UniqueConstraint, text
from sqlmodel import Field

from foundation.tables import Table, UtcDateTime


class CertificationAuthority(Table, table=True):
    """A certification authority: a name, and (in ``certificate``) the certificates over its key.

    Of somebody else's, above one of ours, there is no key here.
    """

    __tablename__ = "certification_authority"

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=60, unique=True)
    # None for a root, which signs itself, and for an authority whose certificate is yet to come from somebody else's.
    issuer_id: int | None = Field(default=None, foreign_key="certification_authority.id")
    # None where the key is somebody else's.
    key_reference: str | None = Field(default=None, max_length=200)
    key_algorithm: str = Field(max_length=20)
    created_at: datetime = Field(sa_type=UtcDateTime)
    # The issuing CA whose place this one takes, and since when it does; both empty of the first of a lineage (``ca/lineage.py``).
    succeeds_id: int | None = Field(default=None, foreign_key="certification_authority.id")
    activated_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # Since when nothing is asked of it any more but its CRL.
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Certificate(Table, table=True):
    """A certificate one of our authorities issued: end entities, the service's own, and the authorities themselves.

    ``person_id`` and ``device_id`` belong to ``people/`` and are opaque here. Good while ``revoked_at`` is empty.
    """

    __tablename__ = "certificate"
    __table_args__ = (
        UniqueConstraint("authority_id", "serial"),
        # Revoked certificates are few among many: the CRL reads them through an index that holds nothing else.
        Index(
            "ix_certificate_revoked",
            "authority_id",
            "serial",
            sqlite_where=text("revoked_at IS NOT NULL"),
            postgresql_where=text("revoked_at IS NOT NULL"),
        ),
        # What will expire soon, by profile, is counted without reading the certificates; SQLite looks at revoked_at all the same.
        Index(
            "ix_certificate_good_until",
            "not_after",
            "profile",
            "revoked_at",
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    authority_id: int = Field(foreign_key="certification_authority.id")
    serial: str = Field(max_length=40)
    profile: str = Field(max_length=60)
    subject: str
    person_id: int | None = Field(default=None, index=True)
    device_id: int | None = Field(default=None, index=True)
    # Set where the subject is itself an authority of ours; its newest certificate that is not revoked is the current one.
    certifies_id: int | None = Field(default=None, foreign_key="certification_authority.id", index=True)
    # The certificate whose holder asked for this one in its place, where that was said.
    renews_id: int | None = Field(default=None, foreign_key="certificate.id")
    spki_sha256: str = Field(max_length=64, index=True)
    not_before: datetime = Field(sa_type=UtcDateTime)
    not_after: datetime = Field(sa_type=UtcDateTime)
    issued_at: datetime = Field(sa_type=UtcDateTime)
    der: bytes = Field(sa_type=LargeBinary)

    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revocation_reason: str | None = Field(default=None, max_length=30)
    invalidity_date: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # The revokedCertificates entry as it stands in a CRL, encoded once, at revocation.
    crl_entry: bytes | None = Field(default=None, sa_type=LargeBinary)


class ServiceKey(Table, table=True):
    """A key pair of an authority's own for another purpose than certifying, with its certificate (``ca/service_keys.py``).

    The newest row of an authority and purpose is the current one. The registration authority's older ones still decrypt until
    their certificate expires.
    """

    __tablename__ = "service_key"
    __table_args__ = (Index("ix_service_key_authority_id_purpose", "authority_id", "purpose"),)

    id: int | None = Field(default=None, primary_key=True)
    authority_id: int = Field(foreign_key="certification_authority.id")
    purpose: str = Field(max_length=20)
    certificate_id: int = Field(foreign_key="certificate.id")
    key_reference: str = Field(max_length=200)
    created_at: datetime = Field(sa_type=UtcDateTime)
