"""Our client against micromdm ``scepserver`` 2.1.0, which answers in single DES and SHA-1 whatever it was asked in."""

import os
import subprocess
from collections.abc import Iterator

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from benchmarks.running import free_port, started, wait_for
from scep.client import ScepClient, build_csr, throwaway_signer
from scep.client_keys import Application
from scep.errors import EnrolmentRefused, ServerLacks, ServerMisbehaved

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


def test_it_renews_there_with_a_challenge(url: str, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> None:
    """It wants one for a RenewalReq, too."""
    with ScepClient(url) as client:
        bag = client.ca_certificates()
        held = client.enrol(bag, rsa_key, build_csr(rsa_key, "a device", CHALLENGE))
        for key in (other_rsa_key, rsa_key):
            renewal = Application(build_csr(key, held.certificate.subject, CHALLENGE), key, held)
            renewed = client.apply(bag, renewal)
            assert renewed.certificate.public_key() == key.public_key()
            assert renewed.certificate.serial_number != held.certificate.serial_number


def test_it_enrols_there_by_get_and_in_oaep_or_not_at_all(url: str, rsa_key: rsa.RSAPrivateKey) -> None:
    """It takes GET; OAEP is newer than this release, and the refusal is told."""
    withheld = WithoutPost()
    with ScepClient(url, transport=withheld) as client:
        identity = client.enrol(client.ca_certificates(), rsa_key, build_csr(rsa_key, "a device", CHALLENGE))
        assert withheld.methods == ["GET"] * 3
        assert identity.certificate.public_key() == rsa_key.public_key()
    with ScepClient(url, oaep=True) as client, pytest.raises((EnrolmentRefused, ServerMisbehaved)):
        client.enrol(client.ca_certificates(), rsa_key, build_csr(rsa_key, "a device", CHALLENGE))


class WithoutPost(httpx2.HTTPTransport):
    """The network, with the words that stand for POST taken out of GetCACaps."""

    def __init__(self) -> None:
        super().__init__()
        self.methods: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on."""
        self.methods.append(request.method)
        if request.url.params["operation"] == "GetCACaps":
            return httpx2.Response(200, text="AES\nSHA-256\nSHA-1\nDES3\nRenewal\n")
        return super().handle_request(request)


def test_what_it_cannot_do_is_told_by_name(url: str, rsa_key: rsa.RSAPrivateKey) -> None:
    with ScepClient(url) as client:
        bag = client.ca_certificates()
        csr = build_csr(rsa_key, "a device", CHALLENGE)
        signer = throwaway_signer(rsa_key, csr.subject)
        with pytest.raises(ServerLacks, match="does not answer GetCert: HTTP 500: not implemented"):
            client.certificate(bag, signer, 2)
        with pytest.raises(ServerLacks, match="does not answer GetCRL: HTTP 500: not implemented"):
            client.crl(bag, signer, 2)
        with pytest.raises(ServerLacks, match="does not answer CertPoll: HTTP 500: not implemented"):
            client.poll(bag, Application(csr, rsa_key))
        with pytest.raises(ServerLacks, match="does not list GetNextCACert"):
            client.next_ca_certificates(bag)


def test_an_ec_key_is_refused_there_and_told_so(url: str, ec_key: ec.EllipticCurvePrivateKey) -> None:
    with ScepClient(url) as client, pytest.raises(EnrolmentRefused, match="the server refused"):
        client.enrol(client.ca_certificates(), ec_key, build_csr(ec_key, "a device", CHALLENGE))


def test_its_refusals_are_understood(url: str, rsa_key: rsa.RSAPrivateKey) -> None:
    with ScepClient(url) as client, pytest.raises(EnrolmentRefused, match="failInfo BAD_REQUEST"):
        client.enrol(client.ca_certificates(), rsa_key, build_csr(rsa_key, "a device", "wrong"))
