"""``signetry archive rotate`` in real processes: killed anywhere, it goes on where it stopped."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from ca.authorisation import PersonId
from ca.keys import KeyAlgorithm
from foundation.tables import table_of
from people import persons
from people.person import PersonFields
from pkcs_import import rotation
from pkcs_import.opening import Opener, sealed_records
from pkcs_import.records import ArchivedKey, ArchiveKey
from signetry.administration import archive
from signetry.archive_keystore import open_archive_keystores
from signetry.house import House
from tests.pkcs_import.archiving import ACTOR, curve_keys, make_archive_key, pkcs8_of, put
from tests.signetry.installation import Commands, opened

KEYS = table_of(ArchivedKey)
MANY = 700


@pytest.fixture
def house(installed_home: Path) -> Iterator[House]:  # noqa: ARG001 - the installation it opens
    with opened() as house:
        yield house


def fill(house: House, count: int) -> dict[int, bytes]:
    """Put keys of one person into the archive; return them by number. One private key serves many: they are sealed apart."""
    now = house.clock.now()
    fields = PersonFields(upn="alice@example.com", email="alice@example.com")
    person = PersonId(house.transactions.write(lambda session: persons.add_person(session, fields, actor=ACTOR, now=now)).id)
    kept = {}
    for key in curve_keys(min(count, 20)):
        kept[put(house.transactions, person, key, now).id] = pkcs8_of(key)
    return kept


def multiply(house: House, count: int) -> None:
    """Copy the first row until there are ``count``: whether a seal opens is for others to test."""
    with house.transactions.reading() as session:
        row = session.execute(select(KEYS).limit(1)).one()._asdict()
        there = session.execute(select(func.count()).select_from(KEYS)).scalar_one()
    del row["id"]
    copies = [row | {"uid": f"{number:032x}", "spki_sha256": f"{number:064x}"} for number in range(count - there)]
    house.transactions.write(lambda session: session.execute(KEYS.insert(), copies))


def left(house: House) -> int:
    with house.transactions.reading() as session:
        return rotation.left_to_rewrap(session)


def opens(house: House, kept: dict[int, bytes]) -> bool:
    with house.transactions.reading() as session:
        records = sealed_records(session, list(kept))
    opener = Opener(open_archive_keystores(house.settings))
    try:
        return all(opener.open(records[number]) == pkcs8 for number, pkcs8 in kept.items())
    finally:
        opener.close()


def test_everything_is_wrapped_to_a_new_key(house: House, commands: Commands) -> None:
    kept = fill(house, 5)
    would = commands.json("archive", "rotate", "--dry-run")
    assert would == {"key": "", "created": True, "rewrapped": 5, "broken": [], "retired": ["archive-1"]}
    assert [key.reference for key in archive.status(house).keys] == ["archive-1"]
    done = commands.json("archive", "rotate")
    assert done == {"key": "archive-2", "created": True, "rewrapped": 5, "broken": [], "retired": ["archive-1"]}
    newest, oldest = archive.status(house).keys
    assert (newest.reference, newest.sealed, oldest.sealed) == ("archive-2", 5, 0)
    assert oldest.retired_at is not None
    assert opens(house, kept)
    (house.settings.home / "archive-keys" / "archive-1.key").unlink()
    assert opens(house, kept)


def test_killed_anywhere_it_goes_on_and_loses_nothing(house: House, commands: Commands) -> None:
    kept = fill(house, 20)
    multiply(house, MANY)
    make_archive_key(
        house.transactions, open_archive_keystores(house.settings)[0], "archive-2", house.clock.now(), KeyAlgorithm.P256
    )
    command = [sys.executable, "-m", "signetry.archive_rotation", "--actor", "cli:test", "--parent", str(os.getpid())]
    told = []
    for lines in (2, 3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            told.append([json.loads(process.stdout.readline()) for _ in range(lines)])
            process.kill()
    assert told[0][0] == {"done": 0, "total": MANY}
    # The second went on where the first had stopped.
    assert 0 < told[1][0]["total"] <= MANY - 100
    assert 0 < left(house) < told[1][0]["total"]
    assert opens(house, kept)
    waiting = left(house)
    assert commands.json("archive", "status")["left"] == waiting
    would = commands.json("archive", "rotate", "--dry-run")
    assert (would["key"], would["created"], would["rewrapped"]) == ("archive-2", False, waiting)
    done = commands.json("archive", "rotate")
    assert (done["key"], done["created"], done["rewrapped"]) == ("archive-2", False, waiting)
    assert (done["retired"], left(house)) == (["archive-1"], 0)
    assert opens(house, kept)


def test_a_broken_seal_stays_where_it_is_and_is_told(house: House, commands: Commands) -> None:
    kept = fill(house, 3)
    broken = min(kept)
    house.transactions.write(
        lambda session: session.execute(update(KEYS).where(KEYS.c.id == broken).values(wrapped_key=b"damaged"))
    )
    done = commands.run("archive", "rotate", "--json")
    assert done.status == 1
    assert (done.document["rewrapped"], done.document["broken"], done.document["retired"]) == (2, [broken], [])
    # Once more it makes no further key: the one before is still needed.
    again = commands.run("archive", "rotate", "--json")
    assert (again.status, again.document["key"], again.document["created"]) == (1, "archive-2", False)


def test_without_the_old_key_it_says_so(house: House, commands: Commands) -> None:
    fill(house, 2)
    (house.settings.home / "archive-keys" / "archive-1.key").unlink()
    assert commands.refused("archive", "rotate") == "signetry: there is no key 'archive-1'"
    assert left(house) == 2


def test_there_must_be_a_key_to_replace(house: House, commands: Commands) -> None:
    house.transactions.write(lambda session: session.execute(table_of(ArchiveKey).delete()))
    assert "signetry archive create" in commands.refused("archive", "rotate")
