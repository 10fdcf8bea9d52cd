"""Each refusal has its own class and message, and takes no more time than the file is worth."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from foundation import tlv
from foundation.errors import BadRequest
from pkcs_import import pkcs12_oids as oids
from pkcs_import.container import MAX_BYTES, MAX_CERTIFICATES, MAX_ITERATIONS, MAX_KEYS, open_container
from pkcs_import.effort import MAX_EFFORT, Effort
from pkcs_import.errors import (
    BadContainer,
    ContainerTooBig,
    ContainerTooSlow,
    NoPrivateKey,
    NotPkcs12,
    TruncatedContainer,
    UnsupportedKey,
    WrongPassword,
)
from pkcs_import.pkcs12_decoding import Algorithm
from pkcs_import.pkcs12_kdf import pbkdf2_derivation
from tests.foundation.ber_encoding import to_ber
from tests.pkcs_import import containers
from tests.pkcs_import.containers import (
    aes,
    algorithm,
    bmp,
    certificate_bag,
    data,
    encrypted,
    key_bag,
    mac,
    pbmac1,
    pfx,
    triple_des,
)
from tests.pkcs_import.test_container import vector
from tests.vectors.pkcs12.parties import HERE, der, pkcs8

PASSWORD = "secret"
BAGS = (key_bag(pkcs8("bob")), certificate_bag(der("bob")))


def refused(made: bytes, password: str | None = PASSWORD) -> BadContainer:
    """Return how a file is refused, quickly."""
    began = time.process_time()
    with pytest.raises(BadContainer) as caught:
        open_container(made, password)
    assert time.process_time() - began < 2
    assert isinstance(caught.value, BadRequest)
    assert PASSWORD not in str(caught.value)
    return caught.value


# --- not PKCS #12 ---


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (b"", "is empty"),
        ((HERE / "ann.pem").read_bytes(), "is PEM, not PKCS #12"),
        (b"\xef\xbb\xbf\r\n" + (HERE / "ann.pem").read_bytes(), "is PEM, not PKCS #12"),
        (der("ann"), "a certificate or a request, without a private key"),
        (pkcs8("ann"), "a bare private key"),
        (containers.content_info(oids.SIGNED_DATA, tlv.sequence(tlv.integer(1))), "a PKCS #7 with certificates"),
        (b"\xfe\xed\xfe\xed\0\0\0\2", "a Java keystore (JKS)"),
        (b"\xce\xce\xce\xce\0\0\0\2", "a Java keystore (JCEKS)"),
        (b"PK\3\4rest", "a ZIP archive"),
        (b"upn,file,password\n", "no PKCS #12"),
        (tlv.sequence(tlv.integer(3)), "no PKCS #12, or it is damaged"),
        (tlv.sequence(), "no PKCS #12, or it is damaged"),
        (b"\x30\x89" + b"\xff" * 100, "no PKCS #12, or it is damaged"),
        (pfx(data(BAGS), version=2), "of version 2; version 3 is read"),
        (tlv.sequence(tlv.integer(3), containers.content_info("1.2.3", tlv.null())), "no PKCS #12, or it is damaged"),
        (pfx(containers.content_info("1.2.3", tlv.null())), "no PKCS #12, or it is damaged"),
        (pfx(data([tlv.sequence(tlv.null())])), "no PKCS #12, or it is damaged"),
    ],
)
def test_something_else_is_called_what_it_is(made: bytes, message: str) -> None:
    refusal = refused(made)
    assert type(refusal) is NotPkcs12
    assert message in str(refusal)


def test_bags_nested_without_end_are_damage() -> None:
    nested = key_bag(pkcs8("bob"))
    for _ in range(5):
        nested = containers.bag(oids.SAFE_CONTENTS_BAG, tlv.sequence(nested))
    assert type(refused(pfx(data([nested])))) is NotPkcs12


# --- truncated ---


@pytest.mark.parametrize("name", ["openssl-aes256", "openssl-rc2-40", "built-ber", "java-several"])
def test_a_file_that_ends_too_early_is_truncated_wherever_it_ends(name: str) -> None:
    whole = vector(name)
    for length in (1, 2, 3, 4, 50, len(whole) // 2, len(whole) - 3, len(whole) - 1):
        refusal = refused(whole[:length], "correct horse")
        assert type(refusal) is TruncatedContainer
        assert str(refusal) == "the file ends too early: part of it is missing"


# --- too big ---


def test_more_bytes_than_are_read_are_too_big() -> None:
    refusal = refused(vector("openssl-aes256") + bytes(MAX_BYTES))
    assert type(refusal) is ContainerTooBig
    assert f"{MAX_BYTES} are read at most" in str(refusal)


def test_more_certificates_than_are_read_are_too_big() -> None:
    bags = [certificate_bag(tlv.octet_string(number.to_bytes(2, "big"))) for number in range(MAX_CERTIFICATES + 1)]
    assert type(refused(pfx(data(bags)))) is ContainerTooBig
    assert type(refused(pfx(data(bags[1:])))) is NoPrivateKey


def test_more_keys_than_are_read_are_too_big() -> None:
    # None of them is read, and each is looked at.
    wrong = key_bag(pkcs8("bob"), triple_des(bmp("other"), iterations=1))
    made = pfx(data([wrong] * (MAX_KEYS + 1)), mac=mac(bmp(PASSWORD), iterations=1))
    assert type(refused(made)) is ContainerTooBig


def test_more_bags_of_any_kind_than_are_read_are_too_big() -> None:
    bags = [containers.bag("1.2.840.113549.1.12.10.1.5", tlv.null())] * 2001
    refusal = refused(pfx(data(bags)))
    assert type(refusal) is ContainerTooBig
    assert "more than 2000 things" in str(refusal)


# --- too slow ---


@pytest.mark.parametrize("stated", [MAX_ITERATIONS + 1, 2**31 - 1, 2**63, 2**120])
@pytest.mark.parametrize("where", ["MAC", "PBMAC1", "certificates, 3DES", "certificates, AES", "key, 3DES", "key, AES"])
def test_iterations_beyond_bounds_are_read_before_any_is_done(where: str, stated: int) -> None:
    spelt, octets = bmp(PASSWORD), PASSWORD.encode()
    sound = mac(spelt, iterations=1)
    made = {
        "MAC": lambda: pfx(data(BAGS), mac=mac(spelt, iterations=1, stated=stated)),
        "PBMAC1": lambda: pfx(data(BAGS), mac=pbmac1(octets, iterations=1, stated=stated)),
        "certificates, 3DES": lambda: pfx(encrypted(BAGS, triple_des(spelt, iterations=1, stated=stated)), mac=sound),
        "certificates, AES": lambda: pfx(encrypted(BAGS, aes(octets, iterations=1, stated=stated)), mac=sound),
        "key, 3DES": lambda: pfx(data([key_bag(pkcs8("bob"), triple_des(spelt, iterations=1, stated=stated))]), mac=sound),
        "key, AES": lambda: pfx(data([key_bag(pkcs8("bob"), aes(octets, iterations=1, stated=stated))]), mac=sound),
    }[where]()
    refusal = refused(made)
    assert type(refusal) is ContainerTooSlow
    assert str(refusal) == f"the file asks for {stated} iterations; {MAX_ITERATIONS} are done at most"


def test_no_derivation_is_begun_before_all_in_sight_are_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pkcs_import.pkcs12_mac.pkcs12_kdf", lambda *_: pytest.fail("a derivation was begun"))
    parts = encrypted(BAGS, triple_des(bmp(PASSWORD), iterations=1, stated=MAX_ITERATIONS + 1))
    assert type(refused(pfx(parts, mac=mac(bmp(PASSWORD), iterations=1)))) is ContainerTooSlow


@pytest.mark.parametrize("stated", [0, -1])
def test_no_iterations_at_all_are_damage(stated: int) -> None:
    made = pfx(encrypted(BAGS, triple_des(bmp(PASSWORD), iterations=1, stated=stated)))
    assert type(refused(made)) is NotPkcs12


def test_many_keys_may_not_add_up_to_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pkcs_import.container.Effort", lambda: Effort(3_000_000))
    bag = key_bag(pkcs8("bob"), aes(b"other", iterations=1, stated=MAX_ITERATIONS))
    refusal = refused(pfx(data([bag] * 50)), PASSWORD)
    assert type(refusal) is ContainerTooSlow
    assert "all its keys taken together" in str(refusal)


def test_one_of_each_kind_at_the_most_iterations_is_within_bounds() -> None:
    """A MAC (once), a key in 3DES (key twice, IV once), certificates in RC2-40 (twice): each costs four a go."""
    assert (1 + 3 + 2) * MAX_ITERATIONS * 4 <= MAX_EFFORT


# --- the password ---


def test_a_wrong_password_is_told_from_damage_as_far_as_it_can_be() -> None:
    refusal = refused(containers.simple(pkcs8("bob"), der("bob"), password=PASSWORD), "wrong")
    assert type(refusal) is WrongPassword
    assert str(refusal) == "the password does not open the file, or the file is damaged"


def test_a_password_longer_than_any_is_wrong() -> None:
    assert type(refused(vector("openssl-aes256"), "x" * 4097)) is WrongPassword


def test_a_key_under_another_password_than_the_file_says_so() -> None:
    made = pfx(data([key_bag(pkcs8("bob"), aes(b"other")), certificate_bag(der("bob"))]), mac=mac(bmp(PASSWORD)))
    refusal = refused(made)
    assert type(refusal) is WrongPassword
    assert str(refusal) == "the password does not open the private key in the file"


def test_certificates_under_another_password_than_the_file_say_so() -> None:
    made = pfx(encrypted(BAGS, aes(b"other")), mac=mac(bmp(PASSWORD)))
    refusal = refused(made)
    assert type(refusal) is WrongPassword
    assert str(refusal) == "the password does not open what is encrypted in the file"


def test_a_changed_byte_anywhere_under_the_mac_is_noticed() -> None:
    made = bytearray(containers.simple(pkcs8("bob"), der("bob"), password=PASSWORD))
    position = made.find(der("bob")[-8:]) if der("bob")[-8:] in made else len(made) // 2
    made[position] ^= 1
    assert type(refused(bytes(made))) is WrongPassword


# --- no key, or none that is read ---


def test_a_file_with_certificates_alone_has_no_key() -> None:
    refusal = refused(pfx(data([certificate_bag(der("ann"))]), mac=mac(bmp(PASSWORD))))
    assert type(refusal) is NoPrivateKey
    assert str(refusal) == "there is no private key in the file"


def test_a_dsa_key_is_of_no_use() -> None:
    key = dsa.generate_private_key(2048).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    refusal = refused(pfx(data([key_bag(key)])))
    assert type(refusal) is UnsupportedKey
    assert str(refusal) == "a private key of a kind that no mail is encrypted or signed with"


def test_a_key_of_an_unknown_kind_is_not_read() -> None:
    key = tlv.sequence(tlv.integer(0), algorithm("1.2.3.4"), tlv.octet_string(b"key"))
    assert type(refused(pfx(data([key_bag(key)])))) is UnsupportedKey


def test_a_private_key_larger_than_any_is_not_read() -> None:
    assert type(refused(pfx(data([key_bag(tlv.sequence(bytes(20000)))])))) is UnsupportedKey


def _encrypted_as(named: bytes) -> bytes:
    content = tlv.sequence(tlv.object_identifier(oids.DATA), named, tlv.tlv(0x80, bytes(16)))
    return pfx(containers.content_info(oids.ENCRYPTED_DATA, tlv.sequence(tlv.integer(0), content)))


_SCRYPT = algorithm("1.3.6.1.4.1.11591.4.11", tlv.sequence())
_AES = algorithm(oids.AES256_CBC, tlv.octet_string(bytes(16)))


def _pbkdf2(pseudorandom: str) -> bytes:
    fields = (tlv.octet_string(b"salt"), tlv.integer(1), algorithm(pseudorandom))
    return algorithm(oids.PBKDF2, tlv.sequence(*fields))


@pytest.mark.parametrize(
    ("named", "oid"),
    [
        (algorithm("1.2.840.113549.1.5.3", tlv.sequence(tlv.octet_string(bytes(8)), tlv.integer(1))), "1.2.840.113549.1.5.3"),
        (algorithm(oids.PBES2, tlv.sequence(_SCRYPT, _AES)), "1.3.6.1.4.1.11591.4.11"),
        (algorithm(oids.PBES2, tlv.sequence(_pbkdf2("1.2.643.7.1.1.4.2"), _AES)), "1.2.643.7.1.1.4.2"),
        (algorithm(oids.PBES2, tlv.sequence(_pbkdf2(oids.HMAC_WITH_SHA256), algorithm("1.2.3"))), "1.2.3"),
    ],
    ids=["PBES1 of PKCS #5", "scrypt", "GOST", "an unknown cipher"],
)
def test_an_encryption_that_is_not_read_is_named(named: bytes, oid: str) -> None:
    refusal = refused(_encrypted_as(named))
    assert type(refusal) is UnsupportedKey
    assert oid in str(refusal)


@pytest.mark.parametrize(
    "named",
    [
        algorithm(
            oids.PBES2, tlv.sequence(_pbkdf2(oids.HMAC_WITH_SHA256), algorithm(oids.AES256_CBC, tlv.octet_string(b"short")))
        ),
        algorithm(oids.PBES2, tlv.sequence(algorithm(oids.PBKDF2, tlv.null()), _AES)),
        algorithm(oids.PBES2),
        algorithm(oids.PBE_SHA1_3DES),
        algorithm(oids.PBE_SHA1_3DES, tlv.sequence(tlv.octet_string(bytes(2000)), tlv.integer(1))),
    ],
    ids=["IV", "PBKDF2", "PBES2", "3DES", "salt"],
)
def test_an_encryption_with_broken_parameters_is_damage(named: bytes) -> None:
    assert type(refused(_encrypted_as(named))) is NotPkcs12


def test_a_ciphertext_of_broken_blocks_is_damage() -> None:
    def broken(plaintext: bytes) -> tuple[bytes, bytes]:
        named, ciphertext = aes(PASSWORD.encode(), iterations=1)(plaintext)
        return named, ciphertext[:-1]

    assert type(refused(pfx(encrypted(BAGS, broken)))) is NotPkcs12


def test_an_absent_ciphertext_is_damage() -> None:
    content = tlv.sequence(tlv.object_identifier(oids.DATA), aes(b"x")(b"")[0])
    made = pfx(containers.content_info(oids.ENCRYPTED_DATA, tlv.sequence(tlv.integer(0), content)))
    assert type(refused(made)) is NotPkcs12


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (pfx(data(BAGS), mac=mac(bmp(PASSWORD), oid="1.2.840.113549.2.5")), "1.2.840.113549.2.5"),
        (
            tlv.sequence(tlv.integer(3), containers.content_info(oids.SIGNED_DATA, tlv.sequence())),
            "by a signature; only those under a password are read",
        ),
        (
            pfx(containers.content_info(oids.ENVELOPED_DATA, tlv.sequence())),
            "encrypted to a certificate; only those under a password",
        ),
    ],
    ids=["MD5", "signed", "enveloped"],
)
def test_other_kinds_of_pkcs12_are_named(made: bytes, message: str) -> None:
    refusal = refused(made)
    assert type(refusal) is UnsupportedKey
    assert message in str(refusal)


@pytest.mark.parametrize("length", [0, 1, 19, 1025])
def test_pbmac1_with_a_key_of_no_acceptable_length_is_damage(length: int) -> None:
    """RFC 9579 section 5: with one byte, one password in 256 would fit."""

    def short(content: bytes) -> bytes:
        made = pbmac1(PASSWORD.encode(), length=32)(content)
        return made.replace(
            tlv.integer(32) + algorithm(oids.HMAC_WITH_SHA256), tlv.integer(length) + algorithm(oids.HMAC_WITH_SHA256)
        )

    made = pfx(data(BAGS), mac=short)
    assert type(refused(made)) is NotPkcs12


def test_pbkdf2_with_a_salt_from_elsewhere_is_not_read() -> None:
    parameters = tlv.sequence(algorithm(oids.PBKDF2), tlv.integer(1))
    with pytest.raises(BadRequest):
        pbkdf2_derivation(Algorithm(oids.PBKDF2, parameters))


# --- BER without end ---


def test_a_bomb_of_nested_lengths_is_refused() -> None:
    assert isinstance(refused(b"\x30\x80" * 400_000 + b"\0\0"), NotPkcs12)


def test_a_million_tiny_segments_are_refused() -> None:
    made = to_ber(pfx(data([key_bag(pkcs8("bob")), certificate_bag(bytes(50_000))])), segment=1)
    assert isinstance(refused(made), NotPkcs12)
