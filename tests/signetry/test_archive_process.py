"""The archive process, really started: by a command for itself, and beside the service; what it does and what it does not."""

import gc
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from sqlalchemy import select

from audit.log import Actor
from ca.authorisation import PersonId
from foundation.errors import BadRequest, NotAuthorised
from foundation.tables import table_of
from people import devices, persons
from people.devices import DeviceFields
from people.person import PersonFields
from pkcs_import.archive import Delivered, DeliveryOrder
from pkcs_import.delivery import Method
from pkcs_import.errors import ArchiveUnavailable, DeliveryRefused, UnknownRecovery
from pkcs_import.packing import Encoding
from pkcs_import.records import ArchivedKey, Delivery
from pkcs_import.workshop_messages import ChannelBroken, receive, send
from signetry import archive_client, archive_process
from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest, make
from signetry.archive_client import ArchiveClient
from signetry.archive_socket import connected, listening
from signetry.house import House
from tests.pkcs_import.archiving import ACTOR, ArchivedPair, curve_keys, pkcs8_of, put
from tests.signetry.installation import opened

ASKING = Actor("cli:test")


@dataclass
class World:
    """An installation with Alice, her phone and her two keys."""

    house: House
    alice: PersonId
    phone: int
    pairs: list[ArchivedPair]

    def order(self, **changes: Any) -> DeliveryOrder:  # noqa: ANN401 - DeliveryOrder's
        """Return an order of Alice's keys for her phone, as a file."""
        usual = DeliveryOrder(
            person=self.alice,
            device=self.phone,
            method=Method.FILE,
            encoding=Encoding.MODERN,
            ordered_by=ASKING.name,
            separate=True,
            expires_at=self.house.clock.now() + timedelta(hours=1),
        )
        return replace(usual, **changes)

    def client(self, *, online: bool = False, may_start: bool = False) -> ArchiveClient:
        """Return a client of a command, or of a web process."""
        archive = self.house.settings.archive.model_copy(update={"online": online})
        return ArchiveClient(self.house.settings.model_copy(update={"archive": archive}), may_start=may_start)

    def require_whole(self, delivered: Delivered) -> None:
        """Return if what was delivered are Alice's keys."""
        assert delivered.passphrase is not None
        passphrase = delivered.passphrase.encode()
        found = [load_pkcs12(file.pkcs12, passphrase).key for file in delivered.files]
        assert [pkcs8_of(key) for key in found] == [pair.pkcs8 for pair in reversed(self.pairs)]  # type: ignore[arg-type]

    def deliveries(self) -> int:
        """Return how many are on record."""
        with self.house.transactions.reading() as session:
            return len(session.execute(select(table_of(Delivery).c.id)).all())


@pytest.fixture
def world(installed_home: Path) -> Iterator[World]:  # noqa: ARG001 - the installation it opens
    with opened() as house:
        now = house.clock.now()
        fields = PersonFields(upn="alice@example.com", email="alice@example.com")
        alice = PersonId(house.transactions.write(lambda session: persons.add_person(session, fields, actor=ACTOR, now=now)).id)
        given = DeviceFields(name="phone", owner="alice@example.com")
        phone = house.transactions.write(lambda session: devices.add_device(session, given, actor=ACTOR, now=now)).id
        pairs = [put(house.transactions, alice, key, now, age_in_years=1 - age) for age, key in enumerate(curve_keys(2))]
        yield World(house, alice, phone, pairs)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def beside(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the archive process as the supervisor does; its log is ``log`` in the state directory."""
    command = [sys.executable, "-m", "signetry.archive_process", "--parent", str(os.getpid())]
    with (home / "log").open("ab") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            until(lambda: process.poll() is not None or is_there(home))
            yield process
        finally:
            process.kill()


def is_there(home: Path) -> bool:
    try:
        connected(home).close()
    except OSError:
        return False
    return True


# --- for one command ---


def test_a_command_starts_one_for_itself_that_ends_with_it(world: World) -> None:
    before, client = children(), world.client(may_start=True)
    world.require_whole(client.deliver(world.order(), actor=ASKING))
    (own,) = children() - before
    world.require_whole(client.deliver(world.order(), actor=ASKING))
    assert children() - before == {own}
    # Nobody else can ask it, and nothing secret is among what every user of the machine sees of it.
    assert not is_there(world.house.settings.home)
    assert Path(f"/proc/{own}/cmdline").read_bytes().split(b"\0")[1:4] == [b"-P", b"-m", b"signetry.archive_process"]
    client.close()
    assert children() == before
    assert world.deliveries() == 2
    client.close()


def test_it_ends_with_the_command_that_forgets_it(world: World) -> None:
    before = children()
    world.require_whole(world.client(may_start=True).deliver(world.order(), actor=ASKING))
    gc.collect()
    assert children() == before


def test_a_command_that_is_interrupted_gets_no_answer_of_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.client(may_start=True)

    def interrupted(*_arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archive_client, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.deliver(world.order(separate=False), actor=ASKING)
    world.require_whole(client.deliver(world.order(), actor=ASKING))
    client.close()


def test_a_web_process_starts_none(world: World) -> None:
    before, client = children(), world.client()
    with pytest.raises(ArchiveUnavailable) as refused:
        client.deliver(world.order(), actor=ASKING)
    assert "archive.online" in str(refused.value)
    assert (children(), world.deliveries()) == (before, 0)


def test_what_is_refused_reaches_who_asked(world: World) -> None:
    client = world.client(may_start=True)
    with pytest.raises(DeliveryRefused):
        client.deliver(world.order(device=4711), actor=ASKING)
    with pytest.raises(NotAuthorised):
        client.recover(1, token="stok_1_nonsense")
    world.require_whole(client.deliver(world.order(), actor=ASKING))
    client.close()


def test_a_passphrase_that_is_not_there_is_named(world: World) -> None:
    path = world.house.settings.archive.passphrase_file
    away = path.rename(path.with_name("elsewhere"))
    client = world.client(may_start=True)
    with pytest.raises(BadRequest) as refused:
        client.deliver(world.order(), actor=ASKING)
    assert "archive.passphrase_file" in str(refused.value)
    away.rename(path)
    world.require_whole(client.deliver(world.order(), actor=ASKING))
    client.close()


def test_one_that_was_killed_is_replaced(world: World) -> None:
    before, client = children(), world.client(may_start=True)
    world.require_whole(client.deliver(world.order(), actor=ASKING))
    (own,) = children() - before
    os.kill(own, 9)
    until(lambda: Path(f"/proc/{own}/stat").read_text().split()[2] == "Z")
    world.require_whole(client.deliver(world.order(), actor=ASKING))
    client.close()


def test_recovery_takes_a_token_that_is_looked_at_here(world: World) -> None:
    now = world.house.clock.now()
    fields = PersonFields(upn="olga@example.com", email="olga@example.com")
    world.house.transactions.write(lambda session: persons.add_person(session, fields, actor=ACTOR, now=now))
    request = TokenRequest(role=Role.OFFICER, name="olga", person="olga@example.com")
    token = world.house.transactions.write(lambda session: make(session, world.house, request, administrator="cli:test")).text
    client = world.client(may_start=True)
    with pytest.raises(UnknownRecovery):
        client.recover(1, token=token)
    with pytest.raises(NotAuthorised):
        client.recover(1, token=token[:-1])
    client.close()


# --- beside the service ---


def test_beside_the_service_everybody_of_it_is_answered(world: World) -> None:
    home = world.house.settings.home
    web = world.client(online=True)
    with pytest.raises(ArchiveUnavailable):
        web.deliver(world.order(), actor=ASKING)
    assert not web.is_listening()
    with beside(home):
        assert web.is_listening()
        before = children()
        world.require_whole(web.deliver(world.order(), actor=ASKING))
        command = world.client(online=True, may_start=True)
        world.require_whole(command.deliver(world.order(), actor=ASKING))
        assert children() == before
    with pytest.raises(ArchiveUnavailable):
        web.deliver(world.order(), actor=ASKING)
    world.require_whole(command.deliver(world.order(), actor=ASKING))
    command.close()
    assert world.deliveries() == 3


def test_it_does_two_things_and_nothing_else(world: World) -> None:
    home = world.house.settings.home
    with beside(home), connected(home) as channel:
        channel.settimeout(10)
        others: tuple[dict[str, Any], ...] = (
            {},
            {"rotate": {}},
            {"unwrap": {"id": world.pairs[0].id}},
            {"keys": {}},
            {"deliver": {"person": 1}},
        )
        for message in others:
            send(channel, message)
            assert receive(channel)["refused"]["kind"] == "BadRequest"


def test_who_breaks_the_form_is_cut_off_and_nobody_else(world: World) -> None:
    broken = {
        "too long": struct.pack(">I", (64 << 10) + 1) + b"{}",
        "far too long": struct.pack(">I", 0xFFFFFFFF),
        "no JSON": struct.pack(">I", 4) + b"nope",
        "no object": struct.pack(">I", 2) + b"[]",
        "too deep": struct.pack(">I", 60_000) + b"[" * 60_000,
        "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    }
    home = world.house.settings.home
    with beside(home) as process:
        for sent in broken.values():
            with connected(home) as channel:
                channel.settimeout(5)
                channel.sendall(sent)
                with pytest.raises(ChannelBroken):
                    receive(channel)
        world.require_whole(world.client(online=True).deliver(world.order(), actor=ASKING))
        assert process.poll() is None


def test_who_says_nothing_keeps_nobody_waiting_for_long(world: World) -> None:
    home = world.house.settings.home
    with beside(home):
        silent = [connected(home) for _ in range(3)]
        world.require_whole(world.client(online=True).deliver(world.order(), actor=ASKING))
        for channel in silent:
            channel.settimeout(15)
            # It ends them.
            assert channel.recv(1) == b""
            channel.close()


def trickle(channel: socket.socket) -> None:
    for _ in range(100):
        channel.sendall(b" ")
        time.sleep(0.1)


def test_who_says_little_now_and_then_is_not_heard_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_process, "_ASKING_SECONDS", 0.5)
    archive = cast("archive_process.Archive", None)
    with listening(tmp_path) as listener, ThreadPoolExecutor(1) as executor:
        serving = executor.submit(archive_process.listen, archive, listener)
        with connected(tmp_path) as channel:
            channel.sendall(struct.pack(">I", 1000))
            with pytest.raises(BrokenPipeError):
                trickle(channel)
        listener.shutdown(socket.SHUT_RDWR)
        assert isinstance(serving.exception(10), OSError)


def test_it_stops_when_it_is_told_to(world: World) -> None:
    with beside(world.house.settings.home) as process:
        process.terminate()
        assert process.wait(10) == 0


def test_without_its_keys_it_says_why_and_ends(world: World) -> None:
    home = world.house.settings.home
    world.house.settings.archive.passphrase_file.unlink()
    with beside(home) as process:
        assert process.wait(20) == 1
    log = (home / "log").read_text()
    assert "archive.passphrase_file" in log
    assert "Traceback" not in log


def test_nothing_secret_is_in_its_log(world: World) -> None:
    home = world.house.settings.home
    with beside(home):
        client = world.client(online=True)
        delivered = client.deliver(world.order(), actor=ASKING)
        with pytest.raises(DeliveryRefused):
            client.deliver(world.order(device=4711), actor=ASKING)
        with pytest.raises(NotAuthorised):
            client.recover(1, token="stok_1_canary")
    log = (home / "log").read_text()
    assert "refused" in log
    assert "canary" not in log
    assert delivered.passphrase is not None
    assert delivered.passphrase not in log


def test_a_private_key_is_nowhere_but_under_its_seal(world: World) -> None:
    with world.house.transactions.reading() as session:
        rows = session.execute(select(table_of(ArchivedKey))).all()
    assert len(rows) == 2
    stored = (world.house.settings.home / "signetry.db").read_bytes()
    for pair in world.pairs:
        scalar = pair.key.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
        assert scalar not in stored


def test_others_cannot_look_into_its_memory() -> None:
    code = (
        "import ctypes, pathlib\n"
        "from signetry.archive_process import keep_memory_to_oneself\n"
        "keep_memory_to_oneself()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
        "print(next(line for line in pathlib.Path('/proc/self/limits').read_text().splitlines() if 'core' in line))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    dumpable, core = done.stdout.splitlines()
    assert (dumpable, core.split()[4:6]) == ("0", ["0", "0"])
