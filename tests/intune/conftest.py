"""A strict tenant on a loopback port, and our client before it."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from intune.pfx_certificates import PfxCertificates
from intune.scep_validation import ScepValidation
from intune.tenant import Tenant
from intune.transport import Transport
from tests.daemons.directories.tls import ServerTls
from tests.intune.pfx_service import PfxService
from tests.intune.server import Cloud, cloud_tls, running_cloud
from tests.intune.tenants import PassingTicker, tenant_of


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    """The certificate of the tenant's servers."""
    return cloud_tls(tmp_path_factory.mktemp("cloud-tls"))


@pytest.fixture
def cloud(tls: ServerTls) -> Iterator[Cloud]:
    """A tenant; whatever reaches it must be as documented."""
    with running_cloud(tls) as running:
        yield running
    assert running.violations == []


@pytest.fixture
def ticker() -> PassingTicker:
    """The time."""
    return PassingTicker()


@pytest.fixture
def transport(tls: ServerTls, ticker: PassingTicker) -> Iterator[Transport]:
    """Connections that trust the tenant's servers."""
    with Transport(ca_file=tls.ca, ticker=ticker) as opened:
        yield opened


@pytest.fixture
def tenant(cloud: Cloud) -> Tenant:
    """How to reach the tenant, with its secret."""
    return tenant_of(cloud)


@pytest.fixture
def validation(tenant: Tenant, transport: Transport) -> ScepValidation:
    """The client under test."""
    return ScepValidation.of(tenant, transport)


@pytest.fixture
def pfx_service(cloud: Cloud, rsa_key: rsa.RSAPrivateKey) -> PfxService:
    """The tenant's imported certificates, which rsa_key's connector opens."""
    return PfxService(cloud, rsa_key)


@pytest.fixture
def pfx_certificates(pfx_service: PfxService, tenant: Tenant, transport: Transport) -> PfxCertificates:  # noqa: ARG001 - who serves it
    """The client of those."""
    return PfxCertificates.of(tenant, transport, patience_seconds=600)
