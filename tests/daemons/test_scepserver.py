"""Our client against micromdm ``scepserver`` 2.1.0, which answers in single DES and SHA-1 whatever it was asked in."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.running import free_port, started, wait_for
from scep.client import ScepClient, build_csr
from scep.errors import EnrolmentRefused

CHALLENGE = "open-sesame"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running scepserver."""
    depot = str(tmp_path_factory.mktemp("scepserver") / "depot")
    subprocess.run(["scepserver", "ca", "-init", "-depot", depot, "-keySize", "2048"], check=True, capture_output=True)
    port = free_port()
    command = ["scepserver", "-depot", depot, "-port", str(port), "-challenge", CHALLENGE, "-allowrenew", "0"]
    with started(command, dict(os.environ)) as process:
        wait_for(f"http://127.0.0.1:{port}/scep?operation=GetCACaps", process)
        yield f"http://127.0.0.1:{port}/scep"


def test_it_enrols_there(url: str, rsa_key: rsa.RSAPrivateKey) -> None:
    """A CA that is its own RA, and a reply that our own endpoints would refuse as a request."""
    with ScepClient(url) as client:
        assert "POSTPKIOperation" in client.capabilities()
        bag = client.ca_certificates()
        assert bag.ra == bag.issuer
        identity = client.enrol(bag, rsa_key, build_csr(rsa_key, "a device", CHALLENGE))
    assert identity.certificate.public_key() == rsa_key.public_key()
    assert "CN=a device" in identity.certificate.subject.rfc4514_string()


def test_its_refusals_are_understood(url: str, rsa_key: rsa.RSAPrivateKey) -> None:
    with ScepClient(url) as client, pytest.raises(EnrolmentRefused, match="failInfo BAD_REQUEST"):
        client.enrol(client.ca_certificates(), rsa_key, build_csr(rsa_key, "a device", "wrong"))
