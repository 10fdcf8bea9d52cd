"""A running service whose endpoint asks an administrator, and clients that wait: strongSwan polls, micromdm sends again."""

import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from cryptography import x509

from ca.certified import names_in
from tests.daemons.service import Service, eventually

CONFIGURATION = """
[endpoints.held]
challenge = "approval"
profiles = ["identity"]

[endpoints.museum]
challenge = "approval"
profiles = ["identity"]
museum = true

[endpoints.busy]
requests_per_minute = 2
"""
APPROVED = ("--upn", "alice@example.com")
# Longer than micromdm sleeps before it sends its request again.
_PATIENCE = 50


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with Alice on record, which believes a proxy on this machine."""
    # One web process: each counts requests for itself.
    service = Service(tmp_path_factory.mktemp("held"), workers=1)
    service.environment["SIGNETRY_TRUSTED_PROXIES"] = "127.0.0.1/32"
    service.init()
    service.configure(CONFIGURATION)
    service.start()
    try:
        service.add_person("alice")
        yield service
    finally:
        service.stop()


@pytest.fixture
def folder(held: Service, tmp_path: Path) -> Path:
    """A folder with a key, and the certificates of GetCACert."""
    held.run("pki", "--scepca", "--url", f"{held.url}/scep/held", "--caout", "ca.crt", "--raout", "ra.crt", cwd=tmp_path)
    held.run("sh", "-c", "pki --gen --type rsa --size 2048 > key.der", cwd=tmp_path)
    return tmp_path


@contextmanager
def client(service: Service, folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client in ``folder`` while the block runs; what it says goes to the files ``out`` and ``err``."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, env=service.environment, cwd=folder, stdout=out, stderr=err)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def strongswan(name: str, service: Service) -> tuple[str, ...]:
    """Return the command line of a client that polls."""
    return (
        *("pki", "--scep", "--url", f"{service.url}/scep/held", "--in", "key.der", "--dn", f"CN={name}"),
        *("--cacert-enc", "ra.crt", "--cacert-sig", "ca.crt", "--outform", "pem"),
        *("--interval", "1", "--maxpolltime", "60"),
    )


def number_of(service: Service, name: str) -> str:
    """Return the number of the request of ``name``, once it waits."""
    found: list[str] = []

    def waits() -> bool:
        found[:] = [str(row["id"]) for row in service.json("request", "list") if row["subject"] == f"CN={name}"]
        return bool(found)

    eventually(waits, seconds=_PATIENCE, message=f"no request of {name} waits")
    return found[0]


def trusting(service: Service) -> ssl.SSLContext:
    """Return what trusts the HTTPS listeners."""
    return ssl.create_default_context(cafile=service.home / "tls" / "root.pem")


def granted(folder: Path) -> x509.Certificate:
    """Return the certificate that strongSwan printed."""
    return x509.load_pem_x509_certificate((folder / "out").read_bytes())


def test_strongswan_polls_until_an_administrator_has_approved(held: Service, folder: Path) -> None:
    with client(held, folder, *strongswan("approved", held)) as polling:
        number = number_of(held, "approved")
        assert polling.poll() is None
        (decided,) = held.json("request", "approve", number, *APPROVED)
        assert (decided["outcome"], decided["profile"]) == ("approved", "identity")
        assert polling.wait(_PATIENCE) == 0, (folder / "err").read_text()
    certificate = granted(folder)
    assert certificate.subject.rfc4514_string() == "CN=Alice"
    assert names_in(certificate).upn == "alice@example.com"
    shown = held.json("request", "show", number)
    assert (shown["state"], shown["serial"]) == ("granted", f"{certificate.serial_number:032x}")


def test_strongswan_is_told_that_it_was_rejected(held: Service, folder: Path) -> None:
    with client(held, folder, *strongswan("rejected", held)) as polling:
        held.signetry("request", "reject", number_of(held, "rejected"), "--reason", "call the help desk")
        assert polling.wait(_PATIENCE) != 0
    assert (folder / "out").read_bytes() == b""
    assert "call the help desk" in held.log


def test_what_waits_outlives_a_web_process_that_is_killed(held: Service, folder: Path) -> None:
    with client(held, folder, *strongswan("patient", held)) as polling:
        number = number_of(held, "patient")
        (web,) = [pid for name, pid in held.children().items() if name.startswith("web")]
        os.kill(web, signal.SIGKILL)
        eventually(lambda: web not in held.children().values(), message="the process was not replaced")
        held.signetry("request", "approve", number, *APPROVED)
        assert polling.wait(_PATIENCE) == 0, (folder / "err").read_text()
    assert names_in(granted(folder)).upn == "alice@example.com"


def test_what_waits_outlives_the_service(held: Service, folder: Path) -> None:
    with client(held, folder, *strongswan("steadfast", held)) as polling:
        number = number_of(held, "steadfast")
        # It gives up where nobody listens: it is to notice nothing of that.
        polling.send_signal(signal.SIGSTOP)
        held.kill_everything()
        # The command line needs no service.
        held.signetry("request", "approve", number, *APPROVED)
        held.start()
        polling.send_signal(signal.SIGCONT)
        assert polling.wait(_PATIENCE) == 0, (folder / "err").read_text()
    assert names_in(granted(folder)).upn == "alice@example.com"
    assert [row["serial"] for row in held.json("request", "list", "--state", "granted") if str(row["id"]) == number] == [
        f"{granted(folder).serial_number:032x}"
    ]


def test_micromdm_sends_its_request_again_until_it_is_approved(held: Service, tmp_path: Path) -> None:
    """It never polls: told PENDING it sleeps for half a minute and sends the same message."""
    command = (
        *("scepclient", "-server-url", f"{held.url}/scep/museum", "-private-key", "key.pem", "-certificate", "cert.pem"),
        *("-cn", "micromdm", "-debug"),
    )
    with client(held, tmp_path, *command) as waiting:
        # Its subject has an O and a C beside.
        eventually(lambda: held.json("request", "list", "--endpoint", "museum"), seconds=_PATIENCE, message="nothing waits")
        (row,) = held.json("request", "list", "--endpoint", "museum")
        held.signetry("request", "approve", str(row["id"]), *APPROVED)
        assert waiting.wait(_PATIENCE) == 0, (tmp_path / "err").read_text()
    certificate = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    assert certificate.subject.rfc4514_string() == "CN=Alice"


def test_the_api_lets_an_officer_decide(held: Service, folder: Path) -> None:
    token = held.signetry("token", "create", "--role", "officer", "--name", "Alice", *APPROVED).strip()
    api = f"https://{held.environment['SIGNETRY_ADMIN_LISTEN']}/api/v1"
    with (
        client(held, folder, *strongswan("by-api", held)) as polling,
        httpx2.Client(verify=trusting(held), headers={"Authorization": f"Bearer {token}"}) as http,
    ):
        number = number_of(held, "by-api")
        body = {"person": "alice@example.com"}
        decided = http.post(f"{api}/requests/{number}/approve", json=body)
        assert decided.status_code == 200, decided.text
        assert polling.wait(_PATIENCE) == 0, (folder / "err").read_text()
    assert granted(folder).subject.rfc4514_string() == "CN=Alice"


def test_the_address_behind_a_proxy_is_the_one_that_is_limited(held: Service) -> None:
    def post(forwarded: str) -> httpx2.Response:
        headers = {"X-Forwarded-For": forwarded}
        return httpx2.post(f"{held.url}/scep/busy?operation=PKIOperation", content=b"nonsense", headers=headers)

    # Two are admitted, eight more are worth an answer in the protocol, as far as there is one to nonsense.
    statuses = [post("203.0.113.5").status_code for _ in range(11)]
    assert statuses == [400] * 10 + [429]
    assert int(post("203.0.113.5").headers["retry-after"]) in range(1, 31)
    assert post("203.0.113.6").status_code == 400
    metrics = httpx2.get(f"https://{held.environment['SIGNETRY_ADMIN_LISTEN']}/metrics", verify=trusting(held)).text
    counted = [line for line in metrics.splitlines() if 'outcome="limited"' in line and 'endpoint="busy"' in line]
    assert any(line.startswith("signetry_enrolments_total") and line.endswith(" 2.0") for line in counted), counted


def test_a_client_over_the_limit_is_refused_in_its_own_protocol(held: Service, folder: Path) -> None:
    refused = (
        *("pki", "--scep", "--url", f"{held.url}/scep/busy", "--in", "key.der", "--dn", "CN=x", "--password", "none"),
        *("--cacert-enc", "ra.crt", "--cacert-sig", "ca.crt"),
    )
    for _ in range(3):
        held.run(*refused, cwd=folder, succeeds=False)
    assert "too many requests from this address; come back in" in held.log
