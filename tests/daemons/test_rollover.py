"""An issuing CA and its RA's key are replaced under clients that go on enrolling and renewing: none of them is ever refused."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep.client import Identity, ScepClient, build_csr, named, throwaway_signer
from tests.daemons.service import Service, eventually, serving

# Debian's strongSwan reads no EC chains.
INIT = ("--ca-key", "rsa2048")
RENEWING = """
[endpoints.renewing]
renew_after = 0.0
"""
_PAUSE_SECONDS = 0.05


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of this test's own, with an endpoint where renewal is always open."""
    with serving(tmp_path / "home", *INIT, configuration=RENEWING) as running:
        running.add_person()
        yield running


class Crowd:
    """Clients that enrol and renew without pause, and keep what they were told and got."""

    def __init__(self, service: Service, folder: Path) -> None:
        minted = service.signetry(
            "challenge", "create", "--upn", "alice@example.com", "--endpoint", "renewing", "--count", "2000", "--ttl", "2h"
        )
        self._service = service
        self._folder = folder
        self._challenges = iter(minted.split())
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.failures: list[str] = []
        self.issued: list[x509.Certificate] = []
        self.renewals_across = 0
        self._threads = [
            threading.Thread(target=self._repeat, args=(act, number), daemon=True)
            for number, act in enumerate((self._ours_anew, self._ours_with_an_old_bag, self._ours_renewing, self._strongswan))
        ]

    @property
    def url(self) -> str:
        """Where they enrol."""
        return f"{self._service.url}/scep/renewing"

    def challenge(self) -> str:
        """Return a challenge that nobody has used."""
        with self._lock:
            return next(self._challenges)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the clients work while the block runs, and end what they have begun."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a client never got an answer"

    def issuers(self) -> set[str]:
        """Return who issued what they got, by common name."""
        return {certificate.issuer.rfc4514_string() for certificate in self.issued}

    def wait_for_more(self, count: int = 12) -> None:
        """Return once so many more certificates have been issued."""
        goal = len(self.issued) + count
        eventually(lambda: self.failures or len(self.issued) >= goal, seconds=60, message="the clients stand still")
        assert self.failures == []

    def _repeat(self, act: Callable[[Path], None], number: int) -> None:
        folder = self._folder / str(number)
        folder.mkdir()
        while not self._stopped.is_set():
            try:
                act(folder)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to tell of it
                self.failures.append(f"{act.__name__}: {error}")
                return
            time.sleep(_PAUSE_SECONDS)

    def _ours_anew(self, _folder: Path) -> None:
        """Enrol as a new device does: GetCACert, then PKCSReq."""
        key = rsa.generate_private_key(65537, 2048)
        with ScepClient(self.url) as client:
            got = client.enrol(client.ca_certificates(), key, build_csr(key, "x", self.challenge()))
        self.issued.append(got.certificate)

    def _ours_with_an_old_bag(self, _folder: Path) -> None:
        """Enrol again and again with the certificates of the first GetCACert, as devices that keep them do."""
        key = rsa.generate_private_key(65537, 2048)
        with ScepClient(self.url) as client:
            bag = client.ca_certificates()
            while not self._stopped.is_set():
                csr = build_csr(key, "x", self.challenge())
                first = client.enrol(bag, key, csr)
                # The same request, sent again: the same certificate, whoever issues by now.
                assert client.enrol(bag, key, csr).certificate == first.certificate
                self.issued.append(first.certificate)
                time.sleep(_PAUSE_SECONDS)

    def _ours_renewing(self, _folder: Path) -> None:
        """Enrol once, and renew what was got, with a new key each time."""
        key = rsa.generate_private_key(65537, 2048)
        with ScepClient(self.url) as client:
            held = client.enrol(client.ca_certificates(), key, build_csr(key, "x", self.challenge()))
            while not self._stopped.is_set():
                renewed = client.renew(client.ca_certificates(), held, rsa.generate_private_key(65537, 2048))
                self.renewals_across += renewed.certificate.issuer != held.certificate.issuer
                held = renewed
                self.issued.append(held.certificate)
                time.sleep(_PAUSE_SECONDS)

    def _strongswan(self, folder: Path) -> None:
        """Enrol and renew with strongSwan, which gets the root and the RA's certificate as files."""
        run = self._service.run
        if not (folder / "ra.crt").exists():
            run("pki", "--scepca", "--url", self.url, "--caout", "ca.crt", "--raout", "ra.crt", "--force", cwd=folder)
        run("sh", "-c", "pki --gen --type rsa --size 2048 > old.der && pki --gen --type rsa --size 2048 > new.der", cwd=folder)
        common = ("pki", "--scep", "--url", self.url, "--cacert-enc", "ra.crt", "--cacert-sig", "ca.crt", "--outform", "pem")
        old = run(*common, "--in", "old.der", "--dn", "CN=x", "--password", self.challenge(), cwd=folder).stdout
        (folder / "old.pem").write_text(old)
        new = run(*common, "--in", "new.der", "--dn", "CN=x", "--cert", "old.pem", "--key", "old.der", cwd=folder).stdout
        self.issued += [x509.load_pem_x509_certificate(each.encode()) for each in (old, new)]


def verify(service: Service, folder: Path, certificate: x509.Certificate) -> None:
    """Have openssl build the chain from what /aia/ serves, and check it against the CRLs of both authorities."""
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    location = str(issuer[0].access_location.value)
    crl = str((points[0].full_name or [])[0].value)
    above = x509.load_der_x509_certificate(httpx2.get(location).content)
    root = x509.load_der_x509_certificate(httpx2.get(f"{service.url}/aia/root.cer").content)
    crls = [x509.load_der_x509_crl(httpx2.get(url).content) for url in (crl, f"{service.url}/crl/root.crl")]
    for name, content in (
        ("leaf.pem", certificate.public_bytes(Encoding.PEM)),
        ("issuing.pem", above.public_bytes(Encoding.PEM)),
        ("root.pem", root.public_bytes(Encoding.PEM)),
        ("crls.pem", b"".join(each.public_bytes(Encoding.PEM) for each in crls)),
    ):
        (folder / name).write_bytes(content)
    options = ("-crl_check_all", "-CRLfile", "crls.pem", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "leaf.pem")
    service.run("openssl", "verify", *options, cwd=folder)


def test_no_enrolment_is_missed_while_the_issuing_ca_is_rolled_over(service: Service, tmp_path: Path) -> None:
    crowd = Crowd(service, tmp_path)
    with ScepClient(crowd.url) as client:
        first_bag = client.ca_certificates()
    with crowd.running():
        crowd.wait_for_more()
        before = crowd.issued[-1]
        prepared = service.json("ca", "rollover", "prepare", "issuing")
        assert (prepared["name"], prepared["warnings"]) == ("issuing-2", [])
        eventually(lambda: "GetNextCACert" in httpx2.get(f"{crowd.url}?operation=GetCACaps").text)
        crowd.wait_for_more()
        assert crowd.issuers() == {"CN=Signetry Issuing CA"}
        service.signetry("ca", "rollover", "activate", "issuing")
        # Within a second; more for a machine with other things to do.
        time.sleep(2)
        done = len(crowd.issued)
        crowd.wait_for_more(24)
        since = {each.issuer.rfc4514_string() for each in crowd.issued[done + 8 :]}
        assert since == {"CN=Signetry Issuing CA 2"}
        assert "GetNextCACert" not in httpx2.get(f"{crowd.url}?operation=GetCACaps").text
        assert crowd.renewals_across == 1
        # What the former CA has issued is still good, so it is not retired unless that is meant.
        assert "are good" in service.run("signetry", "ca", "rollover", "retire", "issuing", succeeds=False).stderr
        verify(service, tmp_path, before)
        verify(service, tmp_path, crowd.issued[-1])
    assert crowd.failures == []
    with ScepClient(crowd.url) as client:
        # By the name of the former CA, and to its RA: GetCert and GetCRL.
        stranger = throwaway_signer(rsa.generate_private_key(65537, 2048), named("somebody"))
        assert client.certificate(first_bag, stranger, before.serial_number) == before
        assert client.crl(first_bag, stranger, before.serial_number).issuer == first_bag.issuer.subject
    service.signetry("ca", "rollover", "retire", "issuing", "--force")
    verify(service, tmp_path, before)
    states = {each["name"]: each["state"] for each in service.json("ca", "list")}
    assert states == {"root": "active", "issuing": "retired", "issuing-2": "active"}
    assert {each["severity"] for each in service.json("doctor") if each["check"].startswith(("authority", "CRL"))} == {"ok"}
    assert httpx2.get(f"{service.url}/readyz").status_code == 200


def test_no_enrolment_is_missed_while_the_ra_gets_another_key(service: Service, tmp_path: Path) -> None:
    crowd = Crowd(service, tmp_path)
    with crowd.running():
        crowd.wait_for_more()
        made = service.json("ca", "rollover", "ra", "issuing")

        def named() -> str:
            with ScepClient(crowd.url) as client:
                return f"{client.ca_certificates().ra.serial_number:032x}"

        eventually(lambda: named() == made["serial"])
        crowd.wait_for_more(24)
    assert crowd.failures == []


def test_a_certificate_of_a_retired_ca_is_not_renewed(service: Service, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    with ScepClient(f"{service.url}/scep/renewing") as client:
        csr = build_csr(key, "x", service.challenge(endpoint="renewing"))
        held: Identity = client.enrol(client.ca_certificates(), key, csr)
        for step in (("prepare", "issuing"), ("activate", "issuing"), ("retire", "issuing", "--force")):
            service.signetry("ca", "rollover", *step)

        def renewed() -> str:
            try:
                return client.renew(client.ca_certificates(), held, key).certificate.issuer.rfc4514_string()
            except Exception as refusal:  # noqa: BLE001 - what is looked at is its words
                return str(refusal)

        eventually(lambda: "must be signed with the certificate to be renewed" in renewed())
    verify(service, tmp_path, held.certificate)
