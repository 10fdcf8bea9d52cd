"""The first schema: audit, authority, persons, SCEP and CRLs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "audit_event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("origin", sa.String(length=100), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_at"), "audit_event", ["at"], unique=False)
    op.create_index(op.f("ix_audit_event_subject"), "audit_event", ["subject"], unique=False)
    op.create_table(
        "certification_authority",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("issuer_id", sa.Integer(), nullable=True),
        sa.Column("key_reference", sa.String(length=200), nullable=False),
        sa.Column("key_algorithm", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["issuer_id"],
            ["certification_authority.id"],
            name=op.f("fk_certification_authority_issuer_id_certification_authority"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certification_authority")),
        sa.UniqueConstraint("name", name=op.f("uq_certification_authority_name")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("upn", sa.String(length=320), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("given_name", sa.String(length=100), nullable=False),
        sa.Column("middle_name", sa.String(length=100), nullable=False),
        sa.Column("surname", sa.String(length=100), nullable=False),
        sa.Column("account_name", sa.String(length=100), nullable=False),
        sa.Column("domain", sa.String(length=255), nullable=False),
        sa.Column("employee_code", sa.String(length=100), nullable=False),
        sa.Column("sid", sa.String(length=184), nullable=True),
        sa.Column("language", sa.String(length=35), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("email", name=op.f("uq_person_email")),
        sa.UniqueConstraint("sid", name=op.f("uq_person_sid")),
        sa.UniqueConstraint("upn", name=op.f("uq_person_upn")),
    )
    op.create_table(
        "person_group",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person_group")),
        sa.UniqueConstraint("name", name=op.f("uq_person_group_name")),
    )
    op.create_table(
        "certificate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("authority_id", sa.Integer(), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("profile", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("device_id", sa.Integer(), nullable=True),
        sa.Column("certifies_id", sa.Integer(), nullable=True),
        sa.Column("spki_sha256", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_after", sa.DateTime(timezone=True), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revocation_reason", sa.String(length=30), nullable=True),
        sa.Column("invalidity_date", sa.DateTime(timezone=True), nullable=True),
        sa.Column("crl_entry", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["certification_authority.id"], name=op.f("fk_certificate_authority_id_certification_authority")
        ),
        sa.ForeignKeyConstraint(
            ["certifies_id"], ["certification_authority.id"], name=op.f("fk_certificate_certifies_id_certification_authority")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
        sa.UniqueConstraint("authority_id", "serial", name=op.f("uq_certificate_authority_id_serial")),
    )
    op.create_index(op.f("ix_certificate_certifies_id"), "certificate", ["certifies_id"], unique=False)
    op.create_index(op.f("ix_certificate_device_id"), "certificate", ["device_id"], unique=False)
    op.create_index(op.f("ix_certificate_person_id"), "certificate", ["person_id"], unique=False)
    op.create_index(
        "ix_certificate_revoked",
        "certificate",
        ["authority_id", "serial"],
        unique=False,
        sqlite_where=sa.text("revoked_at IS NOT NULL"),
        postgresql_where=sa.text("revoked_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_certificate_spki_sha256"), "certificate", ["spki_sha256"], unique=False)
    op.create_table(
        "crl_schedule",
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("authority_id", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["certification_authority.id"], name=op.f("fk_crl_schedule_authority_id_certification_authority")
        ),
        sa.PrimaryKeyConstraint("authority_id", name=op.f("pk_crl_schedule")),
    )
    op.create_index(op.f("ix_crl_schedule_due_at"), "crl_schedule", ["due_at"], unique=False)
    op.create_table(
        "device",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("dns_name", sa.String(length=253), nullable=True),
        sa.Column("platform", sa.String(length=30), nullable=False),
        sa.Column("serial_number", sa.String(length=100), nullable=True),
        sa.Column("udid", sa.String(length=100), nullable=True),
        sa.Column("imei", sa.String(length=20), nullable=True),
        sa.Column("phone_number", sa.String(length=30), nullable=False),
        sa.Column("wifi_mac", sa.String(length=17), nullable=True),
        sa.Column("iccid", sa.String(length=22), nullable=True),
        sa.Column("eas_device_id", sa.String(length=64), nullable=True),
        sa.Column("mdm_id", sa.String(length=100), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["person.id"], name=op.f("fk_device_owner_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("dns_name", name=op.f("uq_device_dns_name")),
        sa.UniqueConstraint("eas_device_id", name=op.f("uq_device_eas_device_id")),
        sa.UniqueConstraint("iccid", name=op.f("uq_device_iccid")),
        sa.UniqueConstraint("imei", name=op.f("uq_device_imei")),
        sa.UniqueConstraint("mdm_id", name=op.f("uq_device_mdm_id")),
        sa.UniqueConstraint("name", name=op.f("uq_device_name")),
        sa.UniqueConstraint("serial_number", name=op.f("uq_device_serial_number")),
        sa.UniqueConstraint("udid", name=op.f("uq_device_udid")),
        sa.UniqueConstraint("wifi_mac", name=op.f("uq_device_wifi_mac")),
    )
    op.create_index(op.f("ix_device_owner_id"), "device", ["owner_id"], unique=False)
    op.create_table(
        "mail_address",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_mail_address_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_address")),
        sa.UniqueConstraint("email", name=op.f("uq_mail_address_email")),
    )
    op.create_index(op.f("ix_mail_address_person_id"), "mail_address", ["person_id"], unique=False)
    op.create_table(
        "person_group_member",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["person_group.id"], name=op.f("fk_person_group_member_group_id_person_group")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_person_group_member_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person_group_member")),
        sa.UniqueConstraint("group_id", "person_id", name=op.f("uq_person_group_member_group_id_person_id")),
    )
    op.create_index(op.f("ix_person_group_member_person_id"), "person_group_member", ["person_id"], unique=False)
    op.create_table(
        "published_crl",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("authority_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("this_update", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_update", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entry_count", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["certification_authority.id"], name=op.f("fk_published_crl_authority_id_certification_authority")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_published_crl")),
        sa.UniqueConstraint("authority_id", "number", name=op.f("uq_published_crl_authority_id_number")),
    )
    op.create_table(
        "ra_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("authority_id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=False),
        sa.Column("key_reference", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["certification_authority.id"], name=op.f("fk_ra_key_authority_id_certification_authority")
        ),
        sa.ForeignKeyConstraint(["certificate_id"], ["certificate.id"], name=op.f("fk_ra_key_certificate_id_certificate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ra_key")),
    )
    op.create_index(op.f("ix_ra_key_authority_id"), "ra_key", ["authority_id"], unique=False)
    op.create_table(
        "scep_challenge",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("endpoint", sa.String(length=60), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("device_id", sa.Integer(), nullable=True),
        sa.Column("profile", sa.String(length=60), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("certificate_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_scep_challenge_certificate_id_certificate")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scep_challenge")),
        sa.UniqueConstraint("digest", name=op.f("uq_scep_challenge_digest")),
    )
    op.create_index(op.f("ix_scep_challenge_device_id"), "scep_challenge", ["device_id"], unique=False)
    op.create_index(op.f("ix_scep_challenge_person_id"), "scep_challenge", ["person_id"], unique=False)
    op.create_table(
        "scep_enrolment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("retry_key", sa.String(length=64), nullable=False),
        sa.Column("endpoint", sa.String(length=60), nullable=False),
        sa.Column("transaction_id", sa.String(length=255), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_scep_enrolment_certificate_id_certificate")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scep_enrolment")),
        sa.UniqueConstraint("certificate_id", name=op.f("uq_scep_enrolment_certificate_id")),
        sa.UniqueConstraint("retry_key", name=op.f("uq_scep_enrolment_retry_key")),
    )
