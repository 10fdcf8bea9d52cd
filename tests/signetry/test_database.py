"""Both databases: transactions, isolation and the schema."""

import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from audit.log import Actor, Event, record
from audit.records import AuditEvent
from signetry.database import Database, open_database
from signetry.errors import ConfigurationError, SchemaOutdated
from signetry.migrations.run import scripts
from signetry.schema import CURRENT, metadata
from signetry.settings import load_settings
from signetry.writer import DatabaseUnavailable
from tests.clocks import ManualClock

NOW = ManualClock().now()


def note(session: Session, subject: str, now: datetime = NOW) -> None:
    record(session, Event(Actor("test"), "thing.noted", subject), now=now)


def subjects(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.exec(select(AuditEvent.subject).order_by(col(AuditEvent.id))))


@pytest.fixture
def empty(empty_url: URL) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.close()


def test_what_is_written_is_read(store: Database) -> None:
    assert store.write(lambda session: note(session, "a")) is None
    assert subjects(store) == ["a"]


def test_times_come_back_aware_and_in_utc(store: Database) -> None:
    store.write(lambda session: note(session, "a"))
    with store.reading() as session:
        assert session.exec(select(AuditEvent.at)).one() == NOW


def test_an_act_that_raises_leaves_nothing_behind(store: Database) -> None:
    def act(session: Session) -> None:
        note(session, "a")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        store.write(act)
    assert subjects(store) == []


def test_a_reading_session_cannot_write(store: Database) -> None:
    with store.reading() as session, pytest.raises(DBAPIError, match=r"(?i)read-?only"):
        note(session, "a")
    assert subjects(store) == []


def test_a_reading_session_sees_one_state(store: Database) -> None:
    store.write(lambda session: note(session, "a"))
    with store.reading() as session:
        before = session.exec(select(AuditEvent.subject)).all()
        store.write(lambda session: note(session, "b"))
        assert session.exec(select(AuditEvent.subject)).all() == before == ["a"]
    assert subjects(store) == ["a", "b"]


def test_two_writers_that_read_first_do_not_lose_an_update(sqlite_url: URL) -> None:
    """A deferred transaction would fail at once in one of the two: both read, one writes, the other is stale."""
    first, second = Database(sqlite_url), Database(sqlite_url)
    meet = threading.Barrier(2)

    def count_and_note(database: Database) -> None:
        def act(session: Session) -> None:
            number = len(session.exec(select(AuditEvent.id)).all())
            note(session, str(number))

        meet.wait()
        for _ in range(20):
            database.write(act)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(count_and_note, (first, second)))
    assert subjects(first) == [str(number) for number in range(40)]
    first.close()
    second.close()


def test_references_are_enforced(store: Database) -> None:
    with pytest.raises(DBAPIError, match=r"(?i)foreign key"):
        store.write(
            lambda session: session.execute(
                text("INSERT INTO mail_address (person_id, email) VALUES (4711, 'a@example.com')"),
            ),
        )


def test_sqlite_flushes_to_disk_before_a_commit_returns(sqlite_store: Database) -> None:
    with sqlite_store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_the_sqlite_files_are_open_to_their_owner_only(tmp_path: Path) -> None:
    database = Database(URL.create("sqlite", database=str(tmp_path / "new" / "signetry.db")))
    database.migrate()
    with database.reading() as session:
        session.exec(select(AuditEvent)).all()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert modes == {"signetry.db": 0o600, "signetry.db-wal": 0o600, "signetry.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    database.close()


def test_a_database_that_is_not_there_is_unavailable() -> None:
    database = Database(URL.create("postgresql+psycopg", host="127.0.0.1", port=1, database="none"))
    with pytest.raises(DatabaseUnavailable), database.reading() as session:
        session.exec(select(AuditEvent)).all()
    with pytest.raises(DatabaseUnavailable):
        database.write(lambda session: note(session, "a"))
    database.close()


def test_the_password_comes_from_its_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    settings = load_settings(home=tmp_path, database_url="postgresql://u@h/d", database_password_file=secret)
    database = open_database(settings)
    assert database.engine.url.password == "sesame"
    database.close()
    secret.chmod(0o604)
    with pytest.raises(ConfigurationError, match=r"database_password_file: .* is open to every user"):
        open_database(settings)


def test_the_migrated_schema_is_the_one_the_records_declare(empty: Database) -> None:
    empty.migrate()
    with empty.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata()) == []


def test_the_newest_revision_is_the_one_this_release_asks_for() -> None:
    assert scripts().get_current_head() == CURRENT


def test_migrating_again_changes_nothing(store: Database) -> None:
    store.write(lambda session: note(session, "a"))
    store.migrate()
    store.check_schema()
    assert subjects(store) == ["a"]


def test_several_processes_may_migrate_at_once(empty_url: URL) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(Database.migrate, databases))
    databases[0].check_schema()
    for database in databases:
        database.close()


def test_an_empty_database_is_reported_as_such(empty: Database) -> None:
    with pytest.raises(SchemaOutdated, match="no schema yet"):
        empty.check_schema()


def test_a_schema_of_a_newer_release_is_refused(empty: Database) -> None:
    empty.migrate()
    empty.write(lambda session: session.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(SchemaOutdated, match="newer release"):
        empty.check_schema()


def test_names_fit_postgresql(store: Database) -> None:
    found = inspect(store.engine)
    for table in found.get_table_names():
        names = [table, *(column["name"] for column in found.get_columns(table))]
        names += [str(item["name"]) for item in (*found.get_indexes(table), *found.get_unique_constraints(table))]
        names += [str(item["name"]) for item in found.get_foreign_keys(table)]
        # SQLite keeps no name for the key of a table that never gives a number out twice.
        if table != "alembic_version" and (store.engine.dialect.name, table) != ("sqlite", "scep_pending_request"):
            names.append(str(found.get_pk_constraint(table)["name"]))
        assert all(len(name) < 64 and name != "None" for name in names), table
