"""strongSwan ``pki`` 5.9.8: enrols, renews, and is told why not."""

from pathlib import Path

import pytest
from cryptography import x509

from ca.certified import names_in
from tests.daemons.service import Service


@pytest.fixture
def folder(service: Service, tmp_path: Path) -> Path:
    """A folder with the certificates of GetCACert as ``pki --scepca`` fetched them."""
    service.run("pki", "--scepca", "--url", service.scep, "--caout", "ca.crt", "--raout", "ra.crt", "--force", cwd=tmp_path)
    return tmp_path


def generate(service: Service, folder: Path, name: str) -> None:
    key = service.run("sh", "-c", f"pki --gen --type rsa --size 2048 > {name}", cwd=folder)
    assert key.returncode == 0


def enrol(service: Service, folder: Path, endpoint: str, *options: str, succeeds: bool = True) -> str:
    done = service.run(
        "pki",
        "--scep",
        "--url",
        f"{service.url}/scep/{endpoint}",
        *("--cacert-enc", "ra.crt", "--cacert-sig", "ca.crt", "--outform", "pem"),
        *options,
        cwd=folder,
        succeeds=succeeds,
    )
    return done.stdout if succeeds else done.stderr


@pytest.mark.parametrize("cipher", ["aes", "des3"])
def test_it_enrols_and_the_certificate_is_the_persons(service: Service, folder: Path, cipher: str) -> None:
    name = f"swan-{cipher}"
    service.add_person(name)
    generate(service, folder, "key.der")
    # Triple DES is among what the museum endpoint admits.
    endpoint = "museum" if cipher == "des3" else "default"
    challenge = service.challenge(name, endpoint=endpoint)
    options = ("--in", "key.der", "--dn", "CN=anything", "--password", challenge, "--cipher", cipher)
    certificate = x509.load_pem_x509_certificate(enrol(service, folder, endpoint, *options).encode())
    assert certificate.subject.rfc4514_string() == f"CN={name.capitalize()}"
    assert names_in(certificate).upn == f"{name}@example.com"
    shown = service.json("cert", "show", f"{certificate.serial_number:x}")
    assert f"{name}@example.com" in str(shown)


def test_it_renews_with_a_new_key(service: Service, folder: Path) -> None:
    service.add_person("swan-renewing")
    challenge = service.challenge("swan-renewing", endpoint="renewing")
    generate(service, folder, "old.der")
    generate(service, folder, "new.der")
    options = ("--in", "old.der", "--dn", "CN=x", "--password", challenge)
    old = enrol(service, folder, "renewing", *options)
    (folder / "old.pem").write_text(old)
    renewing = ("--in", "new.der", "--dn", "CN=x", "--cert", "old.pem", "--key", "old.der")
    new = x509.load_pem_x509_certificate(enrol(service, folder, "renewing", *renewing).encode())
    before = x509.load_pem_x509_certificate(old.encode())
    assert new.serial_number != before.serial_number
    assert new.public_key() != before.public_key()
    assert names_in(new) == names_in(before)


def test_it_is_refused_somebody_elses_address(service: Service, folder: Path) -> None:
    service.add_person("swan-honest")
    generate(service, folder, "key.der")
    challenge = service.challenge("swan-honest")
    asking = ("--in", "key.der", "--dn", "CN=x", "--password", challenge)
    enrol(service, folder, "default", *asking, "--san", "boss@example.com", succeeds=False)
    assert "the requested mail address boss@example.com is not authorised" in service.log
    assert "BEGIN CERTIFICATE" in enrol(service, folder, "default", *asking)
