"""A world on both databases, and a real slapd."""

from collections.abc import Iterator

import pytest

from ca.issuance import IssuingAuthority
from ca.keys import KeyAlgorithm
from signetry.database import Database
from tests.ca.authorities import make_issuing, make_root
from tests.ca.keystores import shared_key
from tests.clocks import ManualClock
from tests.daemons.directories.openldap import OpenLdap, running_openldap
from tests.daemons.directories.tls import TestAuthority
from tests.ldap_publish.world import World


@pytest.fixture(scope="session")
def root() -> IssuingAuthority:
    """A root."""
    return make_root(shared_key(KeyAlgorithm.P384, 100))


@pytest.fixture(scope="session")
def issuing(root: IssuingAuthority) -> IssuingAuthority:
    """An issuing CA."""
    return make_issuing(root, shared_key(KeyAlgorithm.P256, 100))


@pytest.fixture
def world(store: Database, clock: ManualClock, root: IssuingAuthority, issuing: IssuingAuthority) -> World:
    """Authorities in a database, of both kinds, and a directory in memory, of which note was taken."""
    made = World(store, clock, root, issuing)
    made.note()
    return made


@pytest.fixture
def sqlite_world(sqlite_store: Database, clock: ManualClock, root: IssuingAuthority, issuing: IssuingAuthority) -> World:
    """The same on SQLite, for what does not depend on the database."""
    made = World(sqlite_store, clock, root, issuing)
    made.note()
    return made


@pytest.fixture(scope="session")
def tls_authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    """What vouches for the directory's TLS."""
    return TestAuthority(tmp_path_factory.mktemp("ldap-tls"))


@pytest.fixture(scope="session")
def slapd(tmp_path_factory: pytest.TempPathFactory, tls_authority: TestAuthority) -> Iterator[OpenLdap]:
    """A running slapd."""
    with running_openldap(tmp_path_factory.mktemp("slapd"), tls_authority.issue("slapd", "127.0.0.1")) as server:
        yield server
