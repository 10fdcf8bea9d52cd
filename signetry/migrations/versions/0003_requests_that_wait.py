"""Requests that wait, and certificates that are withheld until somebody was told."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "scep_pending_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.String(length=60), nullable=False),
        sa.Column("transaction_id", sa.String(length=255), nullable=False),
        sa.Column("retry_key", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("csr_digest", sa.String(length=64), nullable=False),
        sa.Column("challenge_digest", sa.String(length=64), nullable=False),
        sa.Column("must_renew", sa.Boolean(), nullable=False),
        sa.Column("signer_spki_sha256", sa.String(length=64), nullable=False),
        sa.Column("spki_sha256", sa.String(length=64), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("requested", sa.String(), nullable=False),
        sa.Column("origin", sa.String(length=100), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("device_id", sa.Integer(), nullable=True),
        sa.Column("profile", sa.String(length=60), nullable=True),
        sa.Column("rejection", sa.String(length=255), nullable=True),
        sa.Column("certificate_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_scep_pending_request_certificate_id_certificate")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scep_pending_request")),
        sa.UniqueConstraint("retry_key", name=op.f("uq_scep_pending_request_retry_key")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("scep_pending_request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_scep_pending_request_device_id"), ["device_id"], unique=False)
        batch_op.create_index("ix_scep_pending_request_endpoint_transaction_id", ["endpoint", "transaction_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_scep_pending_request_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_scep_pending_request_person_id"), ["person_id"], unique=False)

    with op.batch_alter_table("scep_enrolment", schema=None) as batch_op:
        batch_op.add_column(sa.Column("withheld_until", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(
            "ix_scep_enrolment_withheld",
            ["withheld_until"],
            unique=False,
            sqlite_where=sa.text("withheld_until IS NOT NULL"),
            postgresql_where=sa.text("withheld_until IS NOT NULL"),
        )

    with op.batch_alter_table("certification_authority", schema=None) as batch_op:
        batch_op.add_column(sa.Column("succeeds_id", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_foreign_key(
            batch_op.f("fk_certification_authority_succeeds_id_certification_authority"),
            "certification_authority",
            ["succeeds_id"],
            ["id"],
        )
