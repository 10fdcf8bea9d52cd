"""The key archive, its deliveries and recoveries, and mails to persons."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "archive_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=200), nullable=False),
        sa.Column("algorithm", sa.String(length=20), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archive_key")),
        sa.UniqueConstraint("key_id", name=op.f("uq_archive_key_key_id")),
    )
    op.create_table(
        "imported_file",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_file")),
        sa.UniqueConstraint("sha256", "person_id", name=op.f("uq_imported_file_sha256_person_id")),
    )
    op.create_table(
        "key_delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=True),
        sa.Column("method", sa.String(length=20), nullable=False),
        sa.Column("encoding", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("ordered_by", sa.String(length=200), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("token_digest", sa.String(length=64), nullable=True),
        sa.Column("package", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_delivery")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_key_delivery_token_digest")),
    )
    with op.batch_alter_table("key_delivery", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_key_delivery_device_id"), ["device_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_key_delivery_person_id"), ["person_id"], unique=False)
        batch_op.create_index("ix_key_delivery_state_expires_at", ["state", "expires_at"], unique=False)

    op.create_table(
        "owed_notice",
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("language", sa.String(length=35), nullable=False),
        sa.Column("template", sa.String(length=60), nullable=False),
        sa.Column("reference", sa.String(length=60), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("attachment_name", sa.String(length=200), nullable=False),
        sa.Column("attachment", sa.LargeBinary(), nullable=True),
        sa.Column("owed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("good_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owed_notice")),
    )
    with op.batch_alter_table("owed_notice", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_owed_notice_due_at"), ["due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_owed_notice_person_id"), ["person_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_owed_notice_reference"), ["reference"], unique=False)

    op.create_table(
        "archived_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("origin", sa.String(length=10), nullable=False),
        sa.Column("spki_sha256", sa.String(length=64), nullable=False),
        sa.Column("key_algorithm", sa.String(length=20), nullable=False),
        sa.Column("archive_key_id", sa.Integer(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["archive_key_id"], ["archive_key.id"], name=op.f("fk_archived_key_archive_key_id_archive_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archived_key")),
        sa.UniqueConstraint("person_id", "spki_sha256", name=op.f("uq_archived_key_person_id_spki_sha256")),
        sa.UniqueConstraint("uid", name=op.f("uq_archived_key_uid")),
    )
    with op.batch_alter_table("archived_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_archived_key_archive_key_id"), ["archive_key_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_archived_key_spki_sha256"), ["spki_sha256"], unique=False)

    op.create_table(
        "archived_certificate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("archived_key_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("trust", sa.String(length=20), nullable=False),
        sa.Column("concerns", sa.JSON(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["archived_key_id"], ["archived_key.id"], name=op.f("fk_archived_certificate_archived_key_id_archived_key")
        ),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_archived_certificate_certificate_id_certificate")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archived_certificate")),
        sa.UniqueConstraint("archived_key_id", "sha256", name=op.f("uq_archived_certificate_archived_key_id_sha256")),
    )
    with op.batch_alter_table("archived_certificate", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_archived_certificate_certificate_id"), ["certificate_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_archived_certificate_person_id"), ["person_id"], unique=False)

    op.create_table(
        "pushed_pfx",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("archived_certificate_id", sa.Integer(), nullable=False),
        sa.Column("thumbprint", sa.String(length=40), nullable=False),
        sa.Column("upn", sa.String(length=320), nullable=False),
        sa.Column("connector_key", sa.String(length=64), nullable=False),
        sa.Column("intune_id", sa.String(length=255), nullable=True),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["archived_certificate_id"],
            ["archived_certificate.id"],
            name=op.f("fk_pushed_pfx_archived_certificate_id_archived_certificate"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pushed_pfx")),
        sa.UniqueConstraint("person_id", "thumbprint", name=op.f("uq_pushed_pfx_person_id_thumbprint")),
    )
    with op.batch_alter_table("pushed_pfx", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pushed_pfx_archived_certificate_id"), ["archived_certificate_id"], unique=False)

    op.create_table(
        "delivered_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("archived_key_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["archived_key_id"], ["archived_key.id"], name=op.f("fk_delivered_key_archived_key_id_archived_key")
        ),
        sa.ForeignKeyConstraint(["delivery_id"], ["key_delivery.id"], name=op.f("fk_delivered_key_delivery_id_key_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivered_key")),
        sa.UniqueConstraint("delivery_id", "archived_key_id", name=op.f("uq_delivered_key_delivery_id_archived_key_id")),
    )
    with op.batch_alter_table("delivered_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_delivered_key_archived_key_id"), ["archived_key_id"], unique=False)

    op.create_table(
        "publication_hold",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_publication_hold_certificate_id_certificate")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_publication_hold")),
        sa.UniqueConstraint("certificate_id", name=op.f("uq_publication_hold_certificate_id")),
    )
    with op.batch_alter_table("publication_hold", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_publication_hold_person_id"), ["person_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_publication_hold_until"), ["until"], unique=False)

    op.create_table(
        "recovery_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("archived_key_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("asked_by", sa.String(length=200), nullable=False),
        sa.Column("asked_by_person", sa.Integer(), nullable=False),
        sa.Column("asked_by_token", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("decided_by_person", sa.Integer(), nullable=True),
        sa.Column("decided_by_token", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("exported_by", sa.String(length=200), nullable=True),
        sa.Column("exported_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["archived_key_id"], ["archived_key.id"], name=op.f("fk_recovery_request_archived_key_id_archived_key")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_request")),
    )
    with op.batch_alter_table("recovery_request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_recovery_request_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_recovery_request_person_id"), ["person_id"], unique=False)
