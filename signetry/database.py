"""The database: SQLite as the embedded default, PostgreSQL by another URL, the same code on both."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlmodel import Session

from signetry.files import read_secret
from signetry.schema import check_schema, migrate
from signetry.settings import Settings
from signetry.writer import GroupWriter, Pending, commit_together, translated

Result = TypeVar("Result")

# How long a writer waits for another process's transaction. Transactions last milliseconds; this is for a disk that stalls.
_BUSY_SECONDS = 20

# An error message of SQLAlchemy's would otherwise quote what was bound to the statement: digests, names, certificates.
_DISCREET: dict[str, Any] = {"hide_parameters": True}

# Threads that commit. PostgreSQL on two cores, 16 clients, medians of seven interleaved runs: 822 acts a second with one thread,
# 976 with two, 1,169 with three, 1,003 with four; the ranges overlap. SQLite takes one.
_WRITERS = {"sqlite": 1, "postgresql": 3}


class Database:
    """The store as ``foundation.transactions.Transactions`` describes it.

    Args:
        url: The database; for SQLite an absolute path.
        password: PostgreSQL's, where the server asks for one.
        grouped: Whether writes share commits through a writer thread (web processes) or each has its own (command line).
    """

    def __init__(self, url: URL, *, password: str | None = None, grouped: bool = False) -> None:
        if url.get_backend_name() == "sqlite":
            _create_private(Path(str(url.database)))
            self._reader = _sqlite_engine(url, begin="BEGIN", read_only=True)
            self._writer = _sqlite_engine(url, begin="BEGIN IMMEDIATE")
            self._owner = _sqlite_engine(url, begin="BEGIN IMMEDIATE", foreign_keys=False)
        else:
            url = url if password is None else url.set(password=password)
            self._writer = _postgresql_engine(url)
            self._reader = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._owner = self._writer
        self._watching: list[PoolProxiedConnection] = []
        self._group = GroupWriter(self._writer, threads=_WRITERS[url.get_backend_name()]) if grouped else None

    @property
    def engine(self) -> Engine:
        """The engine that writes."""
        return self._writer

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads, all of it from one state of the database; an attempt to write is an error.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
        """
        try:
            with Session(self._reader, expire_on_commit=False) as session:
                yield session
        except Exception as error:
            ours = translated(error)
            if ours is error:
                raise
            raise ours from error

    def write(self, act: Callable[[Session], Result]) -> Result:
        """Run ``act`` in a transaction and return its result once that is durable (``foundation.transactions``).

        Raises:
            DatabaseUnavailable: the database cannot be reached, or the commit failed.
        """
        if self._group is not None:
            return self._group.write(act)
        pending = Pending(act)
        commit_together(self._writer, [pending])
        return pending.future.result()

    def migrate(self) -> None:
        """Bring the schema to this release's, from nothing or from any earlier one; safe to run in several processes at once."""
        migrate(self._owner)

    def check_schema(self) -> None:
        """Return if the schema is this release's.

        Raises:
            SchemaOutdated: it is older, newer or absent.
            DatabaseUnavailable: the database cannot be reached.
        """
        with self.reading() as session:
            check_schema(session)

    def watch(self) -> Callable[[], bool]:
        """Return a function that says whether anybody may have committed something since it was last asked.

        On SQLite it looks at a counter in shared memory, a microsecond's work. PostgreSQL has no such thing: always true.
        """
        if self._writer.dialect.name != "sqlite":
            return lambda: True
        # A connection of its own: the counter tells of the commits of all others.
        watching = self._reader.raw_connection()
        self._watching.append(watching)
        cursor = watching.cursor()
        last: list[object] = []

        def moved() -> bool:
            before = list(last)
            cursor.execute("PRAGMA data_version")
            last[:] = cursor.fetchone() or ()
            return last != before

        return moved

    def close(self) -> None:
        """Commit what is under way and close all connections."""
        if self._group is not None:
            self._group.stop()
        for watching in self._watching:
            watching.close()
        for engine in (self._reader, self._writer, self._owner):
            engine.dispose()


def open_database(settings: Settings, *, grouped: bool = False) -> Database:
    """Return the database that ``settings`` name.

    Raises:
        ConfigurationError: the password file cannot be used.
    """
    password_file = settings.database_password_file
    password = None if password_file is None else read_secret(password_file, "database_password_file").decode()
    return Database(settings.database, password=password, grouped=grouped)


def _create_private(path: Path) -> None:
    """Create an empty database file that only its owner reads; SQLite gives its journal the same mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Put the database into WAL mode, where it is not yet.

    SQLite does not wait for another process that is just doing the same: it says "locked" at once, whatever the busy timeout.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _sqlite_engine(url: URL, *, begin: str, read_only: bool = False, foreign_keys: bool = True) -> Engine:
    engine = create_engine(
        url, pool_size=4, max_overflow=36, pool_timeout=30, connect_args={"timeout": _BUSY_SECONDS}, **_DISCREET
    )

    def prepare(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        # sqlite3 would begin transactions by itself, deferred, and not before a SELECT: a transaction that reads and then writes
        # fails at once when another process wrote in between, and one that only reads is not one state. ``start`` begins them.
        connection.isolation_level = None
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", start)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    # Nine processes, as many as the defaults make at most, stay below the 100 connections PostgreSQL allows by default.
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "signetry",
        # A stalled process must not hold rows that the others need.
        "options": "-c timezone=UTC -c lock_timeout=20s -c idle_in_transaction_session_timeout=60s",
    }
    return create_engine(
        url, pool_size=6, max_overflow=4, pool_timeout=30, pool_pre_ping=True, connect_args=arguments, **_DISCREET
    )
