"""Directories and what they are owed, API tokens, what a certificate renews, keys for other purposes than the RA's."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "ldap_directory",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_ldap_directory")),
    )
    op.create_table(
        "ldap_owed_entry",
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("directory", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("subject_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("owed_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.Column("warning", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ldap_owed_entry")),
        sa.UniqueConstraint("directory", "kind", "subject_id", name=op.f("uq_ldap_owed_entry_directory_kind_subject_id")),
    )
    with op.batch_alter_table("ldap_owed_entry", schema=None) as batch_op:
        batch_op.create_index("ix_ldap_owed_entry_directory_due_at", ["directory", "due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_ldap_owed_entry_due_at"), ["due_at"], unique=False)

    op.create_table(
        "ldap_published_value",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("directory", sa.String(length=60), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("subject_id", sa.Integer(), nullable=False),
        sa.Column("dn", sa.String(length=2000), nullable=False),
        sa.Column("attribute", sa.String(length=60), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ldap_published_value")),
        sa.UniqueConstraint("directory", "kind", "subject_id", "dn", "attribute", "sha256", name="uq_ldap_published_value"),
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("administrator", sa.String(length=200), nullable=False),
        sa.Column("endpoints", sa.JSON(), nullable=False),
        sa.Column("profiles", sa.JSON(), nullable=False),
        sa.Column("group_name", sa.String(length=100), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_api_token_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_token_digest")),
    )
    with op.batch_alter_table("api_token", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_token_administrator"), ["administrator"], unique=False)
        batch_op.create_index(batch_op.f("ix_api_token_person_id"), ["person_id"], unique=False)

    op.create_table(
        "service_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("authority_id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=False),
        sa.Column("key_reference", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"],
            ["certification_authority.id"],
            name=op.f("fk_service_key_authority_id_certification_authority"),
        ),
        sa.ForeignKeyConstraint(["certificate_id"], ["certificate.id"], name=op.f("fk_service_key_certificate_id_certificate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_key")),
    )
    op.create_index("ix_service_key_authority_id_purpose", "service_key", ["authority_id", "purpose"], unique=False)
    columns = "certificate_id, key_reference, created_at"
    op.execute(
        f"INSERT INTO service_key (authority_id, purpose, {columns}) "  # noqa: S608 - nothing of it is given from outside
        f"SELECT authority_id, 'ra', {columns} FROM ra_key ORDER BY id"
    )
    op.drop_table("ra_key")

    op.create_table(
        "stored_answer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_id", sa.Integer(), nullable=False),
        sa.Column("key_digest", sa.String(length=64), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["api_token.id"], name=op.f("fk_stored_answer_token_id_api_token")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stored_answer")),
        sa.UniqueConstraint("token_id", "key_digest", name=op.f("uq_stored_answer_token_id_key_digest")),
    )
    with op.batch_alter_table("stored_answer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stored_answer_created_at"), ["created_at"], unique=False)

    with op.batch_alter_table("certificate", schema=None) as batch_op:
        batch_op.add_column(sa.Column("renews_id", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_certificate_renews_id_certificate"), "certificate", ["renews_id"], ["id"])
        batch_op.create_index(
            "ix_certificate_good_until",
            ["not_after", "profile", "revoked_at"],
            unique=False,
            sqlite_where=sa.text("revoked_at IS NULL"),
            postgresql_where=sa.text("revoked_at IS NULL"),
        )

    with op.batch_alter_table("certification_authority", schema=None) as batch_op:
        batch_op.alter_column("key_reference", existing_type=sa.VARCHAR(length=200), nullable=True)
