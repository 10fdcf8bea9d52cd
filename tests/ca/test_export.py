"""Chains as files: the serialized store byte for byte, and back."""

import struct

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from ca.export import ChainFormat, exported, serialized_store
from tests.ca.foreign import foreign_root

ROOT = foreign_root()
BELOW = ROOT.authority("Foreign Sub CA")
CHAIN = [each.certificate.public_bytes(Encoding.DER) for each in (BELOW, ROOT)]


def read_store(data: bytes) -> list[bytes]:
    """Read a serialized store back, strictly."""
    version, magic = struct.unpack_from("<I4s", data)
    assert (version, magic) == (0, b"CERT")
    offset = 8
    found: list[bytes] = []
    while True:
        prop, encoding, length = struct.unpack_from("<III", data, offset)
        offset += 12
        if prop == 0:
            assert (encoding, length, offset) == (0, 0, len(data))
            return found
        assert (prop, encoding) == (32, 1)
        found.append(data[offset : offset + length])
        offset += length


def test_a_store_is_these_very_bytes() -> None:
    # facts/mail_profiles.md section 6: 0 and "CERT"; property 32, encoding 1, the length, the certificate; twelve zeros.
    first, second = b"\x30\x03\x02\x01\x07", b"\x30\x00"
    assert serialized_store([first, second]) == bytes.fromhex(
        "000000004345525420000000010000000500000030030201072000000001000000020000003000000000000000000000000000"
    )
    assert serialized_store([]) == bytes.fromhex("0000000043455254000000000000000000000000")


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_a_store_holds_what_was_put_in(certificates: list[bytes]) -> None:
    assert read_store(serialized_store(certificates)) == certificates


def test_a_chain_is_the_same_in_every_form() -> None:
    assert read_store(exported(CHAIN, ChainFormat.SST)) == CHAIN
    expected = [x509.load_der_x509_certificate(der) for der in CHAIN]
    assert x509.load_pem_x509_certificates(exported(CHAIN, ChainFormat.PEM)) == expected
    assert set(pkcs7.load_der_pkcs7_certificates(exported(CHAIN, ChainFormat.P7C))) == set(expected)


def test_every_form_has_a_media_type() -> None:
    assert all(form.media_type for form in ChainFormat)
