"""Seals: what opens them, what does not, and what they are bound to."""

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from hypothesis import given
from hypothesis import strategies as st

from pkcs_import.errors import NoArchiveKey, SealBroken
from pkcs_import.sealing import ArchivePrivateKey, ArchivePublicKey, Binding, SealedKey, new_uid, rewrap, unseal

SECRET = b"a private key, as PKCS #8 has it"
BINDING = Binding("0123456789abcdef" * 2, 7, hashlib.sha256(b"its public half").hexdigest())


def public(key: ArchivePrivateKey, row: int = 1) -> ArchivePublicKey:
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return ArchivePublicKey.from_spki(row, spki)


@pytest.fixture(scope="session", params=["rsa", "secp256r1", "secp384r1"])
def archive_key(request: pytest.FixtureRequest, rsa_key: rsa.RSAPrivateKey) -> ArchivePrivateKey:
    curves: dict[str, ec.EllipticCurve] = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1()}
    return rsa_key if request.param == "rsa" else ec.generate_private_key(curves[request.param])


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_what_is_sealed_opens_again(archive_key: ArchivePrivateKey) -> None:
    sealed = public(archive_key, 5).seal(SECRET, BINDING)
    assert sealed.archive_key == 5
    assert unseal(archive_key, sealed, BINDING) == SECRET


def test_nothing_of_the_key_is_in_its_seal_and_no_two_seals_are_alike(archive_key: ArchivePrivateKey) -> None:
    first, second = (public(archive_key).seal(SECRET, BINDING) for _ in range(2))
    for part in ("wrapped_key", "nonce", "ciphertext"):
        assert getattr(first, part) != getattr(second, part)
        assert SECRET not in getattr(first, part)
    assert repr(first) == "SealedKey(archive_key=1)"


@pytest.mark.parametrize(
    "other",
    [
        replace(BINDING, uid="f" * 32),
        replace(BINDING, person=8),
        replace(BINDING, spki_sha256=hashlib.sha256(b"another").hexdigest()),
    ],
    ids=["another record", "another person", "another key"],
)
def test_a_seal_opens_for_nothing_but_what_it_is_bound_to(archive_key: ArchivePrivateKey, other: Binding) -> None:
    sealed = public(archive_key).seal(SECRET, BINDING)
    with pytest.raises(SealBroken) as refused:
        unseal(archive_key, sealed, other)
    assert str(refused.value) == f"the archived key {other.uid} does not open under what it is bound to"
    assert refused.value.__cause__ is None


@given(position=st.integers(0, 10_000), part=st.sampled_from(["wrapped_key", "nonce", "ciphertext"]), cut=st.booleans())
def test_a_seal_that_was_changed_anywhere_does_not_open(
    archive_key: ArchivePrivateKey, position: int, part: str, *, cut: bool
) -> None:
    sealed = public(archive_key).seal(SECRET, BINDING)
    stored: bytes = getattr(sealed, part)
    position %= len(stored)
    parts = {name: getattr(sealed, name) for name in ("wrapped_key", "nonce", "ciphertext")}
    parts[part] = stored[:position] if cut else flipped(stored, position)
    with pytest.raises(SealBroken):
        unseal(archive_key, SealedKey(sealed.archive_key, **parts), BINDING)


def test_another_archive_key_opens_nothing(
    archive_key: ArchivePrivateKey, other_rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    sealed = public(archive_key).seal(SECRET, BINDING)
    for other in (other_rsa_key, ec_key):
        with pytest.raises(SealBroken):
            unseal(other, sealed, BINDING)


def test_a_seal_is_wrapped_to_another_key_without_opening_it(
    archive_key: ArchivePrivateKey, other_rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    sealed = public(archive_key).seal(SECRET, BINDING)
    for other in (other_rsa_key, ec_key):
        moved = rewrap(archive_key, sealed, public(other, 2))
        assert (moved.archive_key, moved.nonce, moved.ciphertext) == (2, sealed.nonce, sealed.ciphertext)
        assert unseal(other, moved, BINDING) == SECRET
        with pytest.raises(SealBroken):
            unseal(archive_key, moved, BINDING)
        with pytest.raises(SealBroken):
            unseal(other, moved, replace(BINDING, person=8))


def test_a_seal_of_this_version_is_read_by_who_knows_its_form_alone(ec_key: ec.EllipticCurvePrivateKey) -> None:
    """What is in archives stays as it is: another form needs another version."""
    sealed = public(ec_key).seal(SECRET, BINDING)
    assert sealed.wrapped_key[:1] == b"\2"
    point, wrapped = sealed.wrapped_key[1:66], sealed.wrapped_key[66:]
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec_key.curve, point)
    ours = ec_key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    information = b"signetry archive key wrap, version 1\0" + point + ours
    agreed = ec_key.exchange(ec.ECDH(), peer)
    key = aes_key_unwrap(HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=information).derive(agreed), wrapped)
    associated = b"signetry archived key, version 1\0" + bytes.fromhex(BINDING.uid) + bytes(7) + b"\7"
    opened = AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, associated + bytes.fromhex(BINDING.spki_sha256))
    assert opened == SECRET


def test_the_ephemeral_point_of_one_seal_does_not_serve_another() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    first, second = (public(key).seal(SECRET, BINDING) for _ in range(2))
    mixed = replace(first, wrapped_key=second.wrapped_key[:66] + first.wrapped_key[66:])
    with pytest.raises(SealBroken):
        unseal(key, mixed, BINDING)


@pytest.mark.parametrize("stored", [b"", b"\1", b"\2", b"\3" * 80, b"\2" + bytes(200)])
def test_what_is_no_wrapped_key_is_refused(archive_key: ArchivePrivateKey, stored: bytes) -> None:
    with pytest.raises(SealBroken):
        unseal(archive_key, SealedKey(1, stored, bytes(12), bytes(48)), BINDING)


def test_no_two_bindings_have_the_same_form(archive_key: ArchivePrivateKey) -> None:
    # Digits moved from one field to the next would be the same text.
    sealed = public(archive_key).seal(SECRET, Binding("00" * 16, 1, "00" * 32))
    with pytest.raises(SealBroken):
        unseal(archive_key, sealed, Binding("00" * 15 + "01", 0, "00" * 32))


def test_a_key_that_seals_nothing_is_no_archive_key() -> None:
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    spki = edwards.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for given_spki in (spki, b"", spki[:-1]):
        with pytest.raises(NoArchiveKey):
            ArchivePublicKey.from_spki(1, given_spki)


def test_names_of_records_are_random() -> None:
    names = {new_uid() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 32 and bytes.fromhex(name) for name in names)


@pytest.mark.parametrize(
    "binding",
    [replace(BINDING, uid="00"), replace(BINDING, uid="no"), replace(BINDING, person=-1), replace(BINDING, spki_sha256="")],
)
def test_a_record_of_another_form_has_no_seal(ec_key: ec.EllipticCurvePrivateKey, binding: Binding) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - nobody but a mistake of ours would do so
        public(ec_key).seal(SECRET, binding)
    with pytest.raises(SealBroken):
        unseal(ec_key, public(ec_key).seal(SECRET, BINDING), binding)
