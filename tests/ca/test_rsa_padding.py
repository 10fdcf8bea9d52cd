"""RSA padding taken off by ourselves: as cryptography puts it on, and one answer for whatever is wrong with it."""

import secrets

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from ca.rsa_padding import substitute, take_off_oaep, take_off_pkcs1

SIZE = 256
SECRET = b"s" * 32
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - what many clients send
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def raw(key: rsa.RSAPrivateKey, ciphertext: bytes) -> bytes:
    numbers = key.private_numbers()
    return pow(int.from_bytes(ciphertext, "big"), numbers.d, numbers.public_numbers.n).to_bytes(SIZE, "big")


@pytest.mark.parametrize("length", [0, 1, 16, 32, SIZE - 11])
def test_a_message_comes_out_as_it_went_in(rsa_key: rsa.RSAPrivateKey, length: int) -> None:
    message = secrets.token_bytes(length)
    ciphertext = rsa_key.public_key().encrypt(message, padding.PKCS1v15())
    assert take_off_pkcs1(raw(rsa_key, ciphertext), SECRET, ciphertext) == message


@pytest.mark.parametrize(
    "block",
    [
        bytes(SIZE),
        b"\0\2" + b"\1" * (SIZE - 2),
        b"\0\1" + b"\xff" * 200 + b"\0" + b"m" * 53,
        b"\1\2" + b"\1" * 200 + b"\0" + b"m" * 53,
        b"\0\2" + b"\1" * 7 + b"\0" + b"m" * 246,
        b"\0\2\0" + b"m" * 253,
    ],
    ids=["zeros", "no separator", "a signature's", "first octet", "seven octets of padding", "none"],
)
def test_what_is_no_padding_gives_a_message_that_looks_like_any_other(block: bytes) -> None:
    assert len(block) == SIZE
    given_up = take_off_pkcs1(block, SECRET, b"ciphertext")
    assert given_up == substitute(SECRET, b"ciphertext", SIZE)
    assert b"m" * 53 not in given_up


def test_eight_octets_of_padding_are_enough() -> None:
    assert take_off_pkcs1(b"\0\2" + b"\1" * 8 + b"\0" + b"m" * 245, SECRET, b"ciphertext") == b"m" * 245


def test_the_same_ciphertext_gives_the_same_message_again_and_another_one_another() -> None:
    made = substitute(SECRET, b"ciphertext", SIZE)
    assert substitute(SECRET, b"ciphertext", SIZE) == made
    assert substitute(SECRET, b"ciphertexu", SIZE) != made
    assert substitute(b"t" * 32, b"ciphertext", SIZE) != made


def test_a_message_of_our_own_has_any_length_that_a_real_one_could_have() -> None:
    lengths = {len(substitute(SECRET, number.to_bytes(4, "big"), SIZE)) for number in range(20_000)}
    assert lengths == set(range(SIZE - 10))


@given(st.binary(min_size=SIZE, max_size=SIZE))
def test_no_block_is_refused(block: bytes) -> None:
    assert len(take_off_pkcs1(block, SECRET, b"ciphertext")) <= SIZE


@pytest.mark.parametrize("digest", HASHES)
@pytest.mark.parametrize("mask_digest", ["sha1", "sha256"])
@pytest.mark.parametrize("label", [b"", b"label"])
def test_oaep_comes_out_as_it_went_in(rsa_key: rsa.RSAPrivateKey, digest: str, mask_digest: str, label: bytes) -> None:
    message = secrets.token_bytes(32)
    oaep = padding.OAEP(padding.MGF1(HASHES[mask_digest]), HASHES[digest], label)
    block = raw(rsa_key, rsa_key.public_key().encrypt(message, oaep))
    assert take_off_oaep(block, digest=digest, mask_digest=mask_digest, label=label) == message
    assert take_off_oaep(block, digest=digest, mask_digest=mask_digest, label=b"another") is None
    for position in (0, 1, 60, SIZE - 1):
        changed = block[:position] + bytes((block[position] ^ 1,)) + block[position + 1 :]
        assert take_off_oaep(changed, digest=digest, mask_digest=mask_digest, label=label) is None


@given(st.binary(min_size=SIZE, max_size=SIZE))
def test_a_block_at_random_is_no_oaep(block: bytes) -> None:
    assert take_off_oaep(block, digest="sha1", mask_digest="sha1", label=b"") is None
