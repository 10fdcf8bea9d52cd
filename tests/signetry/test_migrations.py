"""What earlier releases recorded is there after a migration, on both databases."""

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import URL, text
from sqlmodel import Session, col, select

from ca.authorisation import CaName
from ca.lineage import lineage_of
from ca.records import Certificate, CertificationAuthority, ServiceKey
from signetry.database import Database
from signetry.migrations.run import alembic_config

AT = "2026-06-01 12:00:00"
_CERTIFICATE = """
    INSERT INTO certificate (id, authority_id, serial, profile, subject, spki_sha256, not_before, not_after, issued_at, der)
    VALUES (:id, 1, :serial, 'scep-ra', 'CN=RA', 'aa', :at, :at, :at, :der)
"""
_RA_KEY = """
    INSERT INTO ra_key (id, authority_id, certificate_id, key_reference, created_at)
    VALUES (:id, 1, :certificate, :reference, :at)
"""
_AUTHORITY = """
    INSERT INTO certification_authority (id, name, key_reference, key_algorithm, created_at)
    VALUES (1, 'root', 'root-p384', 'p384', :at)
"""
# An authority, and its RA's two keys in the order in which they were made.
RECORDED: tuple[tuple[str, dict[str, object]], ...] = (
    (_AUTHORITY, {}),
    (_CERTIFICATE, {"id": 7, "serial": "07", "der": b"0"}),
    (_CERTIFICATE, {"id": 8, "serial": "08", "der": b"0"}),
    (_RA_KEY, {"id": 3, "certificate": 7, "reference": "root-ra-1"}),
    (_RA_KEY, {"id": 9, "certificate": 8, "reference": "root-ra-2"}),
)


@pytest.fixture
def first_release(empty_url: URL) -> Iterator[Database]:
    """A database as the first release left it."""
    database = Database(empty_url)
    with database.engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        for statement, values in RECORDED:
            connection.execute(text(statement), {"at": AT} | values)
    yield database
    database.close()


def test_what_the_first_release_recorded_is_kept(first_release: Database) -> None:
    first_release.migrate()
    first_release.check_schema()
    with first_release.reading() as session:
        assert [each.key_reference for each in session.exec(select(CertificationAuthority))] == ["root-p384"]
        kept = session.exec(select(Certificate).order_by(col(Certificate.id))).all()
        assert [(each.id, each.serial[-1], each.renews_id) for each in kept] == [(7, "7", None), (8, "8", None)]
        # Nobody has succeeded it, so it is the one that issues.
        assert lineage_of(session, CaName("root")).active.key_reference == "root-p384"
        keys = session.exec(select(ServiceKey).order_by(col(ServiceKey.id))).all()
    assert [(each.purpose, each.certificate_id, each.key_reference) for each in keys] == [
        ("ra", 7, "root-ra-1"),
        ("ra", 8, "root-ra-2"),
    ]


def test_what_comes_after_a_migration_is_numbered_after_what_was_there(first_release: Database) -> None:
    first_release.migrate()

    def add(session: Session) -> ServiceKey:
        authority = session.exec(select(CertificationAuthority)).one()
        key = ServiceKey(
            authority_id=1, purpose="ra", certificate_id=8, key_reference="root-ra-3", created_at=authority.created_at
        )
        session.add(key)
        session.flush()
        return key

    added = first_release.write(add)
    with first_release.reading() as session:
        assert session.exec(select(ServiceKey).order_by(col(ServiceKey.id).desc())).first() == added
