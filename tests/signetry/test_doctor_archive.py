"""What ``signetry doctor`` finds about the key archive."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from signetry.doctor.archive import key_archive
from signetry.doctor.findings import Finding
from signetry.house import House
from signetry.settings import load_settings
from tests.pkcs_import.archiving import KeysInMemory, curve_keys, make_archive_key, put
from tests.pkcs_import.recovering import add_person
from tests.signetry.installation import opened


@pytest.fixture
def house(installed_home: Path) -> Iterator[House]:  # noqa: ARG001 - the installation it opens
    with opened() as house:
        yield house


def only(house: House) -> Finding:
    (found,) = key_archive(house)
    return found


def setting(house: House, **archive: Any) -> House:  # noqa: ANN401 - settings
    return replace(house, settings=load_settings(archive=archive))


def seal_one(house: House) -> None:
    now = house.clock.now()
    put(house.transactions, add_person(house.transactions, "alice", now), curve_keys(1)[0], now)


def test_a_good_archive_is_told_in_a_line(house: House) -> None:
    seal_one(house)
    assert only(house) == Finding("archive", "ok", "1 private keys, sealed to archive-1 in files")


def test_no_key_at_all(house: House) -> None:
    def forget(session: Session) -> None:
        session.connection().exec_driver_sql("DELETE FROM archive_key")

    house.transactions.write(forget)
    found = only(house)
    assert (found.severity, found.advice) == ("warning", "run signetry archive create")


def test_a_process_that_should_be_online_and_is_not(house: House) -> None:
    found = only(setting(house, online=True))
    assert found.severity == "warning"
    assert "does not answer" in found.finding


def test_a_passphrase_that_is_not_there_matters_where_the_process_is_online(house: House) -> None:
    house.settings.archive.passphrase_file.unlink()
    assert only(house).severity == "ok"
    assert [found.severity for found in key_archive(setting(house, online=True))] == ["warning", "error"]


def test_a_key_file_that_something_is_sealed_to_and_that_is_gone(house: House) -> None:
    seal_one(house)
    (house.settings.home / "archive-keys" / "archive-1.key").unlink()
    found = only(house)
    assert found.severity == "error"
    assert "archive-1.key is missing: 1 private keys" in found.finding


def test_keys_that_are_on_another_machine_are_not_missed(house: House) -> None:
    seal_one(house)
    (house.settings.home / "archive-keys" / "archive-1.key").unlink()
    (house.settings.home / "archive-keys").rmdir()
    house.settings.archive.passphrase_file.unlink()
    assert only(house).severity == "ok"


def test_a_rotation_that_was_broken_off(house: House) -> None:
    seal_one(house)
    make_archive_key(house.transactions, KeysInMemory(), "archive-2", house.clock.now())
    (house.settings.home / "archive-keys" / "archive-2.key").touch()
    found = only(house)
    assert (found.severity, found.advice) == ("warning", "signetry archive rotate goes on where it stopped")


def test_a_token_that_web_processes_log_in_to(house: House) -> None:
    token = {"module": "/m.so", "token": "hsm", "pin_file": "/pin"}
    shared = load_settings(pkcs11=token, archive={"pkcs11": {**token, "pin_file": "/another"}})
    found = only(replace(house, settings=shared))
    assert found.severity == "warning"
    assert "the authorities' keys, too" in found.finding
    apart = load_settings(pkcs11=token, archive={"pkcs11": {**token, "token": "archive"}})
    assert only(replace(house, settings=apart)).severity == "ok"


def test_a_key_file_that_is_gone_before_anything_was_sealed_to_it(house: House) -> None:
    (house.settings.home / "archive-keys" / "archive-1.key").unlink()
    found = only(house)
    assert found.severity == "error"
    assert "from now on" in found.finding
