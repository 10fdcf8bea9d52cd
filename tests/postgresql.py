"""A PostgreSQL cluster for the length of a test session, from Debian's binaries, on a Unix socket of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL

_USER = "signetry"
_PATIENCE_SECONDS = 30
_OPTIONS = ("max_connections=100", "listen_addresses=")
# Tests lose nothing with the power.
_CAREFREE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class Cluster:
    """A running server."""

    def __init__(self, directory: Path, connection: psycopg.Connection) -> None:
        self._directory = directory
        self._connection = connection

    def url(self, database: str) -> URL:
        """Return how SQLAlchemy reaches ``database``."""
        return URL.create("postgresql+psycopg", username=_USER, database=database, query={"host": str(self._directory)})

    def execute(self, statement: str) -> None:
        """Run ``statement`` outside of any transaction, as databases are made and dropped."""
        self._connection.execute(statement.encode())

    def create(self, database: str) -> URL:
        """Make ``database``, empty, and return its URL."""
        self.execute(f'CREATE DATABASE "{database}" TEMPLATE template0')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop ``database``, whoever is connected to it."""
        self.execute(f'DROP DATABASE "{database}" WITH (FORCE)')

    def terminate_connections(self, database: str) -> None:
        """Cut every connection to ``database``, as a server that restarts does."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")  # noqa: S608 - a test's

    def wipe(self, database: str) -> None:
        """Delete every row of ``database`` but the schema's own, and start its sequences again.

        A copy of a template would do as well and takes 300 milliseconds; this takes three.
        """
        self.terminate_connections(database)
        with psycopg.connect(host=str(self._directory), user=_USER, dbname=database, autocommit=True) as connection:
            connection.execute(_WIPE)


# Rows go in any order once no trigger checks what refers to them.
_WIPE = """
DO $$ DECLARE item record; BEGIN
    SET session_replication_role = replica;
    FOR item IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('DELETE FROM %I', item.tablename);
    END LOOP;
    PERFORM setval(sequencename::regclass, 1, false) FROM pg_sequences WHERE schemaname = 'public';
END $$
"""


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise FileNotFoundError("PostgreSQL's server is not installed; tests/install-debian-packages installs it")
    return found[-1].parent


def _unprivileged(*command: str | Path) -> list[str | Path]:
    """Return what runs ``command`` as somebody PostgreSQL accepts, and ends it with the tests, however those end."""
    identity = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", "--pdeathsig", "SIGQUIT", *identity, *command]


@contextmanager
def running_cluster(*, careful: bool = False) -> Iterator[Cluster]:
    """Make a cluster, start it, and remove it in the end. A ``careful`` one waits for the disk, as PostgreSQL does by default."""
    binaries = _binaries()
    # A short path: the name of a Unix socket has 107 bytes at most.
    directory = Path(tempfile.mkdtemp(prefix="signetry-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        data = directory / "data"
        initdb = _unprivileged(
            binaries / "initdb",
            "-D",
            data,
            "-U",
            _USER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        )
        subprocess.run(initdb, check=True, capture_output=True, cwd="/")
        options = [argument for option in (_OPTIONS if careful else (*_OPTIONS, *_CAREFREE)) for argument in ("-c", option)]
        command = _unprivileged(binaries / "postgres", "-D", data, "-k", directory, *options)
        log = directory / "log"
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, cwd="/") as server:
            try:
                with _connect(server, directory, log) as connection:
                    yield Cluster(directory, connection)
            finally:
                # The fast shutdown: it does not wait for connections that a failed test left open.
                server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _connect(server: subprocess.Popen[bytes], directory: Path, log: Path) -> psycopg.Connection:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return psycopg.connect(host=str(directory), user=_USER, dbname="postgres", autocommit=True)
        except psycopg.OperationalError:
            time.sleep(0.02)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
