"""Where the archive's keys are: files under a passphrase of their own, or a token of their own (SoftHSM 2)."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from ca.errors import KeyUnavailable
from ca.keys import FileKeyStore, KeyAlgorithm
from pkcs_import.archive_keys import open_archive_key
from pkcs_import.opening import Opener, sealed_records
from signetry.administration import archive
from signetry.archive_keystore import ensure_archive_passphrase, open_archive_keystores
from signetry.errors import ConfigurationError
from signetry.house import House
from signetry.settings import Settings, load_settings
from tests.pkcs_import.archiving import ArchivedPair, curve_keys, put
from tests.pkcs_import.recovering import add_person
from tests.signetry.installation import Commands, opened
from tests.softhsm import LABEL, MODULE, SoftHsm


@pytest.fixture
def house(installed_home: Path) -> Iterator[House]:  # noqa: ARG001 - the installation it opens
    with opened() as house:
        yield house


def with_token(softhsm: SoftHsm, **more: Any) -> Settings:  # noqa: ANN401 - settings
    """Return the settings with the archive's keys in a token, as the file would have them."""
    pkcs11 = {"module": str(MODULE), "token": LABEL, "pin_file": str(softhsm.pin_file)}
    return load_settings(archive={"pkcs11": pkcs11, "key_algorithm": "rsa2048", **more})


def configure(home: Path, softhsm: SoftHsm) -> None:
    """Write the same into the settings file, for processes."""
    with (home / "signetry.toml").open("a") as file:
        file.write(
            f'\n[archive]\nkey_algorithm = "rsa2048"\n\n[archive.pkcs11]\nmodule = "{MODULE}"\n'
            f'token = "{LABEL}"\npin_file = "{softhsm.pin_file}"\n'
        )


def pairs_of(house: House, count: int) -> list[ArchivedPair]:
    person = add_person(house.transactions, "alice", house.clock.now())
    return [put(house.transactions, person, key, house.clock.now()) for key in curve_keys(count)]


def opens(house: House, settings: Settings, pairs: list[ArchivedPair]) -> bool:
    with house.transactions.reading() as session:
        records = sealed_records(session, [pair.id for pair in pairs])
    opener = Opener(open_archive_keystores(settings))
    try:
        return all(opener.open(records[pair.id]) == pair.pkcs8 for pair in pairs)
    finally:
        opener.close()


def test_an_installation_is_made_with_an_archive_key_in_a_file_of_its_own(house: House) -> None:
    home = house.settings.home
    (key,) = (home / "archive-keys").iterdir()
    assert (key.name, stat.S_IMODE(key.stat().st_mode)) == ("archive-1.key", 0o600)
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    passphrase = house.settings.archive.passphrase_file
    assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
    # The authorities' passphrase, which web processes have, does not open it.
    authorities = house.settings.key_passphrase_file.read_bytes().strip()
    assert passphrase.read_bytes().strip() != authorities
    with pytest.raises(KeyUnavailable):
        FileKeyStore(home / "archive-keys", authorities).load("archive-1")
    assert opens(house, house.settings, pairs_of(house, 2))


def test_the_key_store_of_the_authorities_has_no_archive_key(house: House) -> None:
    assert not house.keystore.exists("archive-1")
    assert not any("archive" in path.name for path in (house.settings.home / "keys").iterdir())


def test_another_passphrase_is_not_made_up_where_there_are_keys(house: House) -> None:
    house.settings.archive.passphrase_file.unlink()
    with pytest.raises(ConfigurationError) as refused:
        ensure_archive_passphrase(house.settings)
    assert "restore it" in str(refused.value)
    with pytest.raises(ConfigurationError):
        open_archive_keystores(house.settings)


def test_a_passphrase_that_everybody_can_read_is_refused(house: House) -> None:
    house.settings.archive.passphrase_file.chmod(0o644)
    with pytest.raises(ConfigurationError):
        open_archive_keystores(house.settings)


def test_keys_in_a_token_seal_and_open(house: House, softhsm: SoftHsm) -> None:  # noqa: ARG001 - an installation
    settings = with_token(softhsm)
    ensure_archive_passphrase(settings)
    token, files = open_archive_keystores(settings)
    key = open_archive_key(token, "archive-2", KeyAlgorithm.RSA2048)
    assert not files.exists("archive-2")
    with pytest.raises(Exception, match="never leaves its token"):
        key.private_numbers()
    for store in (token, files):
        store.close()


def test_the_archive_moves_into_a_token(house: House, softhsm: SoftHsm, commands: Commands) -> None:
    pairs = pairs_of(house, 3)
    configure(house.settings.home, softhsm)
    done = commands.json("archive", "rotate")
    assert (done["key"], done["rewrapped"], done["retired"]) == ("archive-2", 3, ["archive-1"])
    assert "archive-2" in softhsm.pkcs11_tool("--list-objects", "--type", "privkey")
    settings = load_settings()
    # Neither the former key nor its passphrase is needed for what was moved.
    settings.archive.passphrase_file.unlink()
    (settings.home / "archive-keys" / "archive-1.key").unlink()
    assert opens(house, settings, pairs)
    shown = commands.json("archive", "status")
    assert (shown["kept_in"], shown["left"]) == (f"the token '{LABEL}'", 0)
    # And on to another key in the token, as any rotation goes.
    assert commands.json("archive", "rotate")["key"] == "archive-3"
    assert opens(house, settings, pairs)


def test_a_token_that_is_away_opens_nothing(house: House, softhsm: SoftHsm, commands: Commands) -> None:
    pairs = pairs_of(house, 1)
    configure(house.settings.home, softhsm)
    commands.json("archive", "rotate")
    softhsm.take_away()
    with pytest.raises(KeyUnavailable):
        opens(house, load_settings(), pairs)
    softhsm.bring_back()
    assert opens(house, load_settings(), pairs)


def test_an_archive_key_in_a_token_is_of_rsa(house: House, softhsm: SoftHsm) -> None:  # noqa: ARG001 - an installation
    with pytest.raises(ConfigurationError) as refused:
        with_token(softhsm, key_algorithm="p256")
    assert "archive" in str(refused.value)
    assert "of RSA" in str(refused.value)


def test_an_installation_of_before_gets_its_key_by_a_command(house: House, commands: Commands) -> None:
    def forget(session: Session) -> None:
        session.connection().exec_driver_sql("DELETE FROM archive_key")

    house.transactions.write(forget)
    home = house.settings.home
    (home / "archive-keys" / "archive-1.key").unlink()
    house.settings.archive.passphrase_file.unlink()
    assert commands.json("archive", "status")["keys"] == []
    first = commands.json("archive", "create")
    assert (first["reference"], first["created"]) == ("archive-1", True)
    assert commands.json("archive", "create") == {**first, "created": False}
    assert opens(house, load_settings(), pairs_of(house, 1))


def test_a_key_that_an_interrupted_attempt_left_is_taken_up(house: House) -> None:
    (files,) = open_archive_keystores(house.settings)
    left = open_archive_key(files, "archive-2", KeyAlgorithm.RSA3072).public_key()
    archive.rotate(house, dry_run=False)
    assert files.load("archive-2").public_key() == left
    assert [key.reference for key in archive.status(house).keys] == ["archive-2", "archive-1"]
