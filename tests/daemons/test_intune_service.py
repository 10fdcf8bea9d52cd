"""An endpoint for Intune, served, before a strict tenant: enrolment, and kill -9 between any two steps of it."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import create_engine, text

from scep.client import ScepClient, build_csr
from scep.errors import EnrolmentRefused, ServerMisbehaved, ServerUnreachable
from tests.daemons.directories.tls import ServerTls
from tests.daemons.service import Service, eventually, serving
from tests.intune.requests import request_for, upn
from tests.intune.server import CALLER_INFO, CLIENT_ID, CLIENT_SECRET, TENANT, Cloud, Reply, cloud_tls, code, running_cloud

_PAUSE_SECONDS = 0.05
_KILLS = 6
_CLIENTS = 3
# More than the threads that work on everybody else.
_WAITING = 12


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    return cloud_tls(tmp_path_factory.mktemp("cloud-tls"))


@pytest.fixture
def cloud(tls: ServerTls) -> Iterator[Cloud]:
    with running_cloud(tls) as running:
        yield running
    assert running.violations == []


def settings(cloud: Cloud, tls: ServerTls, secret: Path) -> str:
    secret.touch(mode=0o600)
    secret.write_text(f"{CLIENT_SECRET}\n")
    return f"""
[intune]
tenant_id = "{TENANT}"
client_id = "{CLIENT_ID}"
client_secret_file = "{secret}"
caller_info = "{CALLER_INFO}"
login_url = "{cloud.url}"
graph_url = "{cloud.url}"
ca_file = "{tls.ca}"
timeout_seconds = 10

[endpoints.phones]
challenge = "intune"
profiles = ["identity"]

"""


@pytest.fixture
def service(tmp_path: Path, cloud: Cloud, tls: ServerTls) -> Iterator[Service]:
    configuration = settings(cloud, tls, tmp_path / "client-secret")
    with serving(tmp_path / "home", "--ca-key", "p256", configuration=configuration) as running:
        running.add_person()
        yield running


def enrolled(service: Service, key: rsa.RSAPrivateKey, csr: x509.CertificateSigningRequest) -> bytes:
    """Return the certificate that the request gets, asked for as often as it takes, as a client would."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with ScepClient(f"{service.url}/scep/phones") as client:
                return client.enrol(client.ca_certificates(), key, csr).certificate.public_bytes(Encoding.DER)
        except (ServerUnreachable, ServerMisbehaved):
            # Half an answer is no answer, and HTTP 503 none either.
            assert time.monotonic() < deadline, "the client never got an answer"
            time.sleep(_PAUSE_SECONDS)


def rows(service: Service, query: str) -> list[Any]:
    engine = create_engine(f"sqlite:///{service.home}/signetry.db")
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(query)).scalars())
    finally:
        engine.dispose()


def issued(service: Service) -> list[bytes]:
    return [bytes(der) for der in rows(service, "SELECT der FROM certificate WHERE person_id IS NOT NULL")]


def withheld(service: Service) -> int:
    return len(rows(service, "SELECT id FROM scep_enrolment WHERE withheld_until IS NOT NULL"))


def kill_web_processes(service: Service) -> None:
    """Kill them, and return once others have taken their place."""
    victims = {name: pid for name, pid in service.children().items() if name.startswith("web")}
    for pid in victims.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: len(service.children()) == 3 and all(service.children()[name] != pid for name, pid in victims.items()),
        message="a web process did not come back",
    )


def thumbprint(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - what Intune is told


def test_a_phone_of_intunes_enrols(service: Service, cloud: Cloud, rsa_key: rsa.RSAPrivateKey) -> None:
    csr = request_for(rsa_key, upn("alice@example.com"))
    der = enrolled(service, rsa_key, csr)
    assert enrolled(service, rsa_key, csr) == der
    assert issued(service) == [der]
    assert withheld(service) == 0
    assert [each.action for each in cloud.received] == ["validateRequest", "successNotification"]
    assert cloud.of("successNotification")[0]["certificateThumbprint"] == thumbprint(der)


def test_intunes_verdict_reaches_the_phone_and_its_silence_does_not_end_the_matter(
    service: Service, cloud: Cloud, rsa_key: rsa.RSAPrivateKey
) -> None:
    csr = request_for(rsa_key, upn("alice@example.com"))
    cloud.answer("validateRequest", Reply(500), Reply(429, headers={"retry-after": "120"}), code("ChallengeExpired"))
    with ScepClient(f"{service.url}/scep/phones") as client:
        bag = client.ca_certificates()
        with pytest.raises(ServerUnreachable, match="HTTP 503"):
            client.enrol(bag, rsa_key, csr)
        with pytest.raises(ServerUnreachable, match="HTTP 503"):
            client.enrol(bag, rsa_key, csr)
    # Who asked for a pause gets it, from every process by itself; others answer meanwhile.
    kill_web_processes(service)
    with ScepClient(f"{service.url}/scep/phones") as client, pytest.raises(EnrolmentRefused, match="ChallengeExpired"):
        client.enrol(client.ca_certificates(), rsa_key, csr)
    assert issued(service) == []


def test_killed_while_intune_thinks_about_the_request(service: Service, cloud: Cloud, rsa_key: rsa.RSAPrivateKey) -> None:
    csr = request_for(rsa_key, upn("alice@example.com"))
    with ThreadPoolExecutor(1) as phone, cloud.holding("validateRequest") as hold:
        answer: Future[bytes] = phone.submit(enrolled, service, rsa_key, csr)
        assert hold.arrived.wait(20)
        kill_web_processes(service)
        assert issued(service) == []
        hold.release()
        der = answer.result(60)
    assert issued(service) == [der]
    assert withheld(service) == 0
    assert {each["certificateThumbprint"] for each in cloud.of("successNotification")} == {thumbprint(der)}


def test_killed_between_the_commit_and_the_release(service: Service, cloud: Cloud, rsa_key: rsa.RSAPrivateKey) -> None:
    csr = request_for(rsa_key, upn("alice@example.com"))
    with ThreadPoolExecutor(1) as phone, cloud.holding("successNotification") as hold:
        answer: Future[bytes] = phone.submit(enrolled, service, rsa_key, csr)
        assert hold.arrived.wait(20)
        (committed,) = issued(service)
        assert withheld(service) == 1
        kill_web_processes(service)
        assert withheld(service) == 1
        hold.release()
        der = answer.result(60)
    assert der == committed
    assert issued(service) == [committed]
    assert withheld(service) == 0
    told = cloud.of("successNotification")
    assert len(told) >= 2
    assert {each["certificateThumbprint"] for each in told} == {thumbprint(committed)}


def test_killed_at_any_time_every_request_gets_one_certificate_that_intune_knows_of(
    service: Service, cloud: Cloud, rsa_key: rsa.RSAPrivateKey
) -> None:
    choice = random.Random(5)
    stopped = threading.Event()
    got: dict[str, bytes] = {}

    def phone(number: int) -> None:
        count = 0
        while not stopped.is_set():
            name = f"phone {number}-{count}"
            got[name] = enrolled(service, rsa_key, request_for(rsa_key, upn("alice@example.com"), common_name=name))
            count += 1

    with ThreadPoolExecutor(_CLIENTS) as phones:
        running = [phones.submit(phone, number) for number in range(_CLIENTS)]
        try:
            for _ in range(_KILLS):
                before = len(got)
                eventually(lambda before=before: len(got) > before, seconds=60, message="nobody is served any more")
                time.sleep(choice.uniform(0.0, 0.3))
                kill_web_processes(service)
        finally:
            stopped.set()
        for each in running:
            each.result(60)
    certificates = issued(service)
    assert len(got) >= _KILLS
    assert sorted(got.values()) == sorted(certificates), "a request got no certificate, or two"
    assert withheld(service) == 0
    assert {thumbprint(der) for der in certificates} == {
        each["certificateThumbprint"] for each in cloud.of("successNotification")
    }
    assert cloud.of("failureNotification") == []


def test_whoever_is_not_intunes_does_not_wait_for_it(service: Service, cloud: Cloud, rsa_key: rsa.RSAPrivateKey) -> None:
    challenges = [service.challenge() for _ in range(4)]
    with ThreadPoolExecutor(_WAITING) as phones, cloud.holding("validateRequest") as hold:
        waiting = [
            phones.submit(enrolled, service, rsa_key, request_for(rsa_key, upn("alice@example.com"), common_name=f"phone {n}"))
            for n in range(_WAITING)
        ]
        eventually(lambda: len(cloud.of("validateRequest")) == _WAITING, message="not all of them were asked about")
        for challenge in challenges:
            with ScepClient(service.scep) as client:
                client.enrol(client.ca_certificates(), rsa_key, build_csr(rsa_key, "a device", challenge))
        assert not any(each.done() for each in waiting)
        hold.release()
        assert len({each.result(60) for each in waiting}) == _WAITING


def test_the_check_says_what_works_and_what_does_not(service: Service, cloud: Cloud) -> None:
    steps = service.json("intune", "check")
    assert [(each["step"], each["succeeded"]) for each in steps] == [
        ("credentials", True),
        ("discovery", True),
        ("validation", True),
    ]
    assert cloud.url in steps[1]["finding"]
    assert "ChallengeDecryptionError" in steps[2]["finding"]
    found = {each["check"]: each for each in service.json("doctor")}
    assert found["Intune"]["severity"] == "ok"
    cloud.secret = "another one"
    done = service.run("signetry", "intune", "check", "--json", succeeds=False)
    assert "AADSTS7000215" in done.stdout
    done = service.run("signetry", "doctor", succeeds=False)
    assert "AADSTS7000215" in done.stdout
    assert CLIENT_SECRET not in service.log + done.stdout
