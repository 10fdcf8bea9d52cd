"""One running service for the tests that leave it as it was, and the directories, each of them started once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.daemons.directories.directory import Directory, Site
from tests.daemons.directories.ds389 import Ds389, running_ds389
from tests.daemons.directories.office import Office, made, opened_office
from tests.daemons.directories.openldap import OpenLdap, running_openldap
from tests.daemons.directories.samba import Samba, running_samba
from tests.daemons.directories.tls import TestAuthority
from tests.daemons.service import Service, serving
from tests.signetry import installation

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


@pytest.fixture
def site(directory: Directory) -> Site:
    """A part of the directory for this test alone."""
    return directory.site(f"t{uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def new_office(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority's home for tests to copy."""
    return made(tmp_path_factory.mktemp("office") / "home")


@pytest.fixture
def open_office(tmp_path: Path, new_office: Path) -> Iterator[Callable[..., Office]]:
    """Opens an authority with the settings given."""
    with ExitStack() as stack:
        yield lambda *settings: stack.enter_context(
            opened_office(installation.copied(new_office, tmp_path / "home"), "".join(settings))
        )


@pytest.fixture
def office(open_office: Callable[..., Office], site: Site) -> Office:
    """An authority that publishes to the site."""
    return open_office(site.settings())


@pytest.fixture
def foreign(tmp_path: Path) -> bytes:
    """A certificate of somebody else's, in DER."""
    certificate = x509.load_pem_x509_certificate(TestAuthority(tmp_path / "foreign").file.read_bytes())
    return certificate.public_bytes(Encoding.DER)
