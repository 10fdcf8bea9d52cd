"""``signetry init``: every choice, every interruption, and what it refuses."""

import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ca import hierarchy
from ca.keys import KeyAlgorithm, algorithm_of
from crl import publication
from foundation.errors import BadRequest
from signetry.database import Database
from signetry.files import read_secret
from signetry.house import House
from signetry.settings import load_settings
from signetry.setup import Choices
from tests.ca.keystores import shared_key
from tests.signetry.foreign_pki import root_of_today, signed
from tests.signetry.installation import Commands, clock_of_today, opened


@pytest.fixture(autouse=True)
def _keys_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take keys that other tests made as well: making RSA-4096 takes seconds."""
    made: list[KeyAlgorithm] = []

    def generate(algorithm: KeyAlgorithm) -> Any:  # noqa: ANN401 - any private key
        made.append(algorithm)
        return shared_key(algorithm, made.count(algorithm) - 1)

    monkeypatch.setattr("ca.keys.generate_key", generate)


def snapshot(home: Path) -> dict[str, bytes]:
    """Return every file that a second run must not touch; the database is compared by its rows."""
    return {str(path): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file() and "signetry.db" not in path.name}


def rows(house: House) -> tuple[list[object], int]:
    with house.transactions.reading() as session:
        return list(hierarchy.authorities(session)), len(house.authorities.endpoint_keys(hierarchy.ISSUING).ra)


@pytest.mark.parametrize(
    ("ca_key", "root_key"),
    [
        ("rsa2048", "rsa4096"),
        ("rsa3072", "rsa4096"),
        ("rsa4096", "rsa4096"),
        ("p256", "p384"),
        ("p384", "p384"),
        (None, "rsa4096"),
    ],
)
@pytest.mark.usefixtures("empty_home")
def test_every_key_of_an_issuing_ca_stands_under_the_root_it_needs(commands: Commands, ca_key: str | None, root_key: str) -> None:
    options = ["--ca-key", ca_key] if ca_key else []
    made = commands.json("init", *options)
    assert made["next"] == "signetry serve"
    with opened() as house:
        issuing, root = house.authority("issuing"), house.authority("root")
        assert algorithm_of(issuing.certificate.public_key()) == (ca_key or "rsa3072")  # type: ignore[arg-type] # checked by itself
        assert algorithm_of(root.certificate.public_key()) == root_key  # type: ignore[arg-type] # as above
        issuing.certificate.verify_directly_issued_by(root.certificate)
        with house.transactions.reading() as session:
            assert all(publication.current(session, authority.id) for authority in (issuing, root))
        assert house.authorities.endpoint_keys(hierarchy.ISSUING).ra
        assert set(house.endpoints) == {"default"}


def test_keys_are_encrypted_and_closed_to_everybody_else(commands: Commands, empty_home: Path) -> None:
    commands.json("init", "--ca-key", "p256")
    settings = load_settings()
    passphrase = read_secret(settings.key_passphrase_file, "test")
    keys = sorted((empty_home / "keys").iterdir())
    assert [path.name for path in keys] == ["issuing-p256.key", "issuing-ra-1.key", "root-p384.key"]
    for path in keys:
        assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        with pytest.raises(TypeError, match="assword"):
            serialization.load_pem_private_key(path.read_bytes(), None)
        serialization.load_pem_private_key(path.read_bytes(), passphrase)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (empty_home, *empty_home.rglob("*"))}
    assert {oct(mode) for path, mode in modes.items() if path.is_dir()} == {"0o700"}
    assert {oct(mode) for path, mode in modes.items() if path.is_file()} == {"0o600"}
    assert len(passphrase) == 64


def test_a_second_run_changes_nothing(commands: Commands, empty_home: Path) -> None:
    options = ("--ca-key", "p256", "--organisation", "Example Ltd", "--public-url", "http://pki.example.com/")
    first = commands.json("init", *options)
    before = snapshot(empty_home)
    with opened() as house:
        recorded = rows(house)
    assert commands.json("init", *options) == first
    # Nor do the options have to be given again.
    assert commands.json("init") == first
    assert snapshot(empty_home) == before
    with opened() as house:
        assert rows(house) == recorded


class Interruption(BaseException):
    """Something that no handler of ours knows, such as the power going."""


class _Interrupter:
    """Interrupts before the ``at``-th thing that would be durable: after the one before it is the same point."""

    def __init__(self, at: int) -> None:
        self._left = at

    def before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
            self._left -= 1
            if self._left == 0:
                raise Interruption
            return real(*arguments, **options)

        return replacement


def interrupted_init(commands: Commands, at: int, *options: str) -> bool:
    """Run ``init`` with ``options`` and interrupt it at point ``at``; return whether it came that far."""
    interrupter = _Interrupter(at)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "link"), (Path, "replace"), (Database, "migrate"), (Database, "write")):
            patch.setattr(owner, name, interrupter.before(getattr(owner, name)))
        try:
            commands.run("init", "--ca-key", "p256", "--organisation", "Example Ltd", *options)
        except Interruption:
            return True
    return False


def test_interrupted_anywhere_the_next_run_completes_it(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = 0
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path / "0"))
    while interrupted_init(commands, points + 1):
        points += 1
        # Once the settings file is there, nothing has to be said again but the kind of key.
        again = [] if (tmp_path / str(points - 1) / "signetry.toml").exists() else ["--organisation", "Example Ltd"]
        made = commands.json("init", "--ca-key", "p256", *again)
        assert made["issuing_ca"] == "CN=Example Ltd Issuing CA,O=Example Ltd", points
        # A CRL whose making was interrupted is made when its lease has run out; the worker sees to that.
        clock = clock_of_today()
        clock.advance(seconds=31)
        with opened(clock) as house:
            house.publish_crls()
            authorities, ra_keys = rows(house)
            assert (len(authorities), ra_keys) == (2, 1), points
            house.require_complete()
            with house.transactions.reading() as session:
                for authority in (hierarchy.ROOT, hierarchy.ISSUING):
                    assert publication.current(session, house.authority(authority).id), points
        home = tmp_path / str(points - 1)
        assert {path.name for path in (home / "tls").iterdir()} == {"root.pem", "root.key", "server.pem", "server.key"}
        monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path / str(points)))
    # Settings, passphrase, four files of TLS, three keys; the schema; hierarchy, schedules, RA key and CRLs, a transaction each.
    assert points >= 1 + 1 + 4 + 3 + 1 + 4


def test_interrupted_anywhere_a_request_is_completed_by_the_next_run(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = 0
    root = root_of_today()
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path / "0"))
    while interrupted_init(commands, points + 1, "--csr"):
        points += 1
        home = tmp_path / str(points - 1)
        again = [] if (home / "signetry.toml").exists() else ["--organisation", "Example Ltd"]
        made = commands.json("init", "--csr", "--ca-key", "p256", *again)
        assert made["request"] == str(home / "issuing.csr"), points
        assert {path.name for path in (home / "keys").iterdir()} == {"issuing-p256.key"}, points
        assert commands.json("ca", "install", signed(root, home / "issuing.csr"))["installed"], points
        with opened() as house:
            house.require_complete()
            assert len(rows(house)[0]) == 2, points
        monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path / str(points)))
    # Settings, passphrase, four files of TLS, one key, the request; the schema; hierarchy and schedules, a transaction each.
    assert points >= 1 + 1 + 4 + 1 + 1 + 1 + 2


def test_another_key_than_the_one_there_is_refused(commands: Commands, empty_home: Path) -> None:
    commands.json("init", "--ca-key", "p256")
    before = snapshot(empty_home)
    assert "the issuing CA exists, with a key of kind p256" in commands.refused("init", "--ca-key", "rsa2048")
    assert snapshot(empty_home) == before


@pytest.mark.parametrize("ca_key", ["ed25519", "p521", "RSA3072", "rsa1024", "rsa3072 "])
def test_a_key_that_no_issuing_ca_can_have_is_bad_usage(commands: Commands, empty_home: Path, ca_key: str) -> None:
    assert "--ca-key is one of rsa3072, rsa2048" in commands.refused("init", "--ca-key", ca_key, status=2)
    assert not empty_home.exists()


def test_a_settings_file_is_never_overwritten_and_says_what_to_change(commands: Commands, empty_home: Path) -> None:
    commands.json("init", "--ca-key", "p256", "--public-url", "http://one.example.com", "--organisation", "One")
    before = snapshot(empty_home)
    refusal = commands.refused("init", "--public-url", "http://two.example.com")
    assert "set public_url in it" in refusal
    assert "re-issues the issuing CA" in refusal
    assert "set organisation.name in it" in commands.refused("init", "--organisation", "Two")
    assert snapshot(empty_home) == before


def test_a_settings_file_that_was_there_first_is_what_counts(commands: Commands, empty_home: Path) -> None:
    empty_home.mkdir(mode=0o700)
    text = '# mine\npublic_url = "http://mine.example.com"\n[organisation]\nname = "Mine"\n'
    (empty_home / "signetry.toml").write_text(text)
    made = commands.json("init", "--ca-key", "p256")
    assert (made["public_url"], made["issuing_ca"]) == ("http://mine.example.com", "CN=Mine Issuing CA,O=Mine")
    assert (empty_home / "signetry.toml").read_text() == text


@pytest.mark.parametrize(
    ("organisation", "common_name"),
    [
        ('Quote "Ltd" \\ Söhne', 'Quote "Ltd" \\ Söhne Issuing CA'),
        ("[brackets] # no comment = 'x'", "[brackets] # no comment = 'x' Issuing CA"),
        ("山田商事株式会社", "山田商事株式会社 Issuing CA"),
        ("山田太郎記念情報通信技術研究所開発機構", "Issuing CA"),
        ("An Organisation Whose Name Is Exactly So Long, No More, As Allowed"[:64], "Issuing CA"),
    ],
)
@pytest.mark.usefixtures("empty_home")
def test_any_organisation_can_be_named(commands: Commands, organisation: str, common_name: str) -> None:
    written = commands.json("init", "--ca-key", "p256", "--organisation", organisation)["configuration"]
    assert tomllib.loads(Path(written).read_text(encoding="utf-8"))["organisation"] == {"name": organisation}
    assert load_settings().organisation.name == organisation
    with opened() as house:
        for name, expected in (("issuing", common_name), ("root", common_name.replace("Issuing", "Root"))):
            subject = house.authority(name).certificate.subject
            values = {attribute.oid: attribute.value for attribute in subject}
            assert values[x509.NameOID.COMMON_NAME] == expected
            assert values[x509.NameOID.ORGANIZATION_NAME] == organisation


@pytest.mark.parametrize(
    ("organisation", "reason"), [("x" * 65, "64 characters at most"), ("two\nlines", "cannot be printed")], ids=["long", "lines"]
)
def test_an_organisation_that_no_certificate_can_name_is_refused_before_anything_is_written(
    commands: Commands, empty_home: Path, organisation: str, reason: str
) -> None:
    assert reason in commands.refused("init", "--organisation", organisation, status=2)
    with pytest.raises(BadRequest):
        Choices(organisation=organisation)
    assert not empty_home.exists()


@pytest.mark.parametrize(
    "url", ["ftp://pki.example.com", "pki.example.com", "http://pki.example.com/ a", "http://u@pki.example.com"]
)
def test_a_public_url_that_cannot_be_used_is_refused_before_anything_is_written(
    commands: Commands, empty_home: Path, url: str
) -> None:
    assert "public_url" in commands.refused("init", "--public-url", url, status=2)
    assert not empty_home.exists()


def test_keys_whose_passphrase_is_lost_are_not_given_another(commands: Commands, empty_home: Path) -> None:
    commands.json("init", "--ca-key", "p256")
    passphrase = empty_home / "secrets" / "key-passphrase"
    content = passphrase.read_bytes()
    passphrase.unlink()
    assert f"{passphrase} is missing" in commands.refused("init")
    assert not passphrase.exists()
    passphrase.write_bytes(content)
    passphrase.chmod(0o600)
    commands.json("init")


def test_an_endpoint_of_an_authority_that_does_not_exist_is_named(commands: Commands, empty_home: Path) -> None:
    empty_home.mkdir(mode=0o700)
    (empty_home / "signetry.toml").write_text('[endpoints.default]\n[endpoints.mail]\nissuing_ca = "amail"\n')
    assert "there is no authority 'amail'" in commands.refused("init", "--ca-key", "p256")
    # The endpoints of other authorities work all the same.
    with opened() as house:
        assert house.authorities.endpoint_keys(hierarchy.ISSUING).ra
