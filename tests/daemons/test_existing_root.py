"""An issuing CA under a root that OpenSSL keeps, as in a company that has its own PKI: everything works as under our own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from scep.client import ScepClient
from tests.daemons.service import Service
from tests.daemons.test_openssl import enrol, fetch_crl, serial_of, verify

_ROOT = "basicConstraints=critical,CA:true,pathlen:1\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
# As AD CS writes the certificate of a subordinate authority, with constraints of a qualified subordination.
_SUBORDINATE = """basicConstraints=critical,CA:true,pathlen:0
keyUsage=critical,digitalSignature,keyCertSign,cRLSign
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
extendedKeyUsage=clientAuth,emailProtection
nameConstraints=critical,permitted;email:corp.example.com,permitted;dirName:base
crlDistributionPoints=URI:http://pki.corp.example.com/root.crl
1.3.6.1.4.1.311.20.2=ASN1:BMPSTRING:SubCA
1.3.6.1.4.1.311.21.1=ASN1:INTEGER:0
[base]
DC=com
"""


class Corporation:
    """A root kept by OpenSSL, and its administrator's folder."""

    def __init__(self, service: Service, folder: Path, key: tuple[str, ...]) -> None:
        self._service = service
        self.folder = folder
        (folder / "root.ext").write_text(f"[req]\ndistinguished_name=name\n[name]\n[v3]\n{_ROOT}")
        (folder / "subordinate.ext").write_text(_SUBORDINATE)
        self._openssl(
            "req", "-newkey", *key, "-nodes", "-keyout", "root.key", "-out", "root.csr", "-subj", "/DC=com/CN=Corporate Root CA"
        )
        signing = ("-signkey", "root.key", "-days", "3650", "-extfile", "root.ext", "-extensions", "v3")
        self._openssl("x509", "-req", "-in", "root.csr", *signing, "-out", "root.pem")

    def sign(self, request: Path, extensions: str = "subordinate.ext") -> Path:
        """Sign a request; return the PKCS #7 in PEM that web enrolment would hand out, with text above."""
        signing = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "1800", "-extfile", extensions)
        self._openssl("x509", "-req", "-in", str(request), *signing, "-out", "issuing.pem")
        self._openssl("crl2pkcs7", "-nocrl", "-certfile", "root.pem", "-certfile", "issuing.pem", "-out", "certnew.p7b")
        file = self.folder / "certnew.p7b"
        file.write_text("Certificate chain of Corporate Root CA\r\n" + file.read_text().replace("\n", "\r\n"))
        return file

    def _openssl(self, *arguments: str) -> None:
        self._service.run("openssl", *arguments, cwd=self.folder)


def add_person(service: Service, name: str, host: str = "corp.example.com") -> None:
    """Add a person with an address that the root permits, or another."""
    address = ("--upn", f"{name}@example.com", "--email", f"{name}@{host}")
    service.signetry("person", "add", *address, "--name", name.capitalize())


@contextmanager
def standing_under(folder: Path, root_key: tuple[str, ...], issuing_key: str) -> Iterator[Service]:
    """Serve an installation whose issuing CA stands under a root that OpenSSL makes in ``folder``."""
    service = Service(folder / "home")
    corporation = Corporation(service, folder, root_key)
    service.init("--csr", "--ca-key", issuing_key, "--organisation", "Example Ltd")
    file = corporation.sign(service.home / "issuing.csr")
    assert service.json("ca", "install", str(file), "--dry-run")["installed"] is False
    assert service.json("ca", "install", str(file))["installed"] is True
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="module")
def all_rsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """RSA-3072 under RSA-3072."""
    with standing_under(tmp_path_factory.mktemp("rsa"), ("rsa:3072",), "rsa3072") as service:
        yield service


@pytest.fixture(scope="module")
def all_ec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """P-256 under P-384."""
    with standing_under(tmp_path_factory.mktemp("ec"), ("ec", "-pkeyopt", "ec_paramgen_curve:P-384"), "p256") as service:
        yield service


@pytest.fixture(params=["all_rsa", "all_ec"])
def subordinate(request: pytest.FixtureRequest) -> Service:
    """One after the other."""
    service: Service = request.getfixturevalue(request.param)
    return service


def test_a_relying_party_that_trusts_the_root_sees_revocation(subordinate: Service, tmp_path: Path) -> None:
    add_person(subordinate, "ann")
    out = enrol(subordinate, tmp_path, "ann", "identity")
    fetch_crl(subordinate, out)
    assert "OK" in verify(subordinate, out, succeeds=True)
    certificate = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    # Below the name that the root permits.
    assert certificate.subject.rfc4514_string() == "CN=Ann,DC=com"
    subordinate.signetry("cert", "revoke", serial_of(out), "--reason", "keyCompromise")
    subordinate.signetry("crl", "issue", "issuing")
    assert fetch_crl(subordinate, out).get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    assert "certificate revoked" in verify(subordinate, out, succeeds=False)


def test_mail_of_an_address_beyond_the_constraints_is_refused_here_already(subordinate: Service, tmp_path: Path) -> None:
    add_person(subordinate, "bob", "other.example")
    (tmp_path / "challenge").touch(mode=0o600)
    (tmp_path / "challenge").write_text(subordinate.challenge("bob", "smime-signing"))
    arguments = ("enrol", subordinate.scep, "--challenge-file", str(tmp_path / "challenge"), "--out", str(tmp_path))
    done = subordinate.run("signetry", *arguments, succeeds=False)
    assert "does not allow it to certify bob@other.example" in done.stderr + subordinate.log


def test_getcacert_gives_the_ra_the_issuing_ca_and_the_foreign_root_in_order(subordinate: Service) -> None:
    with ScepClient(subordinate.scep) as client:
        certificates = client.ca_certificates().certificates
    names = [certificate.subject.rfc4514_string() for certificate in certificates]
    assert names[1:] == ["CN=Example Ltd Issuing CA,O=Example Ltd", "CN=Corporate Root CA,DC=com"]
    assert names[0].startswith("CN=SCEP RA 1 of issuing")


def test_strongswan_enrols_with_the_root_alone(all_rsa: Service, tmp_path: Path) -> None:
    # Debian's pki 5.9.8 comes without the plugin that reads elliptic-curve certificates.
    subordinate = all_rsa
    run = subordinate.run
    run("pki", "--scepca", "--url", subordinate.scep, "--caout", "ca.crt", "--raout", "ra.crt", "--force", cwd=tmp_path)
    run("sh", "-c", "pki --gen --type rsa --size 2048 > key.der", cwd=tmp_path)
    add_person(subordinate, "swan")
    asking = ("--in", "key.der", "--dn", "CN=x", "--password", subordinate.challenge("swan"), "--outform", "pem")
    trusting = ("--cacert-enc", "ra.crt", "--cacert-sig", "ca.crt")
    done = run("pki", "--scep", "--url", subordinate.scep, *trusting, *asking, cwd=tmp_path)
    certificate = x509.load_pem_x509_certificate(done.stdout.encode())
    assert certificate.subject.rfc4514_string() == "CN=Swan,DC=com"


def test_the_chain_is_published_and_the_roots_crl_is_not_ours(subordinate: Service) -> None:
    chain = pkcs7.load_der_pkcs7_certificates(httpx2.get(f"{subordinate.url}/aia/issuing.p7c").content)
    assert {certificate.subject.rfc4514_string() for certificate in chain} == {
        "CN=Example Ltd Issuing CA,O=Example Ltd",
        "CN=Corporate Root CA,DC=com",
    }
    assert httpx2.get(f"{subordinate.url}/aia/root.cer").status_code == 200
    assert httpx2.get(f"{subordinate.url}/crl/issuing.crl").status_code == 200
    assert httpx2.get(f"{subordinate.url}/crl/root.crl").status_code == 404
    issuing = next(each for each in chain if "Issuing" in each.subject.rfc4514_string())
    points = issuing.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [str(name.value) for name in points[0].full_name or ()] == ["http://pki.corp.example.com/root.crl"]


def test_the_demonstration_and_the_doctor_are_content(subordinate: Service) -> None:
    assert "saw it on the CRL" in subordinate.signetry("demo")
    found = {finding["check"]: finding["severity"] for finding in subordinate.json("doctor")}
    assert found["authority root"] == found["authority issuing"] == found["CRL of issuing"] == "ok"
    assert "error" not in found.values()


def test_a_new_certificate_is_taken_up_without_a_restart(subordinate: Service) -> None:
    folder = subordinate.home.parent
    subordinate.signetry("ca", "csr", "issuing", "--out", str(folder / "renewal.csr"))
    signing = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "1900", "-extfile", "subordinate.ext")
    subordinate.run("openssl", "x509", "-req", "-in", "renewal.csr", *signing, "-out", "renewed.pem", cwd=folder)
    subordinate.signetry("ca", "install", str(folder / "renewed.pem"))
    renewed = x509.load_pem_x509_certificate((folder / "renewed.pem").read_bytes())
    served = x509.load_der_x509_certificate(httpx2.get(f"{subordinate.url}/aia/issuing.cer").content)
    assert served == renewed
