"""A running service at endpoints that phones and routers know by other names: NDES's page and paths, a shared secret."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from ca.certified import names_in
from tests.daemons.service import Service, serving

CONFIGURATION = """
[endpoints.phones]
profiles = ["identity"]
challenge = "ndes"
[endpoints.routers]
profiles = ["device"]
challenge = "static"
requests_per_minute = 600
[endpoints.routers.static]
secret_file = "secrets/routers"
subject_pattern = "router-*"
dns_suffixes = ["net.example.com"]
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with an endpoint of each kind."""
    with serving(tmp_path_factory.mktemp("policies"), configuration=CONFIGURATION) as running:
        secret = running.home / "secrets" / "routers"
        secret.touch(mode=0o600)
        secret.write_text("a secret that routers share\n")
        yield running


@pytest.fixture
def folder(served: Service, tmp_path: Path) -> Path:
    """A folder with a key and the certificates of GetCACert."""
    url = f"{served.url}/certsrv/mscep/mscep.dll"
    served.run("pki", "--scepca", "--url", url, "--caout", "ca.crt", "--raout", "ra.crt", "--force", cwd=tmp_path)
    served.run("sh", "-c", "pki --gen --type rsa --size 2048 > key.der", cwd=tmp_path)
    return tmp_path


def enrol(served: Service, folder: Path, path: str, *options: str, succeeds: bool = True) -> str:
    bag = ("--cacert-enc", "ra.crt", "--cacert-sig", "ca.crt", "--outform", "pem")
    done = served.run(
        "pki", "--scep", "--url", served.url + path, "--in", "key.der", *bag, *options, cwd=folder, succeeds=succeeds
    )
    return done.stdout if succeeds else done.stderr


def page(served: Service, token: str, query: str = "?upn=alice@example.com") -> tuple[int, str]:
    """Ask for the page with curl, as its users do; return status and text."""
    address = served.environment["SIGNETRY_DEVICE_LISTEN"]
    configuration = f'user = "CORP\\\\ndes:{token}"\n'.encode()
    done = subprocess.run(
        [
            *("curl", "-sS", "-K", "-", "--cacert", str(served.home / "tls" / "root.pem"), "-w", "%{stderr}%{http_code}"),
            f"https://{address}/certsrv/mscep_admin/{query}",
        ],
        input=configuration,
        capture_output=True,
        timeout=30,
        check=True,
    )
    return int(done.stderr), done.stdout.decode("UTF-16")


def test_a_password_of_the_page_enrols_once_for_whom_it_was_made(served: Service, folder: Path) -> None:
    served.add_person("alice")
    served.signetry("group", "add", "phones")
    served.signetry("group", "add-member", "phones", "alice@example.com")
    token = served.signetry(
        *("token", "create", "--role", "mdm", "--name", "jamf", "--endpoint", "phones", "--profile", "identity"),
        *("--group", "phones"),
    ).split()[-1]
    status, text = page(served, token)
    found = re.search(r"The enrollment challenge password is: <B> (\S*)", text)
    assert status == 200
    assert found, text
    path = "/certsrv/mscep/mscep.dll"
    options = ("--dn", "CN=whatever the phone says", "--password", found[1])
    certificate = x509.load_pem_x509_certificate(enrol(served, folder, path, *options).encode())
    assert names_in(certificate).upn == "alice@example.com"
    served.run("sh", "-c", "pki --gen --type rsa --size 2048 > key.der", cwd=folder)
    assert "badRequest" in enrol(served, folder, path, *options, succeeds=False)
    assert "missing or not valid" in served.log
    assert page(served, token, "?upn=bob@example.com")[0] == 404
    assert page(served, "sgt_1_no")[0] == 401
    for secret in (token, found[1]):
        assert secret not in served.log


def test_the_page_is_not_on_the_listener_without_tls(served: Service) -> None:
    done = served.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{served.url}/certsrv/mscep_admin/")
    assert done.stdout == "404"


def test_a_router_enrols_with_the_secret_that_it_shares(served: Service, folder: Path) -> None:
    secret = ("--password", "a secret that routers share")
    named = ("--dn", "CN=router-7", "--san", "r7.net.example.com")
    certificate = x509.load_pem_x509_certificate(enrol(served, folder, "/scep/routers", *named, *secret).encode())
    assert certificate.subject.rfc4514_string() == "CN=router-7"
    assert names_in(certificate).dns_names == ("r7.net.example.com",)
    served.run("sh", "-c", "pki --gen --type rsa --size 2048 > key.der", cwd=folder)
    elsewhere = ("--dn", "CN=router-8", "--san", "dc1.corp.example.com")
    assert "badRequest" in enrol(served, folder, "/scep/routers", *elsewhere, *secret, succeeds=False)
    assert "dc1.corp.example.com is not below a domain" in served.log
    assert "a secret that routers share" not in served.log
