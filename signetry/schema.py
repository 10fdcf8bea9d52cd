"""Schema changes: the Alembic revisions in ``signetry/migrations``, applied from the program itself, no alembic.ini needed."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData

import audit.records
import ca.records
import crl.records
import people.records
import scep.records
from foundation.tables import Table
from signetry.errors import SchemaOutdated

# Whose tables the schema holds. Importing a records module is what registers its tables.
RECORDS = (audit.records, ca.records, people.records, scep.records, crl.records)

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
        command.upgrade(alembic_config(connection), "head")
        if connection.dialect.name == "sqlite":
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if orphans:
                raise SchemaOutdated(f"the migration would leave {len(orphans)} rows that refer to nothing")


def check_schema(connection: Connection) -> None:
    """Return if the schema is the one this release was written for.

    Raises:
        SchemaOutdated: it is older, newer or absent.
    """
    found = MigrationContext.configure(connection).get_current_revision()
    if found == _head():
        return
    if found is None:
        raise SchemaOutdated("the database holds no schema yet; run signetry init")
    known = {script.revision for script in scripts().walk_revisions()}
    advice = "start signetry serve or run signetry init to update it" if found in known else "it belongs to a newer release"
    raise SchemaOutdated(f"the database's schema is {found}, this release needs {_head()}; {advice}")


def alembic_config(connection: Connection | None = None) -> Config:
    """Return what Alembic's commands need; they work in the transaction of ``connection``."""
    config = Config()
    # Alembic reads % as the start of an interpolation.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@cache
def scripts() -> ScriptDirectory:
    """Return the revisions there are."""
    return ScriptDirectory.from_config(alembic_config())


@cache
def _head() -> str | None:
    return scripts().get_current_head()
