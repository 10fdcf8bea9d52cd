"""What we pack, people's programs read; the table in ``pkcs_import/packing.py`` is what is shown here."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from pkcs_import.container import open_container
from pkcs_import.errors import WrongPassword
from pkcs_import.matching import identities
from pkcs_import.packing import Encoding, Packable, new_passphrase, pack
from pkcs_import.pkcs12_kdf import SHA1, Use, is_misderived_by_gnupg, pkcs12_kdf
from pkcs_import.pkcs12_password import bmp_password
from tests.vectors.pkcs12.make import run
from tests.vectors.pkcs12.parties import der, pkcs8, spki

PASSPHRASE = "bmtm-hph4-ggrp-gx78-z24r-rapa"
BOTH = pytest.mark.parametrize("encoding", list(Encoding))


def packable(party: str, name: str | None = None) -> Packable:
    return Packable(pkcs8(party), der(party), (der("issuing"), der("root")), name or f"{party}@example.com")


HISTORY = [packable("ann"), packable("ann-old"), packable("bob")]


@BOTH
def test_what_is_packed_is_what_is_opened(encoding: Encoding) -> None:
    container = open_container(pack(HISTORY, PASSPHRASE, encoding), PASSPHRASE)
    assert [key.spki for key in container.keys] == [spki("ann"), spki("ann-old"), spki("bob")]
    assert [key.friendly_name for key in container.keys] == ["ann@example.com", "ann-old@example.com", "bob@example.com"]
    assert len({key.local_key_id for key in container.keys}) == 3
    assert [each.certificates[0].chain for each in identities(container)] == [(der("issuing"), der("root"))] * 3
    # Shared authorities are in it once.
    assert len(container.certificates) == 5
    with pytest.raises(WrongPassword):
        open_container(pack(HISTORY, PASSPHRASE, encoding), PASSPHRASE[:-1])


@BOTH
def test_nothing_is_packed_in_clear(encoding: Encoding) -> None:
    packed = pack(HISTORY, PASSPHRASE, encoding)
    assert not any(part in packed for party in ("ann", "bob") for part in (pkcs8(party)[-40:], der(party)[-40:]))


@BOTH
def test_packing_again_gives_other_bytes(encoding: Encoding) -> None:
    assert pack(HISTORY, PASSPHRASE, encoding) != pack(HISTORY, PASSPHRASE, encoding)


def test_names_that_come_again_are_numbered() -> None:
    """Java keeps one entry of each name, whatever its case."""
    keys = [packable("ann", "Ann"), packable("ann-old", "ann"), packable("bob", "Bob")]
    container = open_container(pack(keys, PASSPHRASE, Encoding.MODERN), PASSPHRASE)
    assert [key.friendly_name for key in container.keys] == ["Ann", "ann (2)", "Bob"]


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_name_can_be_packed(name: str) -> None:
    container = open_container(pack([packable("bob", name or "x")], PASSPHRASE, Encoding.MODERN), PASSPHRASE)
    assert container.keys[0].friendly_name == "".join(each for each in name or "x" if each.isprintable())


def test_passphrases_are_fresh_and_easy_to_type() -> None:
    """24 of 31 characters are 118 bits."""
    passphrases = {new_passphrase() for _ in range(200)}
    assert len(passphrases) == 200
    assert all(re.fullmatch(r"([a-hjkmnp-z2-9]{4}-){5}[a-hjkmnp-z2-9]{4}", each) for each in passphrases)
    assert len({character for each in passphrases for character in each}) == 32


# --- who reads it ---


@BOTH
def test_the_library_reads_it(encoding: Encoding) -> None:
    found = pkcs12.load_pkcs12(pack(HISTORY[:1], PASSPHRASE, encoding), PASSPHRASE.encode())
    assert found.key is not None
    assert found.cert is not None
    assert found.cert.friendly_name == b"ann@example.com"
    assert len(found.additional_certs) == 2


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE)
    return path


def packed_file(tmp_path: Path, encoding: Encoding, keys: list[Packable] = HISTORY) -> str:
    path = tmp_path / "packed.p12"
    path.write_bytes(pack(keys, PASSPHRASE, encoding))
    return str(path)


@BOTH
def test_openssl_reads_all_of_it(encoding: Encoding, tmp_path: Path, passphrase_file: Path) -> None:
    """Without its legacy provider."""
    found = run("openssl", "pkcs12", "-in", packed_file(tmp_path, encoding), "-passin", f"file:{passphrase_file}", "-nodes")
    assert found.count(b"BEGIN PRIVATE KEY") == 3
    assert found.count(b"BEGIN CERTIFICATE") == 5


@BOTH
def test_nss_reads_all_of_it(encoding: Encoding, tmp_path: Path, passphrase_file: Path) -> None:
    database = f"sql:{tmp_path}"
    run("certutil", "-N", "-d", database, "--empty-password")
    run("pk12util", "-i", packed_file(tmp_path, encoding), "-d", database, "-w", str(passphrase_file))
    assert len(re.findall(rb"^<", run("certutil", "-K", "-d", database), re.MULTILINE)) == 3


@BOTH
def test_java_reads_all_of_it(encoding: Encoding, tmp_path: Path, passphrase_file: Path) -> None:
    store = ("-keystore", packed_file(tmp_path, encoding), "-storetype", "PKCS12", "-storepass:file", str(passphrase_file))
    listed = run("keytool", "-list", *store, environment={"LC_ALL": "C.UTF-8"})
    assert listed.count(b"PrivateKeyEntry") == 3


@contextmanager
def gnupg(home: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of a GnuPG that takes passphrases from us."""
    home.mkdir(mode=0o700)
    Path(home, "gpg-agent.conf").write_text("allow-loopback-pinentry\n")
    environment = {**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C.UTF-8"}
    try:
        yield environment
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


def imported_by_gpgsm(file: str, home: Path) -> tuple[int, int]:
    """Return how many certificates and how many private keys gpgsm has after it tried to import a file."""
    with gnupg(home) as environment:
        options = ("--batch", "--pinentry-mode", "loopback", "--disable-dirmngr", "--passphrase-fd", "0")
        command = ["gpgsm", *options, "--import", file]
        subprocess.run(command, env=environment, input=PASSPHRASE.encode(), capture_output=True, check=False, timeout=60)
        listing = ("gpgsm", "--with-colons", "--disable-dirmngr")
        certificates, keys = (run(*listing, which, environment=environment) for which in ("-k", "-K"))
    return certificates.count(b"\nfpr:"), keys.count(b"\nfpr:")


def test_gpgsm_reads_legacy_files_of_one_key(tmp_path: Path) -> None:
    for number, party in enumerate(("ann", "ann-old")):
        file = packed_file(tmp_path, Encoding.LEGACY, [packable(party)])
        assert imported_by_gpgsm(file, tmp_path / str(number)) == (3, 1)


def with_salts(monkeypatch: pytest.MonkeyPatch, *salts: bytes) -> None:
    """Have these salts drawn before any other."""
    drawn = iter(salts)
    monkeypatch.setattr("pkcs_import.packing.secrets.token_bytes", lambda size: next(drawn, None) or os.urandom(size))


def test_no_salt_is_taken_that_gpgsm_derives_another_key_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_misderived(salt: bytes) -> bool:
        derived = pkcs12_kdf(SHA1, Use.KEY, bmp_password(PASSPHRASE), salt, 2048, 24)
        return is_misderived_by_gnupg(SHA1, bmp_password(PASSPHRASE), salt, derived)

    salts = (number.to_bytes(8, "big") for number in count())
    bad = next(salt for salt in salts if is_misderived(salt))
    with_salts(monkeypatch, bad)
    file = packed_file(tmp_path, Encoding.LEGACY, HISTORY[:1])
    assert bad not in Path(file).read_bytes()
    assert imported_by_gpgsm(file, tmp_path / "good") == (3, 1)
    with monkeypatch.context() as patch:
        patch.setattr("pkcs_import.packing.is_misderived_by_gnupg", lambda *_: False)
        with_salts(patch, bad)
        file = packed_file(tmp_path, Encoding.LEGACY, HISTORY[:1])
    assert bad in Path(file).read_bytes()
    # It is the salt of the key. Should a newer gpgsm read it, there is no more need to choose.
    assert imported_by_gpgsm(file, tmp_path / "bad") == (3, 0)


def test_gpgsm_reads_the_first_of_several_keys_alone(tmp_path: Path) -> None:
    assert imported_by_gpgsm(packed_file(tmp_path, Encoding.LEGACY, HISTORY[:2]), tmp_path / "gnupg") == (4, 1)


def test_gpgsm_does_not_read_modern_files(tmp_path: Path) -> None:
    """Should a newer gpgsm read them, the table in ``pkcs_import/packing.py`` and the targets of deliveries want another look."""
    assert imported_by_gpgsm(packed_file(tmp_path, Encoding.MODERN, HISTORY[:1]), tmp_path / "gnupg") == (0, 0)
