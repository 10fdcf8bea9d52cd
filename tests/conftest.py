"""What tests everywhere stand on: both databases with the schema in place, a clock set by hand, keys made once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import settings
from sqlalchemy import URL, make_url

from signetry.database import Database
from tests.clocks import ManualClock
from tests.postgresql import Cluster, running_cluster
from tests.softhsm import SoftHsm
from tests.softhsm import create as create_token

# No property test is about time, and a machine with other things to do is no finding. CI searches the same examples every time.
settings.register_profile("signetry", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("signetry")


@pytest.fixture
def clock() -> ManualClock:
    """Noon of 1 June 2026 UTC, until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    """An RSA-2048 key."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def other_rsa_key() -> rsa.RSAPrivateKey:
    """Another RSA-2048 key."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def third_rsa_key() -> rsa.RSAPrivateKey:
    """A third RSA-2048 key."""
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def ec_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database file that holds the schema and nothing else."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(make_url(f"sqlite:///{path}"))
    database.migrate()
    database.close()
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A running PostgreSQL; without Debian's package this fails, it does not skip."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql: Cluster) -> URL:
    """The PostgreSQL database that tests take turns in."""
    url = postgresql.create("signetry")
    database = Database(url)
    database.migrate()
    database.close()
    return url


@pytest.fixture
def softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    """A PKCS #11 token of the test's own, for this process, too; without Debian's package this fails, it does not skip."""
    token = create_token(tmp_path / "softhsm")
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    return token


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """The URL of a database without any schema, of either kind."""
    if request.param == "sqlite":
        yield make_url(f"sqlite:///{tmp_path}/signetry.db")
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    name = f"empty_{uuid4().hex}"
    yield cluster.create(name)
    cluster.drop(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> URL:
    """The URL of a migrated SQLite database."""
    path = tmp_path / "signetry.db"
    shutil.copy(sqlite_template, path)
    return make_url(f"sqlite:///{path}")


@pytest.fixture
def postgresql_url(postgresql: Cluster, migrated_postgresql: URL) -> Iterator[URL]:
    """The URL of a migrated PostgreSQL database without rows; what a test does to its schema, the next one finds."""
    yield migrated_postgresql
    postgresql.wipe(str(migrated_postgresql.database))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> URL:
    """The URL of a migrated database; a test that takes it runs on both kinds."""
    url: URL = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def store(database_url: URL) -> Iterator[Database]:
    """A migrated database; a test that takes it runs on both kinds."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def sqlite_store(sqlite_url: URL) -> Iterator[Database]:
    """A migrated SQLite database, for what does not depend on the kind."""
    database = Database(sqlite_url)
    yield database
    database.close()
