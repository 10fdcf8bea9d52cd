"""Kill -9 at random points of a stream of enrolments: nothing is lost, nothing is doubled, nobody has to repair anything."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import create_engine, text

from scep.client import ScepClient, build_csr
from scep.errors import EnrolmentRefused, ServerMisbehaved, ServerUnreachable
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
        # Set when a test has failed, and nobody cares for the answers any more.
        self._abandoned = threading.Event()
        self.held: list[bytes] = []
        self.refusals: list[str] = []
        self._threads = [threading.Thread(target=self._enrol_on, daemon=True) for _ in range(_CLIENTS)]

    def _enrol_on(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        while not self._stopped.is_set():
            with self._lock:
                challenge = next(self._challenges)
            self._enrol(key, challenge)
            time.sleep(_PAUSE_SECONDS)

    def _enrol(self, key: rsa.RSAPrivateKey, challenge: str) -> None:
        csr = build_csr(key, "a device", challenge)
        while not self._abandoned.is_set():
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
        try:
            yield
        except BaseException:
            self._abandoned.set()
            raise
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a client never got an answer"


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


def replaced(service: Service, victims: Mapping[str, int]) -> bool:
    """Say whether every child runs, and none of ``victims`` is among them."""
    children = service.children()
    return len(children) == 3 and all(children[name] != pid for name, pid in victims.items())


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


def test_killing_web_processes_and_the_worker_loses_nothing_and_they_come_back(service: Service, stream: Stream) -> None:
    choice = random.Random(1)
    revoked: list[str] = []
    with stream.running():
        for number in range(KILLS):
            if number % 10 == 0:
                # The CRL this makes due falls into the middle of the killing.
                serial = service.json("cert", "list", "--upn", "alice@example.com", "--status", "good", "--limit", "1")[0][
                    "serial"
                ]
                service.signetry("cert", "revoke", serial, "--reason", "superseded")
                revoked.append(serial)
            victims = {name: service.children()[name] for name in (choice.choice(["web-0", "web-1"]), "worker")}
            for victim in victims.values():
                time.sleep(choice.uniform(0.02, 0.3))
                kill(victim)
            eventually(lambda victims=victims: replaced(service, victims), message=f"one of {victims} did not come back")
    assert_nothing_lost_or_doubled(service, stream)

    def all_listed() -> bool:
        entries = str(service.json("crl", "show", "issuing", "--entries"))
        return all(serial in entries for serial in revoked)

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
            eventually(lambda: is_free(service.port), seconds=2, message="an orphan holds the port")
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


def is_free(port: int) -> bool:
    """Say whether a server could listen on ``port``; the threads of a killed process take a moment to let go of it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
