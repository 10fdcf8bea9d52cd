"""A service all of whose keys are in a token: it enrols, is killed, loses the token and gets it back."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from scep.client import ScepClient, build_csr
from scep.errors import EnrolmentPending, ServerUnreachable
from tests.daemons.service import Service, eventually
from tests.softhsm import MODULE, PIN, SO_PIN, SoftHsm, create

SPY = Path("/usr/lib/x86_64-linux-gnu/pkcs11-spy.so")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def token(tmp_path: Path) -> SoftHsm:
    return create(tmp_path / "softhsm")


@pytest.fixture
def service(token: SoftHsm, tmp_path: Path) -> Iterator[Service]:
    """A running service in a token."""
    made = Service(tmp_path / "home")
    made.environment |= token.environment
    made.init("--ca-key", "rsa2048", *token.options)
    made.start()
    yield made
    made.stop()


def enrolled(service: Service, name: str) -> x509.Certificate:
    """Enrol a new person with our own client."""
    service.add_person(name)
    challenge = service.challenge(name)
    key = rsa.generate_private_key(65537, 2048)
    with ScepClient(service.scep) as client:
        bag = client.ca_certificates()
        return client.enrol(bag, key, build_csr(key, "a device", challenge)).certificate


def ready(service: Service) -> int:
    return httpx2.get(f"{service.url}/readyz").status_code


def test_strongswan_and_our_own_client_enrol_and_the_pin_is_nowhere(service: Service, tmp_path: Path) -> None:
    assert enrolled(service, "alice")
    service.add_person("bob")
    folder = tmp_path / "swan"
    folder.mkdir()
    service.run("pki", "--scepca", "--url", service.scep, "--caout", "ca.crt", "--raout", "ra.crt", cwd=folder)
    service.run("sh", "-c", "pki --gen --type rsa --size 2048 > key.der", cwd=folder)
    issued = service.run(
        *("pki", "--scep", "--url", service.scep, "--cacert-enc", "ra.crt", "--cacert-sig", "ca.crt", "--outform", "pem"),
        *("--in", "key.der", "--dn", "CN=anything", "--password", service.challenge("bob")),
        cwd=folder,
    ).stdout
    assert x509.load_pem_x509_certificate(issued.encode()).subject.rfc4514_string() == "CN=Bob"
    assert not (service.home / "keys").exists()
    service.signetry("doctor")
    everything = b"".join(path.read_bytes() for path in service.home.rglob("*") if path.is_file())
    assert PIN.encode() not in everything
    assert PIN not in service.signetry("doctor", "--json")


def test_kill_minus_nine_needs_no_repair_and_every_process_logs_in_again(service: Service) -> None:
    assert enrolled(service, "alice")
    service.kill_everything()
    service.start()
    assert enrolled(service, "bob")
    children = service.children()
    for pid in children.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not set(service.children().values()) & set(children.values()))
    eventually(lambda: ready(service) == 200)
    assert enrolled(service, "carol")


def test_without_its_token_it_says_503_and_goes_on_when_the_token_is_back(service: Service, token: SoftHsm) -> None:
    serial = f"{enrolled(service, 'alice').serial_number:x}"
    service.add_person("bob")
    challenge = service.challenge("bob")
    key = rsa.generate_private_key(65537, 2048)
    csr = build_csr(key, "a device", challenge)
    with ScepClient(service.scep) as client:
        bag = client.ca_certificates()
        token.take_away()
        for _ in range(4):
            with pytest.raises(ServerUnreachable):
                client.enrol(bag, key, csr)
        eventually(lambda: ready(service) == 503)
        # A revocation does not wait for the token; its CRL does.
        service.signetry("cert", "revoke", serial, "--reason", "keyCompromise")
        assert "cannot be used now" in service.signetry("doctor", succeeds=False)
        token.bring_back()
        eventually(lambda: ready(service) == 200)
        # The challenge is unspent, and the same request is answered.
        assert client.enrol(bag, key, csr).certificate.public_key() == key.public_key()

    def is_listed() -> bool:
        crl = x509.load_der_x509_crl(httpx2.get(f"{service.url}/crl/issuing.crl").content)
        return crl.get_revoked_certificate_by_serial_number(int(serial, 16)) is not None

    eventually(is_listed, seconds=60, message="the CRL was not published after the token came back")
    service.signetry("doctor")


def test_a_request_waits_where_only_the_issuing_key_is_out_of_reach(service: Service, token: SoftHsm) -> None:
    service.add_person("bob")
    key = rsa.generate_private_key(65537, 2048)
    csr = build_csr(key, "a device", service.challenge("bob"))
    objects = {path: path.read_bytes() for path in token.tokens.rglob("*.object")}
    with ScepClient(service.scep) as client:
        bag = client.ca_certificates()
        token.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "issuing-rsa2048")
        with pytest.raises(EnrolmentPending):
            client.enrol(bag, key, csr)
        assert "there is no key 'issuing-rsa2048'" in service.signetry("doctor", succeeds=False)
        for path, content in objects.items():
            path.write_bytes(content)
        # A change that SoftHSM sees: it notes those that were made by itself.
        token.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "other", "--id", "77")
        assert client.enrol(bag, key, csr).certificate.public_key() == key.public_key()


def test_a_wrong_pin_is_tried_once_however_many_processes_are_started(service: Service, token: SoftHsm, tmp_path: Path) -> None:
    service.stop()
    # OpenSC's library between ours and the token's, which writes every call down.
    calls = tmp_path / "calls"
    spied = {"PKCS11SPY": str(MODULE), "PKCS11SPY_OUTPUT": str(calls), "SIGNETRY_PKCS11__MODULE": str(SPY)}
    service.environment |= spied
    token.write_pin("wrong-pin")
    with (service.home / "serve.log").open("ab") as log:
        process = subprocess.Popen(["signetry", "serve"], env=service.environment, stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(service, 503), message="it does not say that it is not ready")
        # The children are started again and again, if they die of it.
        time.sleep(2)
        assert len(set(service.children().values())) == 3
        assert calls.read_text().count("C_Login") == 1
        # The service goes on by itself.
        token.write_pin(PIN)
        eventually(lambda: _answers(service, 200), seconds=30)
        assert calls.read_text().count("C_Login") > 1
    finally:
        process.terminate()
        process.wait()
    service.start()


def _answers(service: Service, status: int) -> bool:
    try:
        return ready(service) == status
    except httpx2.HTTPError:
        return False


def test_the_example_of_the_operators_guide_runs_as_printed(tmp_path: Path) -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    (script,) = re.findall(r"## Keys in an HSM\n.*?```sh\n(.*?)```", text, re.DOTALL)
    service = Service(tmp_path / "home")
    work = tmp_path / "work"
    (work / "tokens").mkdir(parents=True)
    (work / "softhsm2.conf").write_text(f"directories.tokendir = {work / 'tokens'}\nobjectstore.backend = file\n")
    service.environment |= {"SOFTHSM2_CONF": str(work / "softhsm2.conf"), "SIGNETRY_HOME": str(service.home)}
    done = service.run("bash", "-euo", "pipefail", "-c", script, cwd=work)
    assert "in the token 'signetry'" in done.stdout
    assert SO_PIN not in done.stdout
    assert not (service.home / "keys").exists()
