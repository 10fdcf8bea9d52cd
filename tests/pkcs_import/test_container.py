"""Files as programs write them are opened, within their passwords' many spellings."""

import json
import unicodedata
import warnings
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import tlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import.container import Container, open_container
from pkcs_import.errors import UnsupportedKey, WrongPassword
from pkcs_import.matching import identities
from tests.foundation.ber_encoding import to_ber
from tests.pkcs_import import containers
from tests.pkcs_import.containers import aes, bmp, certificate_bag, data, encrypted, key_bag, mac, pbmac1, pfx, triple_des
from tests.vectors.pkcs12.make import BEYOND_BMP, LATIN, RECIPES, UMLAUTS
from tests.vectors.pkcs12.parties import HERE, der, pkcs8, spki

VECTORS: Final[dict[str, dict[str, Any]]] = json.loads((HERE / "vectors.json").read_text())
# What the library's own loader does not read: several keys, of which it takes one; and passwords that are spelt otherwise.
_OURS_ALONE: Final = {"java-several", "nss-several", "openssl-latin-1", "gpgsm-umlauts", "built-old-nss"}


def vector(name: str) -> bytes:
    """Return the file of a vector."""
    return (HERE / f"{name}.p12").read_bytes()


def parties_in(container: Container) -> list[str]:
    """Return whose keys are in a container, as the vectors name them."""
    by_spki = {spki(party): party for party in ("ann", "ann-old", "bob", "cid")}
    return [by_spki[key.spki] for key in container.keys]


def test_every_vector_has_a_recipe() -> None:
    assert set(VECTORS) == set(RECIPES)


@pytest.mark.parametrize("name", VECTORS)
def test_what_programs_write_is_opened(name: str) -> None:
    described = VECTORS[name]
    container = open_container(vector(name), described["password"])
    assert parties_in(container) == described["parties"]
    assert [key.pkcs8 for key in container.keys] == [pkcs8(party) for party in described["parties"]]
    assert container.skipped == ()
    found = identities(container)
    assert [each.certificates[0].der for each in found] == [der(party) for party in described["parties"]]
    assert {len(each.certificates[0].chain) for each in found} == {described["chain"]}
    if described["chain"]:
        assert found[0].certificates[0].chain == (der("issuing"), der("root"))


@pytest.mark.parametrize("name", sorted(VECTORS.keys() - _OURS_ALONE))
def test_the_library_s_own_loader_finds_the_same(name: str) -> None:
    password = VECTORS[name]["password"]
    with warnings.catch_warnings():
        # BER, which may become an error.
        warnings.simplefilter("ignore", UserWarning)
        key, certificate, _ = pkcs12.load_key_and_certificates(vector(name), password.encode())
    assert key is not None
    assert certificate is not None
    encoding = (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    assert [key.private_bytes(*encoding)] == [each.pkcs8 for each in open_container(vector(name), password).keys]


@pytest.mark.parametrize("name", sorted(VECTORS.keys() - {"openssl-nothing-encrypted"}))
def test_another_password_opens_nothing(name: str) -> None:
    with pytest.raises(WrongPassword, match="password does not open"):
        open_container(vector(name), "correct horsE")


@pytest.mark.parametrize("name", ["openssl-aes256", "openssl-rc2-40", "openssl-no-mac"])
@pytest.mark.parametrize("password", [None, ""])
def test_no_password_does_not_open_what_has_one(name: str, password: str | None) -> None:
    with pytest.raises(WrongPassword):
        open_container(vector(name), password)


def test_without_mac_and_encryption_any_password_will_do() -> None:
    plain = pfx(data([key_bag(pkcs8("ann")), certificate_bag(der("ann"))]))
    assert parties_in(open_container(plain, None)) == parties_in(open_container(plain, "whatever")) == ["ann"]


# --- passwords ---


@pytest.mark.parametrize("password", [None, ""])
@pytest.mark.parametrize("spelt", [b"", b"\0\0"], ids=["absent", "empty"])
def test_empty_and_absent_passwords_stand_for_each_other(password: str | None, spelt: bytes) -> None:
    encryption = triple_des(spelt)
    made = pfx(encrypted([certificate_bag(der("ann"))], encryption), data([key_bag(pkcs8("ann"), encryption)]), mac=mac(spelt))
    assert parties_in(open_container(made, password)) == ["ann"]
    without_mac = pfx(encrypted([certificate_bag(der("ann"))], encryption), data([key_bag(pkcs8("ann"), encryption)]))
    assert parties_in(open_container(without_mac, password)) == ["ann"]


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_composed_and_decomposed_characters_are_the_same_password(stored: str, typed: str) -> None:
    made = containers.simple(pkcs8("bob"), der("bob"), password=unicodedata.normalize(stored, UMLAUTS))  # type: ignore[arg-type]
    opened = open_container(made, unicodedata.normalize(typed, UMLAUTS))  # type: ignore[arg-type]
    assert parties_in(opened) == ["bob"]


@pytest.mark.parametrize("password", [LATIN, UMLAUTS, BEYOND_BMP])
def test_openssl_before_1_1_takes_bytes_for_characters(password: str) -> None:
    spelt = bmp(password.encode().decode("latin-1"))
    encryption = triple_des(spelt)
    made = pfx(encrypted([certificate_bag(der("bob"))], encryption), data([key_bag(pkcs8("bob"), encryption)]), mac=mac(spelt))
    assert parties_in(open_container(made, password)) == ["bob"]


def test_a_password_may_hold_half_a_surrogate_pair() -> None:
    with pytest.raises(WrongPassword):
        open_container(vector("openssl-aes256"), "\udc80")


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_a_file_opens_under_the_password_it_was_made_with(password: str) -> None:
    spelt, octets = password.encode("utf-16-be", "surrogatepass") + b"\0\0", password.encode("utf-8", "surrogatepass")
    bags = encrypted([certificate_bag(der("bob"))], aes(octets, iterations=2))
    made = pfx(bags, data([key_bag(pkcs8("bob"), triple_des(spelt, iterations=2))]), mac=mac(spelt, iterations=2))
    assert parties_in(open_container(made, password)) == ["bob"]


# --- odd but sound ---


@pytest.mark.parametrize("length", [20, 32, 64])
def test_pbmac1_takes_keys_of_several_lengths(length: int) -> None:
    made = pfx(data([key_bag(pkcs8("bob")), certificate_bag(der("bob"))]), mac=pbmac1(b"secret", length=length))
    assert parties_in(open_container(made, "secret")) == ["bob"]
    with pytest.raises(WrongPassword):
        open_container(made, "Secret")


def test_an_absent_iteration_count_is_one() -> None:
    made = pfx(data([key_bag(pkcs8("bob")), certificate_bag(der("bob"))]), mac=mac(bmp("secret"), iterations=1, stated=0))
    assert parties_in(open_container(made, "secret")) == ["bob"]


def test_what_follows_the_file_is_no_part_of_it() -> None:
    assert parties_in(open_container(vector("openssl-aes256") + b"\r\n\0\0", "correct horse")) == ["ann"]


def test_bags_may_be_nested_and_may_be_of_no_interest() -> None:
    nested = containers.bag(oids.SAFE_CONTENTS_BAG, tlv.sequence(key_bag(pkcs8("bob")), certificate_bag(der("bob"))))
    secret = containers.bag("1.2.840.113549.1.12.10.1.5", tlv.sequence())
    foreign = certificate_bag(b"sdsi", certificate_type="1.2.840.113549.1.9.22.2")
    container = open_container(pfx(data([secret, foreign, nested])), None)
    assert parties_in(container) == ["bob"]
    assert container.certificates == (der("bob"),)


def test_a_key_and_a_certificate_that_come_twice_count_once() -> None:
    bags = [key_bag(pkcs8("bob")), key_bag(pkcs8("bob")), certificate_bag(der("bob")), certificate_bag(der("bob"))]
    container = open_container(pfx(data(bags)), None)
    assert parties_in(container) == ["bob"]
    assert container.certificates == (der("bob"),)


def test_keys_that_are_not_read_are_left_out_and_named() -> None:
    bags = [key_bag(_small()), key_bag(pkcs8("bob")), certificate_bag(der("bob"))]
    container = open_container(pfx(data(bags)), None)
    assert parties_in(container) == ["bob"]
    assert container.skipped == ("RSA keys have between 1024 and 8192 bits here, this one 512",)
    with pytest.raises(UnsupportedKey, match="this one 512"):
        open_container(pfx(data(bags[:1])), None)


def _small() -> bytes:
    # The library makes no such keys any more, and reads them still.
    p = _next_prime(0xF34F6C3E9B8F1E0D3A5C6B7D8E9FA0B1C2D3E4F5061728394A5B6C7D8E9FA3D1)
    return _numbers(p, _next_prime(p ^ (1 << 200)))


def _next_prime(number: int) -> int:
    number |= 1
    while pow(2, number - 1, number) != 1 or pow(3, number - 1, number) != 1:
        number += 2
    return number


def _numbers(p: int, q: int) -> bytes:
    n, e = p * q, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    fields = (0, n, e, d, p, q, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    inner = tlv.sequence(*(tlv.integer(each) for each in fields))
    return tlv.sequence(tlv.integer(0), containers.algorithm("1.2.840.113549.1.1.1"), tlv.octet_string(inner))


# --- names ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (tlv.tlv(0x1E, "Änn\n🔑".encode("utf-16-be")), "Änn🔑"),
        (tlv.utf8_string("x" * 300), "x" * 200),
        (tlv.null(), ""),
        (tlv.tlv(0x1E, b"\xd8"), ""),
        (b"\x1e\x7f", ""),
    ],
    ids=["with a line break", "endless", "no string", "half a character", "truncated"],
)
def test_names_are_fit_to_be_shown(value: bytes, expected: str) -> None:
    attributes = tlv.set_of(containers.attribute(oids.FRIENDLY_NAME, value)) if value != b"\x1e\x7f" else b""
    container = open_container(pfx(data([key_bag(pkcs8("bob"), None, attributes)])), None)
    assert container.keys[0].friendly_name == expected


def test_the_local_key_id_is_read_where_it_is_one() -> None:
    sound = tlv.set_of(containers.attribute(oids.LOCAL_KEY_ID, tlv.octet_string(b"\1")))
    odd = tlv.set_of(containers.attribute(oids.LOCAL_KEY_ID, tlv.null()))
    bags = [key_bag(pkcs8("bob"), None, sound), key_bag(pkcs8("ann"), None, odd)]
    assert [key.local_key_id for key in open_container(pfx(data(bags)), None).keys] == [b"\1", None]


def test_nothing_secret_shows_in_what_is_printed() -> None:
    container = open_container(vector("openssl-aes256"), "correct horse")
    assert "pkcs8" not in repr(container)
    assert "correct" not in repr(container)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2000), st.booleans(), st.booleans())
def test_ber_in_any_segments_is_read_on_every_level(segment: int, outside: bool, inside: bool) -> None:  # noqa: FBT001 - from hypothesis
    def ber(encoded: bytes, *, implicit: bool = False) -> bytes:
        return to_ber(encoded, segment=segment, implicit=implicit, keep=[der("bob")])

    encryption = triple_des(bmp("secret"), iterations=1)
    within, without = (ber if chosen else containers.as_it_is for chosen in (inside, outside))
    key, certificate = key_bag(pkcs8("bob"), encryption), certificate_bag(der("bob"))
    parts = encrypted([certificate], encryption, ber=within), data([key], ber=within)
    made = pfx(*parts, mac=mac(bmp("secret"), iterations=1), ber=without)
    container = open_container(made, "secret")
    assert parties_in(container) == ["bob"]
    assert container.certificates == (der("bob"),)
