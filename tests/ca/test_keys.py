"""What every key store does; and key files: encrypted, closed to others, never overwritten, and silent about what they hold."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519

from ca.errors import KeyExists, KeyUnavailable, UnsafeSecretFile
from ca.keys import (
    FileKeyStore,
    KeyAlgorithm,
    KeyStore,
    algorithm_of,
    open_key,
    read_secret_file,
    signature_hash,
    verify_signature,
)
from foundation.files import create_private
from tests.ca.keystores import shared_key
from tests.ca.tokens import opened

PASSPHRASE = b"canary-passphrase-0123456789"
EVERY_KEY = (KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.P384, KeyAlgorithm.P521, KeyAlgorithm.ED25519)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def store(directory: Path) -> FileKeyStore:
    return FileKeyStore(directory, PASSPHRASE)


@pytest.fixture(params=["files", "token"])
def any_store(request: pytest.FixtureRequest, directory: Path) -> Iterator[KeyStore]:
    """A key store of either kind."""
    if request.param == "files":
        yield FileKeyStore(directory, PASSPHRASE)
        return
    with opened(request.getfixturevalue("softhsm")) as keystore:
        yield keystore


@pytest.mark.parametrize("algorithm", EVERY_KEY)
def test_a_key_comes_back_as_it_was_made(any_store: KeyStore, algorithm: KeyAlgorithm) -> None:
    made = any_store.generate("issuing", algorithm)
    assert any_store.exists("issuing")
    assert any_store.load("issuing").public_key() == made.public_key()
    assert algorithm_of(made.public_key()) is algorithm


def test_what_an_interrupted_attempt_left_is_taken(any_store: KeyStore) -> None:
    left = any_store.generate("issuing", KeyAlgorithm.P256)
    assert open_key(any_store, "issuing", KeyAlgorithm.P256).public_key() == left.public_key()
    with pytest.raises(KeyUnavailable, match="not of algorithm"):
        open_key(any_store, "issuing", KeyAlgorithm.P384)
    other = open_key(any_store, "issuing-2", KeyAlgorithm.P256)
    assert other.public_key() != left.public_key()


def test_a_closed_store_opens_again(any_store: KeyStore) -> None:
    key = any_store.generate("issuing", KeyAlgorithm.P256)
    any_store.close()
    assert any_store.load("issuing").public_key() == key.public_key()


@pytest.mark.parametrize("algorithm", EVERY_KEY)
def test_a_key_signs_what_others_verify(any_store: KeyStore, algorithm: KeyAlgorithm) -> None:
    key = any_store.generate("issuing", algorithm)
    chosen = signature_hash(key)
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        assert chosen is not None
        signature = key.sign(b"data", ec.ECDSA(chosen))
    else:
        signature = key.sign(b"data")
    verify_signature(key.public_key(), signature, b"data")


def test_a_key_file_is_encrypted_and_closed_to_others(store: FileKeyStore, directory: Path) -> None:
    store.generate("issuing", KeyAlgorithm.P256)
    (file,) = directory.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    # Once in 256 times what another passphrase makes of it ends like a padding, and the library finds fault with what is within.
    with pytest.raises(ValueError, match=r"password|deserialize"):
        serialization.load_pem_private_key(file.read_bytes(), b"another")


def test_a_key_is_never_overwritten(any_store: KeyStore) -> None:
    made = any_store.generate("issuing", KeyAlgorithm.P256)
    with pytest.raises(KeyExists):
        any_store.generate("issuing", KeyAlgorithm.P256)
    assert any_store.load("issuing").public_key() == made.public_key()


@pytest.mark.parametrize("reference", ["", "../outside", "a/b", ".hidden", "Upper", "x" * 101])
def test_a_reference_cannot_leave_the_directory(any_store: KeyStore, reference: str) -> None:
    with pytest.raises(KeyUnavailable, match="no name for a key"):
        any_store.generate(reference, KeyAlgorithm.P256)
    with pytest.raises(KeyUnavailable, match="no name for a key"):
        any_store.load(reference)


def test_a_missing_key_is_said_to_be_missing(any_store: KeyStore) -> None:
    assert not any_store.exists("issuing")
    with pytest.raises(KeyUnavailable, match="there is no key 'issuing'"):
        any_store.load("issuing")


@pytest.mark.parametrize("trouble", ["wrong passphrase", "damaged", "not encrypted", "not a key"])
def test_a_key_that_cannot_be_opened_says_nothing_of_its_content(store: FileKeyStore, directory: Path, trouble: str) -> None:
    key = store.generate("issuing", KeyAlgorithm.P256)
    file = directory / "issuing.key"
    if trouble == "wrong passphrase":
        store = FileKeyStore(directory, b"another-canary")
    elif trouble == "damaged":
        file.write_bytes(file.read_bytes().replace(b"M", b"N"))
    elif trouble == "not encrypted":
        plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(plain)
    else:
        file.write_bytes(b"canary content")
    with pytest.raises(KeyUnavailable) as caught:
        store.load("issuing")
    assert str(caught.value) == "the key 'issuing' cannot be opened with the configured passphrase"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_key_of_an_unknown_kind_is_refused(store: FileKeyStore, directory: Path) -> None:
    pem = x25519.X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(PASSPHRASE)
    )
    create_private(directory / "other.key", pem)
    with pytest.raises(KeyUnavailable, match="no algorithm"):
        store.load("other")


def test_a_directory_open_to_others_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    with pytest.raises(UnsafeSecretFile, match="0700"):
        FileKeyStore(directory, PASSPHRASE)


def test_an_empty_passphrase_is_refused(directory: Path) -> None:
    with pytest.raises(KeyUnavailable):
        FileKeyStore(directory, b"")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    secret = tmp_path / "passphrase"
    secret.write_bytes(b"canary")
    secret.chmod(mode)
    with pytest.raises(UnsafeSecretFile, match=f"{mode:04o}: it must be 0600") as caught:
        read_secret_file(secret)
    assert "canary" not in str(caught.value)


def test_a_secret_is_read_without_its_line_break(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    create_private(secret, b" canary \r\n")
    assert read_secret_file(secret) == b" canary "


def test_a_secret_must_be_a_regular_file(tmp_path: Path) -> None:
    with pytest.raises((UnsafeSecretFile, IsADirectoryError)):
        read_secret_file(tmp_path)


def test_a_key_unlike_ours_has_no_algorithm() -> None:
    with pytest.raises(KeyUnavailable):
        algorithm_of(ec.generate_private_key(ec.SECP256K1()).public_key())


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (KeyAlgorithm.RSA2048, "sha256"),
        (KeyAlgorithm.P256, "sha256"),
        (KeyAlgorithm.P384, "sha384"),
        (KeyAlgorithm.P521, "sha512"),
        (KeyAlgorithm.ED25519, None),
    ],
)
def test_signatures_use_the_hash_of_their_key_and_verify(algorithm: KeyAlgorithm, name: str | None) -> None:
    key = shared_key(algorithm)
    chosen = signature_hash(key)
    assert (chosen.name if chosen else None) == name
    assert isinstance(signature_hash(key.public_key()), type(chosen))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        assert chosen is not None
        signature = key.sign(b"data", ec.ECDSA(chosen))
    else:
        signature = key.sign(b"data")
    verify_signature(key.public_key(), signature, b"data")
    with pytest.raises(InvalidSignature):
        verify_signature(key.public_key(), signature, b"other data")
