"""``/metrics`` of a running service: the sum over all processes, whichever answers, and no counter that goes backwards."""

import json
import os
import signal
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from scep.client import ScepClient, build_csr
from scep.errors import EnrolmentRefused, ServerUnreachable
from tests.daemons.service import Service, eventually, serving

Counters = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of this test's own, with two web processes."""
    with serving(tmp_path / "home", "--ca-key", "p256", workers=2) as running:
        running.add_person()
        yield running


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """The key of every device here."""
    return rsa.generate_private_key(65537, 2048)


def text(service: Service, accept: str = "") -> str:
    """Ask whichever process takes the connection."""
    address = json.loads((service.home / "run" / "serve.json").read_text())["addresses"]["admin"]
    trusting = ssl.create_default_context(cafile=service.home / "tls" / "root.pem")
    # Long enough for the successor of a process that was just killed: connections wait for it.
    with httpx2.Client(verify=trusting, trust_env=False, timeout=60) as client:
        answer = client.get(f"{address}/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    return answer.text


def counters(service: Service) -> Counters:
    families = list(parse_text(text(service)))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def enrolments(service: Service, outcome: str) -> float:
    return sum(
        value
        for (name, labels), value in counters(service).items()
        if name == "signetry_enrolments_total" and ("outcome", outcome) in labels
    )


def enrol(service: Service, key: rsa.RSAPrivateKey, challenge: str) -> None:
    # A connection of its own each: they spread over the processes.
    with ScepClient(service.scep) as client:
        client.enrol(client.ca_certificates(), key, build_csr(key, "a device", challenge))


def refused(service: Service, key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(EnrolmentRefused):
        enrol(service, key, "not-a-challenge")


def minted(service: Service, count: int) -> list[str]:
    return service.signetry("challenge", "create", "--upn", "alice@example.com", "--count", str(count)).split()


def kill_and_wait(service: Service, name: str) -> None:
    victim = service.children()[name]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: service.children().get(name, victim) != victim, message=f"{name} did not come back")


def assert_none_went_backwards(before: Counters, after: Counters) -> None:
    assert {which: (value, after.get(which)) for which, value in before.items() if after.get(which, -1) < value} == {}


def test_the_sum_over_the_processes_is_right_whichever_answers(service: Service, key: rsa.RSAPrivateKey) -> None:
    for challenge in minted(service, 20):
        enrol(service, key, challenge)
    for _ in range(7):
        refused(service, key)
    for _ in range(12):
        assert enrolments(service, "issued") == 20
        assert enrolments(service, "refused") == 7
    # Both have worked, and both have answered.
    shares = sorted((service.home / "run" / "metrics").glob("counter_web-*.db"))
    assert [path.name for path in shares] == ["counter_web-0.db", "counter_web-1.db"]
    signed = counters(service)[("signetry_private_key_operation_seconds_count", frozenset({("operation", "ra-sign")}))]
    assert signed == 27


def test_no_counter_goes_backwards_when_processes_are_killed_and_all_begin_anew_with_the_service(
    service: Service, key: rsa.RSAPrivateKey
) -> None:
    for challenge in minted(service, 10):
        enrol(service, key, challenge)
    service.signetry("crl", "issue")
    eventually(lambda: any(name == "signetry_job_runs_total" for name, _ in counters(service)))
    files = {path.name for path in (service.home / "run" / "metrics").iterdir()}
    for name in ("web-0", "worker", "web-1", "web-0"):
        before = counters(service)
        kill_and_wait(service, name)
        assert_none_went_backwards(before, counters(service))
    # As many files as before: none for each process that was.
    assert {path.name for path in (service.home / "run" / "metrics").iterdir()} == files
    assert enrolments(service, "issued") == 10
    service.kill_everything()
    service.start()
    assert enrolments(service, "issued") == 0
    (challenge,) = minted(service, 1)
    enrol(service, key, challenge)
    assert enrolments(service, "issued") == 1


def test_it_can_be_asked_under_load_and_while_processes_die(service: Service, key: rsa.RSAPrivateKey) -> None:
    challenges = iter(minted(service, 300))
    stopped = threading.Event()
    lock = threading.Lock()
    issued: list[str] = []

    def stream() -> None:
        while not stopped.is_set():
            with lock:
                challenge = next(challenges, "")
            if not challenge:
                return
            for _ in range(50):
                try:
                    enrol(service, key, challenge)
                except ServerUnreachable:
                    continue
                issued.append(challenge)
                break

    threads = [threading.Thread(target=stream) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        last: Counters = {}
        for number in range(30):
            if number in (10, 20):
                kill_and_wait(service, f"web-{number // 20}")
            now = counters(service)
            assert_none_went_backwards(last, now)
            last = now
    finally:
        stopped.set()
        for thread in threads:
            thread.join(60)
    assert issued
    # What was issued and not counted, or counted as a retry, is what a killed process had in hand.
    assert abs(enrolments(service, "issued") + enrolments(service, "replayed") - len(issued)) <= 2 * len(threads)


def test_both_formats_are_what_they_say(service: Service) -> None:
    plain = text(service)
    modern = text(service, "application/openmetrics-text; version=1.0.0")
    assert modern.endswith("# EOF\n")
    named = list(parse_openmetrics(modern))  # type: ignore[no-untyped-call]
    assert {"signetry_build", "signetry_crl_margin_seconds", "signetry_enrolments", "signetry_job_seconds"} <= {
        family.name for family in named
    }
    assert 'signetry_crl_margin_seconds{authority="issuing"}' in plain
    assert 'signetry_certificate_not_after_timestamp_seconds{kind="tls",name="listeners"}' in plain
