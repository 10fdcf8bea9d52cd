"""Private keys from elsewhere are found sound without testing primes."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from foundation import tlv
from foundation.tlv import MalformedTlv
from pkcs_import.errors import NoPrivateKey
from pkcs_import.private_keys import Readable, read_private_key
from tests.foundation.ber_encoding import to_ber
from tests.pkcs_import.containers import algorithm, attribute
from tests.vectors.pkcs12.parties import key, pkcs8, spki

RSA = "1.2.840.113549.1.1.1"


def encoded(of: Readable) -> bytes:
    return of.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def numbers() -> rsa.RSAPrivateNumbers:
    ann = key("ann")
    assert isinstance(ann, rsa.RSAPrivateKey)
    return ann.private_numbers()


def written(n: int, e: int, d: int, p: int, q: int, dmp1: int, dmq1: int, iqmp: int) -> bytes:
    """Return an RSA key with these numbers, whatever they are."""
    fields = (0, n, e, d, p, q, dmp1, dmq1, iqmp)
    return tlv.sequence(tlv.integer(0), algorithm(RSA), tlv.octet_string(tlv.sequence(*(tlv.integer(each) for each in fields))))


def fields() -> dict[str, int]:
    private = numbers()
    public = private.public_numbers
    return {
        "n": public.n,
        "e": public.e,
        "d": private.d,
        "p": private.p,
        "q": private.q,
        "dmp1": private.dmp1,
        "dmq1": private.dmq1,
        "iqmp": private.iqmp,
    }


@pytest.mark.parametrize(
    ("made", "called"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "secp256r1"),
        (ec.generate_private_key(ec.SECP521R1()), "secp521r1"),
        (ec.generate_private_key(ec.BrainpoolP256R1()), "brainpoolP256r1"),
        (ed448.Ed448PrivateKey.generate(), "ed448"),
        (x25519.X25519PrivateKey.generate(), "x25519"),
        (x448.X448PrivateKey.generate(), "x448"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_key_for_mail_is_read(made: Readable, called: str) -> None:
    found = read_private_key(encoded(made))
    assert found.algorithm == called
    assert found.pkcs8 == encoded(made)
    assert found.spki == made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_an_rsa_key_is_called_by_its_size() -> None:
    assert read_private_key(pkcs8("ann")).algorithm == "rsa2048"
    old = rsa.generate_private_key(65537, 1024)  # noqa: S505 - as old mail has them
    assert read_private_key(encoded(old)).algorithm == "rsa1024"


def test_the_numbers_of_a_sound_key_are_accepted_as_they_are_written() -> None:
    assert read_private_key(written(**fields())).spki == spki("ann")


@pytest.mark.parametrize("changed", ["n", "d", "p", "q", "dmp1", "dmq1", "iqmp"])
@pytest.mark.parametrize("by", [1, 2, 1 << 100])
def test_a_key_with_any_number_changed_is_damaged(changed: str, by: int) -> None:
    values = fields()
    values[changed] += by
    with pytest.raises((NoPrivateKey, MalformedTlv)):
        read_private_key(written(**values))


@pytest.mark.parametrize("exponent", [1, 65536, (1 << 64) + 13])
def test_a_public_exponent_that_is_none_is_damage(exponent: int) -> None:
    with pytest.raises((NoPrivateKey, MalformedTlv)):
        read_private_key(written(**{**fields(), "e": exponent}))


def test_factors_that_are_one_and_the_modulus_are_damage() -> None:
    values = fields()
    with pytest.raises((NoPrivateKey, MalformedTlv)):
        read_private_key(written(**{**values, "p": values["n"], "q": 1, "dmq1": 0, "iqmp": 1}))


def test_a_key_without_its_primes_is_damaged() -> None:
    with pytest.raises((NoPrivateKey, MalformedTlv)):
        read_private_key(written(**{**fields(), "p": 0, "q": 0, "dmp1": 0, "dmq1": 0, "iqmp": 0}))


def test_another_public_half_within_an_elliptic_key_is_damage() -> None:
    mine, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    point, foreign = (each.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for each in (mine, other))
    with pytest.raises((NoPrivateKey, MalformedTlv)):
        read_private_key(encoded(mine).replace(point, foreign))


def test_attributes_in_the_key_are_left_behind() -> None:
    """CryptoAPI writes the key usage there."""
    plain = pkcs8("ann")
    content = plain[tlv.read(plain).content :]
    usage = attribute("2.5.29.15", tlv.bit_string(b"\x10"))
    assert read_private_key(tlv.sequence(content, tlv.tlv(0xA0, usage))).pkcs8 == plain


def test_ber_in_the_key_is_read() -> None:
    assert read_private_key(to_ber(pkcs8("bob"))).pkcs8 == pkcs8("bob")


def test_a_key_encrypted_once_more_is_malformed() -> None:
    twice = key("bob").private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(MalformedTlv, match="in clear"):
        read_private_key(twice)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_an_edwards_key_of_a_wrong_length_is_malformed(length: int) -> None:
    odd = tlv.sequence(tlv.integer(0), algorithm("1.3.101.112", b""), tlv.octet_string(tlv.octet_string(bytes(length))))
    with pytest.raises(MalformedTlv):
        read_private_key(odd)


@pytest.mark.parametrize("junk", [b"", b"\x30\x00", pkcs8("ann")[:-1], b"junk"])
def test_what_is_no_key_is_malformed(junk: bytes) -> None:
    with pytest.raises(MalformedTlv):
        read_private_key(junk)


def test_reading_costs_a_tenth_of_the_library_s_own_check() -> None:
    ours = min(_seconds(lambda: read_private_key(pkcs8("ann"))) for _ in range(3))
    theirs = min(_seconds(lambda: load_der_private_key(pkcs8("ann"), None)) for _ in range(3))
    assert ours < theirs / 10


def _seconds(call: object) -> float:
    assert callable(call)
    began = time.process_time()
    call()
    return time.process_time() - began
