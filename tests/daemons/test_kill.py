"""Kill -9 at random points of a stream of enrolments: nothing is lost, nothing is doubled, nobody has to repair anything."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import create_engine, text

from scep.client import EnrolmentRefused, ScepClient, ServerMisbehaved, ServerUnreachable, build_csr
from tests.daemons.service import Service, eventually, serving

KILLS = 30
_CLIENTS = 4
_PAUSE_SECONDS = 0.02


class Stream:
    """Clients that enrol without pause, each repeating its request until it is answered."""

    def __init__(self, service: Service, challenges: list[str]) -> None:
        self._service = service
        self._challenges = iter(challenges)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.held: list[bytes] = []
        self.refusals: list[str] = []
        self._threads = [threading.Thread(target=self._enrol_on) for _ in range(_CLIENTS)]

    def _enrol_on(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        while not self._stopped.is_set():
            with self._lock:
                challenge = next(self._challenges)
            self._enrol(key, challenge)
            time.sleep(_PAUSE_SECONDS)

    def _enrol(self, key: rsa.RSAPrivateKey, challenge: str) -> None:
        csr = build_csr(key, "a device", challenge)
        while True:
            try:
                with ScepClient(self._service.scep) as client:
                    identity = client.enrol(client.ca_certificates(), key, csr)
            except (ServerUnreachable, ServerMisbehaved):
                # Half an answer is no answer: the same request again, as a client would.
                time.sleep(_PAUSE_SECONDS)
                continue
            except EnrolmentRefused as refusal:
                self.refusals.append(str(refusal))
                return
            self.held.append(identity.certificate.public_bytes(Encoding.DER))
            return

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the clients enrol while the block runs, and finish what they have begun after it."""
        for thread in self._threads:
            thread.start()
        yield
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client never got an answer"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of this test's own, with an issuing CA that signs quickly: more happens between two kills."""
    with serving(tmp_path / "home", "--ca-key", "p256") as running:
        yield running


@pytest.fixture
def stream(service: Service) -> Stream:
    """Clients with more challenges than they can spend."""
    service.add_person()
    minted = service.signetry("challenge", "create", "--upn", "alice@example.com", "--count", "10000", "--ttl", "2h")
    return Stream(service, minted.split())


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def assert_nothing_lost_or_doubled(service: Service, stream: Stream) -> None:
    assert stream.refusals == []
    assert len(stream.held) > KILLS
    engine = create_engine(f"sqlite:///{service.home}/signetry.db")
    with engine.connect() as connection:
        recorded = [bytes(der) for (der,) in connection.execute(text("SELECT der FROM certificate WHERE person_id IS NOT NULL"))]
        serials = connection.execute(text("SELECT serial FROM certificate")).scalars().all()
        spent = (
            connection.execute(
                text("SELECT certificate_id FROM scep_challenge WHERE redeemed_at IS NOT NULL"),
            )
            .scalars()
            .all()
        )
    engine.dispose()
    assert set(stream.held) <= set(recorded), "a client holds a certificate that is not recorded"
    assert len(set(stream.held)) == len(stream.held), "two requests got the same certificate"
    assert len(set(serials)) == len(serials)
    # Every challenge bought one certificate, and every certificate cost one challenge.
    assert len(set(spent)) == len(spent) == len(recorded)


def test_killing_web_processes_loses_nothing_and_they_come_back(service: Service, stream: Stream) -> None:
    choice = random.Random(1)
    with stream.running():
        for _ in range(KILLS):
            time.sleep(choice.uniform(0.05, 0.5))
            name = choice.choice(["web-0", "web-1"])
            victim = service.children()[name]
            kill(victim)
            eventually(lambda name=name, victim=victim: service.children()[name] != victim, message=f"{name} did not come back")
    assert_nothing_lost_or_doubled(service, stream)


def test_killing_the_worker_delays_crls_and_nothing_else(service: Service, stream: Stream) -> None:
    choice = random.Random(2)
    revoked: list[str] = []
    with stream.running():
        for number in range(KILLS):
            time.sleep(choice.uniform(0.05, 0.3))
            if number % 10 == 0:
                serial = service.json("cert", "list", "--upn", "alice@example.com", "--status", "good", "--limit", "1")[0][
                    "serial"
                ]
                service.signetry("cert", "revoke", serial, "--reason", "superseded")
                revoked.append(serial)
            victim = service.children()["worker"]
            kill(victim)
            eventually(lambda victim=victim: service.children()["worker"] != victim, message="the worker did not come back")
    assert_nothing_lost_or_doubled(service, stream)

    def all_listed() -> bool:
        entries = service.json("crl", "show", "issuing", "--entries")
        return all(serial in str(entries) for serial in revoked)

    # A lease that its worker did not live to settle lapses after 30 seconds.
    eventually(all_listed, seconds=60, message="a revocation never reached the CRL")


def test_killing_everything_needs_no_repair(service: Service, stream: Stream) -> None:
    choice = random.Random(3)
    with stream.running():
        for _ in range(KILLS):
            time.sleep(choice.uniform(0.1, 0.6))
            children = service.children()
            service.kill_everything()
            for pid in children.values():
                eventually(lambda pid=pid: not alive(pid), seconds=5, message="a child outlived its supervisor")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", service.port))
            service.start()
    assert_nothing_lost_or_doubled(service, stream)


def test_killing_the_supervisor_alone_ends_its_children(service: Service) -> None:
    children = service.children()
    assert service.process is not None
    kill(service.process.pid)
    service.process.wait()
    for pid in children.values():
        eventually(lambda pid=pid: not alive(pid), seconds=5, message="a child outlived its supervisor")
    service.start()


def alive(pid: int) -> bool:
    """Say whether a process runs; one that is dead and not yet buried does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
