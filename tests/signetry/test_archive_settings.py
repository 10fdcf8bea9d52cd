"""The section ``[archive]``: what is there without it, and what is refused."""

from pathlib import Path

import pytest

from ca.keys import KeyAlgorithm
from pkcs_import.delivery import Method
from pkcs_import.purpose import Concern
from signetry.errors import ConfigurationError
from signetry.settings import load_settings


def write(home: Path, text: str) -> None:
    home.mkdir()
    (home / "signetry.toml").write_text(text)


def test_without_the_section_the_key_is_a_file_and_nothing_is_online(empty_home: Path) -> None:
    archive = load_settings().archive
    assert archive.passphrase_file == empty_home / "secrets" / "archive-passphrase"
    assert (archive.key_algorithm, archive.online, archive.pkcs11.is_configured) == (KeyAlgorithm.RSA3072, False, False)
    assert (archive.refuse_concerns, archive.delivery_methods) == ((), tuple(Method))


def test_paths_start_at_the_state_directory(empty_home: Path) -> None:
    write(
        empty_home,
        '[archive]\npassphrase_file = "stick/pass"\n[archive.pkcs11]\nmodule = "/m.so"\ntoken = "archive"\npin_file = "pin"\n',
    )
    archive = load_settings().archive
    assert archive.passphrase_file == empty_home / "stick" / "pass"
    assert (archive.pkcs11.module, archive.pkcs11.pin_file) == (Path("/m.so"), empty_home / "pin")


def test_variables_name_lists(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - nothing else is set
    monkeypatch.setenv("SIGNETRY_ARCHIVE__REFUSE_CONCERNS", "clientAuth,upn")
    monkeypatch.setenv("SIGNETRY_ARCHIVE__ONLINE", "true")
    archive = load_settings().archive
    assert archive.refuse_concerns == (Concern.CLIENT_AUTH, Concern.UPN)
    assert archive.online


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('key_algorithm = "ed25519"', "archive.key_algorithm: private keys are sealed to rsa2048, rsa3072, rsa4096, p256, p384"),
        ('key_algorithm = "p521"', "archive.key_algorithm: private keys are sealed to"),
        ("link_ttl = 0", "archive.link_ttl"),
        ("publish_after = 366", "archive.publish_after"),
        ('refuse_concerns = ["all"]', "archive.refuse_concerns"),
        ("key = 1", "unknown setting archive.key"),
        ('[archive.pkcs11]\nmodule = "/m.so"', "archive.pkcs11: module, token and pin_file are given together or not at all"),
    ],
)
def test_what_cannot_be_used_is_named(empty_home: Path, text: str, message: str) -> None:
    write(empty_home, f"[archive]\n{text}\n" if not text.startswith("[") else f"{text}\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert message in str(refused.value)
