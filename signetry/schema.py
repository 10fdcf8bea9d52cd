"""Schema changes: the Alembic revisions in ``signetry/migrations``, applied from the program itself, no alembic.ini needed."""

from sqlalchemy import Engine, MetaData, inspect
from sqlmodel import Session

import audit.records
import ca.records
import crl.records
import ldap_publish.records
import notices.records
import people.records
import pkcs_import.records
import scep.records
from foundation.tables import Table
from signetry.access import records as access_records
from signetry.errors import SchemaOutdated

# Whose tables the schema holds. Importing a records module is what registers its tables.
RECORDS = (
    audit.records,
    ca.records,
    people.records,
    scep.records,
    crl.records,
    ldap_publish.records,
    notices.records,
    pkcs_import.records,
    access_records,
)

# The newest revision, as its file in migrations/versions is numbered.
CURRENT = "0004"

# Any number, as long as every process asks PostgreSQL for the same one.
_MIGRATION_LOCK = 0x5163_6E65


def metadata() -> MetaData:
    """Return the schema as the records declare it."""
    return Table.metadata


def migrate(engine: Engine) -> None:
    """Apply what is missing, in one transaction that excludes every other migrating process.

    On SQLite the engine begins its transactions IMMEDIATE, with foreign keys unchecked: a change that rebuilds a table drops the
    old one, which would otherwise take the rows that refer to it along. They are checked before the commit.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # The migration behind another one waits for as long as that takes.
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        # Half of what it takes to start a command is not spent on a library that migrations alone need.
        from signetry.migrations import run  # noqa: PLC0415

        run.upgrade(connection)
        if connection.dialect.name == "sqlite":
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if orphans:
                raise SchemaOutdated(f"the migration would leave {len(orphans)} rows that refer to nothing")


def check_schema(session: Session) -> None:
    """Return if the schema is the one this release was written for.

    Raises:
        SchemaOutdated: it is older, newer or absent.
    """
    found = None
    if inspect(session.connection()).has_table("alembic_version"):
        found = session.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if found == CURRENT:
        return
    if found is None:
        raise SchemaOutdated("the database holds no schema yet; run signetry init")
    advice = "start signetry serve or run signetry init to update it" if found < CURRENT else "it belongs to a newer release"
    raise SchemaOutdated(f"the database's schema is {found}, this release needs {CURRENT}; {advice}")
