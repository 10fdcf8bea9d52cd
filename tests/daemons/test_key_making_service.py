"""Keys that a running service makes: what is left of them anywhere, and what a kill leaves of an order for many."""

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from sqlalchemy import select
from sqlmodel import Session, col

from people.groups import add_group, add_member
from people.person import PersonFields
from people.persons import add_person
from pkcs_import.opening import Opener, sealed_records
from pkcs_import.records import ArchivedKey
from signetry.archive_keystore import open_archive_keystores
from signetry.house import House
from tests.daemons.service import Service
from tests.daemons.test_pfx_import import administrator, holds_any, memory_of, patterns
from tests.signetry import installation

PERSONS = 16
_KILLS = 4


@contextmanager
def house_of(service: Service) -> Iterator[House]:
    """Open the service's installation in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in service.environment.items():
            if name.startswith("SIGNETRY_"):
                patch.setenv(name, value)
        with installation.opened() as house:
            yield house


def recorded(service: Service, count: int) -> None:
    """Record so many persons, all of them in the group everybody."""

    def act(session: Session) -> None:
        now = house.clock.now()
        add_group(session, "everybody", actor=house.actor, now=now)
        for number in range(count):
            address = f"p{number:02}@example.com"
            person = add_person(session, PersonFields(upn=address, email=address), actor=house.actor, now=now)
            add_member(session, "everybody", person.id, actor=house.actor, now=now)

    with house_of(service) as house:
        house.transactions.write(act)


def opened(service: Service) -> list[Any]:
    """Return the private keys in the archive: what only the archive's key can do."""
    with house_of(service) as house:
        opener = Opener(open_archive_keystores(house.settings))
        with house.transactions.reading() as session:
            records = sealed_records(session, list(session.scalars(select(col(ArchivedKey.id)))))
        keys = [load_der_private_key(opener.open(record), None) for record in records.values()]
        opener.close()
    return keys


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    """A service that makes RSA keys, with everything in its log, and a few persons."""
    service = Service(tmp_path / "home")
    service.environment |= {"SIGNETRY_LOG_LEVEL": "debug", "SIGNETRY_ARCHIVE__MADE_KEY_ALGORITHM": "rsa2048"}
    service.init("--ca-key", "p256")
    recorded(service, 6)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def test_of_the_keys_it_makes_nothing_is_left_in_database_logs_and_memory(served: Service, tmp_path: Path) -> None:
    with administrator(served) as client:
        assert client.post("/encryption-keys", json={"person": "p00@example.com"}).json()["outcome"] == "issued"
        made = client.post("/encryption-keys/group", json={"group": "everybody"}).json()["items"]
        assert [each["outcome"] for each in made] == ["present"] + ["issued"] * 5
    assert served.process is not None
    memories = {
        name: memory_of(process_id, tmp_path / f"memory-{process_id}")
        for name, process_id in {**served.children(), "supervisor": served.process.pid}.items()
    }
    keys = opened(served)
    assert len(keys) == 6
    numbers = [key.private_numbers() for key in keys]
    secrets = [
        value.to_bytes(length, "big") for each in numbers for value, length in ((each.p, 128), (each.q, 128), (each.d, 256))
    ]
    private = tmp_path / "private"
    private.write_bytes(patterns(secrets))
    # Found where they are.
    assert holds_any(memory_of(os.getpid(), tmp_path / "own"), private)
    for name, memory in memories.items():
        assert not holds_any(memory, private), name
    files = [path for path in served.home.rglob("*") if path.is_file()]
    assert {"signetry.db", "serve.log"} <= {path.name for path in files}
    for path in files:
        assert not holds_any(path, private), path


@pytest.mark.timeout(300)
def test_an_order_for_many_that_is_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    service.environment["SIGNETRY_ARCHIVE__MADE_KEY_ALGORITHM"] = "rsa2048"
    service.init("--ca-key", "p256")
    recorded(service, PERSONS)
    choice = random.Random(7)
    for _ in range(_KILLS):
        process = subprocess.Popen(
            ["signetry", "pfx", "issue", "--group", "everybody"],
            env=service.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(1.0 + choice.random())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    views = service.json("pfx", "issue", "--group", "everybody")
    assert {each["outcome"] for each in views} <= {"issued", "present"}
    with closing(sqlite3.connect(service.home / "signetry.db")) as database:
        per_person = "SELECT person_id, count(*) FROM {} WHERE person_id IS NOT NULL GROUP BY person_id"
        for table in ("archived_key", "archived_certificate", "certificate"):
            counts = dict(database.execute(per_person.format(table)).fetchall())
            assert (len(counts), set(counts.values())) == (PERSONS, {1}), table
    assert len(opened(service)) == PERSONS
