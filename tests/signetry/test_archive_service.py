"""The archive process as ``signetry serve`` runs it: replaced when it dies, and the only one that has the archive's key."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from audit.log import Actor
from ca.authorisation import PersonId
from people import devices
from people.devices import DeviceFields
from pkcs_import.archive import DeliveryOrder
from pkcs_import.delivery import Method
from pkcs_import.errors import ArchiveUnavailable
from pkcs_import.packing import Encoding
from signetry.archive_client import ArchiveClient
from signetry.archive_keystore import open_archive_keystores
from signetry.house import House
from tests.pkcs_import.archiving import ACTOR, ArchivedPair, curve_keys, pkcs8_of, put
from tests.pkcs_import.recovering import add_person
from tests.signetry.installation import opened

SIGNETRY = Path(sys.executable).with_name("signetry")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass
class World:
    """A running service, with Alice, her phone and her key."""

    house: House
    children: dict[str, int]
    alice: PersonId
    phone: int
    pair: ArchivedPair

    def delivers(self) -> bool:
        """Say whether Alice's key is had as a web process would have it."""
        order = DeliveryOrder(
            person=self.alice,
            device=self.phone,
            method=Method.FILE,
            encoding=Encoding.LEGACY,
            ordered_by="web",
            expires_at=self.house.clock.now() + timedelta(hours=1),
        )
        try:
            delivered = ArchiveClient(self.house.settings, may_start=False).deliver(order, actor=Actor("web"))
        except ArchiveUnavailable:
            return False
        assert delivered.passphrase is not None
        found = load_pkcs12(delivered.files[0].pkcs12, delivered.passphrase.encode()).key
        return pkcs8_of(found) == self.pair.pkcs8  # type: ignore[arg-type] # a curve's


def record(home: Path) -> dict[str, int]:
    children: dict[str, int] = json.loads((home / "run" / "serve.json").read_text())["children"]
    return children


@pytest.fixture
def world(installed_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("PUBLIC", "DEVICE", "ADMIN"):
        monkeypatch.setenv(f"SIGNETRY_{name}_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("SIGNETRY_WORKERS", "1")
    monkeypatch.setenv("SIGNETRY_ARCHIVE__ONLINE", "true")
    with opened() as house, (installed_home / "log").open("wb") as log:
        now = house.clock.now()
        alice = add_person(house.transactions, "alice", now)
        given = DeviceFields(name="phone", owner="alice@example.com")
        phone = house.transactions.write(lambda session: devices.add_device(session, given, actor=ACTOR, now=now)).id
        pair = put(house.transactions, alice, curve_keys(1)[0], now)
        with subprocess.Popen([SIGNETRY, "serve"], stdout=log, stderr=log) as process:
            try:
                until(lambda: process.poll() is not None or ArchiveClient(house.settings, may_start=False).is_listening())
                assert process.poll() is None, (installed_home / "log").read_text()
                yield World(house, record(installed_home), alice, phone, pair)
            finally:
                process.terminate()
                assert process.wait(30) == 0


def memory_of(process: int) -> bytes:
    """Return what a process holds in memory that it may write to."""
    found = []
    with Path(f"/proc/{process}/maps").open() as maps, Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            place, rights, *_ = line.split()
            if not rights.startswith("rw") or "[vvar" in line:
                continue
            begin, end = (int(part, 16) for part in place.split("-"))
            os.lseek(memory.fileno(), begin, os.SEEK_SET)
            try:
                found.append(os.read(memory.fileno(), end - begin))
            except OSError:
                continue
    return b"\0".join(found)


def test_the_service_keeps_it_running(world: World) -> None:
    assert sorted(world.children) == ["archive", "web-0", "worker"]
    assert world.delivers()
    os.kill(world.children["archive"], signal.SIGKILL)
    until(world.delivers)
    replaced = record(world.house.settings.home)
    assert replaced["archive"] != world.children["archive"]
    assert replaced["web-0"] == world.children["web-0"]


def test_no_other_process_of_the_service_has_the_archives_key(world: World) -> None:
    assert world.delivers()
    (store,) = open_archive_keystores(world.house.settings)
    key = store.load("archive-1")
    assert isinstance(key, rsa.RSAPrivateKey)
    prime = key.private_numbers().p
    size = (prime.bit_length() + 7) // 8
    # As it is written, as OpenSSL computes with it, and what opens its file.
    secrets = (
        prime.to_bytes(size, "big"),
        prime.to_bytes(size, "little"),
        world.house.settings.archive.passphrase_file.read_bytes().strip(),
    )
    held = {name: [secret in memory_of(pid) for secret in secrets] for name, pid in world.children.items()}
    # Where it is, it is found.
    assert any(held.pop("archive"))
    assert held == {"web-0": [False] * 3, "worker": [False] * 3}
