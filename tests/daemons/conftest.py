"""One running service for the tests that leave it as it was, and the directories, each of them started once."""

from collections.abc import Iterator

import pytest

from tests.daemons.directories.directory import Directory
from tests.daemons.directories.ds389 import Ds389, running_ds389
from tests.daemons.directories.openldap import OpenLdap, running_openldap
from tests.daemons.directories.samba import Samba, running_samba
from tests.daemons.directories.tls import TestAuthority
from tests.daemons.service import Service, serving

# An endpoint for what only old clients send, and one where renewal is always open.
CONFIGURATION = """
[endpoints.museum]
museum = true
renew_after = 0.0

[endpoints.renewing]
renew_after = 0.0
"""


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with RSA keys of the default sizes."""
    with serving(tmp_path_factory.mktemp("service"), configuration=CONFIGURATION) as running:
        yield running


@pytest.fixture(scope="session")
def directory_authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    """What vouches for the directories' TLS."""
    return TestAuthority(tmp_path_factory.mktemp("directory-tls"))


@pytest.fixture(scope="session")
def openldap(tmp_path_factory: pytest.TempPathFactory, directory_authority: TestAuthority) -> Iterator[OpenLdap]:
    """A running slapd."""
    tls = directory_authority.issue("openldap", "127.0.0.1")
    with running_openldap(tmp_path_factory.mktemp("openldap"), tls) as server:
        yield server


@pytest.fixture(scope="session")
def ds389(tmp_path_factory: pytest.TempPathFactory, directory_authority: TestAuthority) -> Iterator[Ds389]:
    """A running 389 Directory Server."""
    tls = directory_authority.issue("ds389", "127.0.0.1")
    with running_ds389(tmp_path_factory.mktemp("ds389"), tls) as server:
        yield server


@pytest.fixture(scope="session")
def samba(tmp_path_factory: pytest.TempPathFactory, directory_authority: TestAuthority) -> Iterator[Samba]:
    """A running domain controller."""
    with running_samba(tmp_path_factory.mktemp("samba"), directory_authority) as server:
        yield server


@pytest.fixture(params=["openldap", "ds389", "samba"])
def directory(request: pytest.FixtureRequest) -> Directory:
    """A running directory; a test that takes it runs against every kind."""
    server: Directory = request.getfixturevalue(request.param)
    return server
