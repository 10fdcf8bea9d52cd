"""The database: SQLite as the embedded default, PostgreSQL by another URL, the same code on both."""

import fcntl
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection
from sqlmodel import Session

from foundation.statements import LightSession
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

# More may read at once; these are not opened anew for each of them.
_READERS_KEPT = 8


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
        self._readers = _Readers(self._reader)
        self._watching: list[PoolProxiedConnection] = []
        self._turns = _Turns(Path(f"{url.database}-turn")) if grouped and url.get_backend_name() == "sqlite" else None
        turn = nullcontext if self._turns is None else self._turns.taken
        self._group = GroupWriter(self._writer, threads=_WRITERS[url.get_backend_name()], turn=turn) if grouped else None

    @property
    def engine(self) -> Engine:
        """The engine that writes."""
        return self._writer

    @property
    def is_embedded(self) -> bool:
        """Whether the database is a file of this machine, which is read without waiting for anybody."""
        return self._writer.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads, all of it from one state of the database; an attempt to write is an error.

        Raises:
            DatabaseUnavailable: the database cannot be reached.
        """
        try:
            with self._readers.connected() as connection, LightSession(connection) as session:
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
        return self.submit(act).result()

    def submit(self, act: Callable[[Session], Result]) -> Future[Result]:
        """Run ``act`` in a transaction; the future is settled once its result is durable (``foundation.transactions``)."""
        if self._group is not None:
            return self._group.submit(act)
        pending = Pending(act)
        commit_together(self._writer.connect, [pending])
        return pending.future

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
        if self._turns is not None:
            self._turns.close()
        self._readers.close()
        for watching in self._watching:
            watching.close()
        for engine in (self._reader, self._writer, self._owner):
            engine.dispose()


class _Turns:
    """Lets the web processes write to a SQLite database one after the other.

    SQLite does that itself, but whoever waits there sleeps and looks, longer each time, up to a tenth of a second while nobody
    writes. Here the kernel wakes the next one. Others need not know of it: SQLite still holds them off.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn and have it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class _Readers:
    """Connections that read, each for one transaction; on SQLite kept at hand: the pool's care costs more than what it is for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_kept = engine.dialect.name == "sqlite"
        self._idle: deque[Connection] = deque()

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Lend a connection; what was begun on it is undone afterwards."""
        if not self._is_kept:
            with self._engine.connect() as connection:
                yield connection
            return
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._engine.connect()
        try:
            driver: Any = connection.connection.dbapi_connection
            driver.execute("BEGIN")
            yield connection
            if connection.in_transaction():
                connection.rollback()
            driver.rollback()
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < _READERS_KEPT:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Let go of the connections at hand."""
        while self._idle:
            self._idle.pop().close()


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
        url, pool_size=4, max_overflow=60, pool_timeout=30, connect_args={"timeout": _BUSY_SECONDS}, **_DISCREET
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
        # Statements that go past SQLAlchemy may have come first (``foundation.statements``).
        driver: Any = connection.connection.dbapi_connection
        if not driver.in_transaction:
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
