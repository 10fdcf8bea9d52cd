"""Keys on their way to a phone: kill -9 at any moment loses no link that somebody has, and gives nothing out twice."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from sqlmodel import Session, select, update

from foundation.tables import table_of
from pkcs_import.delivery import State
from pkcs_import.records import DeliveredKey, Delivery
from signetry.house import House
from tests.daemons.service import Service, eventually, serving
from tests.signetry.archived import archive_history
from tests.signetry.installation import opened

ALICE = "alice@example.com"
ORDER = ("pfx", "deliver", "link", "--upn", ALICE, "--device", "phone", "--for", "other", "--json")
KILLED_ORDERS = 4
KILLED_FETCHES = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with everything in its log, Alice's phone, and two keys of hers in the archive."""
    with serving(tmp_path_factory.mktemp("delivery") / "home", "--ca-key", "p256") as service:
        service.stop()
        service.environment["SIGNETRY_LOG_LEVEL"] = "debug"
        service.add_person()
        service.signetry("device", "add", "phone", "--owner", ALICE)
        with house_of(service) as house:
            archive_history(house, ALICE, [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)])
        service.start()
        yield service


@contextmanager
def house_of(service: Service) -> Iterator[House]:
    """Open the service's installation beside it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in service.environment.items():
            if name.startswith("SIGNETRY_"):
                patch.setenv(name, value)
        with opened() as house:
            yield house


def records(service: Service) -> list[tuple[Delivery, int]]:
    """Return the deliveries on record, each with the number of its keys."""
    with house_of(service) as house, house.transactions.reading() as session:
        keys = [key.delivery_id for key in session.exec(select(DeliveredKey))]
        found = [(delivery, keys.count(delivery.id or 0)) for delivery in session.exec(select(Delivery))]
        session.expunge_all()
        return found


def curl(service: Service, link: str, out: Path, *options: str) -> int:
    """Ask for a link; return the status, 0 where there was no answer."""
    command = ["curl", "-sS", "--max-time", "10", "--cacert", str(service.home / "tls" / "root.pem"), "-w", "%{http_code}"]
    done = subprocess.run([*command, "-o", str(out), *options, link], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def fetch(service: Service, link: str, out: Path) -> int:
    return curl(service, link, out, "-X", "POST")


def restart(service: Service) -> None:
    service.kill_everything()
    service.start()


def test_a_link_survives_what_kills_the_service_and_works_once(served: Service, tmp_path: Path) -> None:
    ordered = served.json(*ORDER[:-1])
    restart(served)
    assert curl(served, ordered["link"], tmp_path / "page") == 200
    assert "phone: 2" in (tmp_path / "page").read_text()
    assert fetch(served, ordered["link"], tmp_path / "keys") == 200
    assert pkcs12.load_pkcs12((tmp_path / "keys").read_bytes(), ordered["passphrase"].encode()).key is not None
    restart(served)
    assert fetch(served, ordered["link"], tmp_path / "again") == 404


def test_an_order_that_is_killed_leaves_a_whole_delivery_or_none(served: Service) -> None:
    lengths = random.Random(20261122)
    for _ in range(KILLED_ORDERS):
        process = subprocess.Popen(["signetry", *ORDER], env=served.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(lengths.uniform(0.5, 4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ordered = served.json(*ORDER[:-1])
    found = records(served)
    assert {keys for _, keys in found} == {2}
    # Whose passphrase nobody has seen leads nowhere any more.
    (ready,) = [delivery for delivery, _ in found if delivery.state == State.READY]
    assert ready.id == ordered["id"]
    for delivery, _ in found:
        assert (delivery.package is not None) == (delivery.token_digest is not None) == (delivery is ready)


def test_a_fetch_that_is_killed_gives_nothing_out_twice(served: Service, tmp_path: Path) -> None:
    for number in range(KILLED_FETCHES):
        ordered = served.json(*ORDER[:-1])
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda n=n: answers.append(fetch(served, ordered["link"], tmp_path / f"{number}-{n}")))  # noqa: B023 - joined before the next
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.02 * number)
        restart(served)
        for thread in threads:
            thread.join(30)
        (state,) = [delivery.state for delivery, _ in records(served) if delivery.id == ordered["id"]]
        # Committed before it is released: who has the file is on record, and the link is used up.
        assert answers.count(200) <= (state == State.FETCHED), answers
        assert fetch(served, ordered["link"], tmp_path / "late") == (404 if state == State.FETCHED else 200)


def test_what_nobody_fetched_in_time_is_thrown_away_by_the_worker(served: Service, tmp_path: Path) -> None:
    ordered = served.json(*ORDER[:-1])

    def end(session: Session) -> None:
        table = table_of(Delivery)
        session.execute(update(table).where(table.c.id == ordered["id"]).values(expires_at=datetime.now(UTC)))

    with house_of(served) as house:
        house.transactions.write(end)

    def is_over() -> bool:
        return any(delivery.id == ordered["id"] and delivery.state == State.EXPIRED for delivery, _ in records(served))

    eventually(is_over, seconds=30)
    (package,) = [delivery.package for delivery, _ in records(served) if delivery.id == ordered["id"]]
    assert package is None
    assert fetch(served, ordered["link"], tmp_path / "late") == 404


def test_neither_token_nor_passphrase_is_in_the_log_or_anywhere_on_disk(served: Service, tmp_path: Path) -> None:
    ordered = served.json(*ORDER[:-1])
    token = ordered["link"].partition("token=")[2]
    assert curl(served, ordered["link"], tmp_path / "page") == 200
    assert fetch(served, ordered["link"], tmp_path / "keys") == 200
    assert '"path": "/keys"' in served.log or '"path":"/keys"' in served.log
    for path in served.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert token.encode() not in content, path
            assert ordered["passphrase"].encode() not in content, path
