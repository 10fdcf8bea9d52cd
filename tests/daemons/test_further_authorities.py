"""A CA for mail beside the first, made while the service runs; and a service behind a reverse proxy."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from scep.client import ScepClient, build_csr
from tests.daemons.service import Service, eventually
from tests.daemons.test_openssl import enrol


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that believes its own machine to be a reverse proxy."""
    running = Service(tmp_path_factory.mktemp("further") / "home")
    running.environment["SIGNETRY_TRUSTED_PROXIES"] = "127.0.0.0/8"
    running.init("--ca-key", "p256")
    running.start()
    try:
        yield running
    finally:
        running.stop()


class Proxy(httpx2.HTTPTransport):
    """A way to the service that says for whom it asks, as reverse proxies do."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request on."""
        request.headers["X-Forwarded-For"] = "1.2.3.4, 2001:db8::7"
        return super().handle_request(request)


def test_the_audit_record_holds_the_client_behind_the_proxy(service: Service, rsa_key: rsa.RSAPrivateKey) -> None:
    service.add_person("proxied")
    with ScepClient(service.scep, transport=Proxy()) as client:
        client.enrol(client.ca_certificates(), rsa_key, build_csr(rsa_key, "x", service.challenge("proxied")))
    database = sqlite3.connect(service.home / "signetry.db")
    issued = "SELECT origin FROM audit_event WHERE action = 'certificate.issued' AND actor LIKE 'scep:%'"
    assert database.execute(issued).fetchall() == [("2001:db8::7",)]
    database.close()


def test_a_mail_ca_issues_mail_certificates_and_nobody_can_log_on_with_them(service: Service, tmp_path: Path) -> None:
    made = service.json("ca", "create", "mail", "--profile-set", "mail", "--mail-domain", "example.com", "--ca-key", "rsa2048")
    # The running service publishes for it at once; its endpoint takes a restart.
    eventually(lambda: httpx2.get(f"{service.url}/crl/mail.crl").status_code == 200)
    assert httpx2.get(f"{service.url}/aia/mail.cer").status_code == 200
    assert httpx2.get(f"{service.url}/scep/mail?operation=GetCACert").status_code == 404
    service.configure(made["endpoint"])
    service.stop()
    service.start()
    service.add_person("split")
    (tmp_path / "challenge").touch(mode=0o600)
    (tmp_path / "challenge").write_text(service.challenge("split", "smime-signing", "mail"))
    arguments = ("--challenge-file", str(tmp_path / "challenge"), "--out", str(tmp_path))
    service.signetry("enrol", f"{service.url}/scep/mail", *arguments)
    certificate = x509.load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes())
    assert certificate.issuer.rfc4514_string() == "CN=Signetry Mail CA"
    crl = x509.load_der_x509_crl(httpx2.get(f"{service.url}/crl/mail.crl").content)
    assert crl.issuer == certificate.issuer

    def verify(purpose: str, *, succeeds: bool) -> None:
        options = ("-purpose", purpose, "-CAfile", "chain.pem", "certificate.pem")
        service.run("openssl", "verify", *options, cwd=tmp_path, succeeds=succeeds)

    verify("smimesign", succeeds=True)
    verify("sslclient", succeeds=False)
    findings = {finding["check"]: finding["severity"] for finding in service.json("doctor")}
    assert findings["authority mail"] == findings["endpoint mail"] == findings["CRL of mail"] == "ok"
    # The first endpoint goes on as before.
    enrol(service, tmp_path, "split", "identity")
