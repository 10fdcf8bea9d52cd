"""The TLV reader and writers, held against the library's own encoder."""

import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import tlv
from foundation.tlv import MalformedTlv


@asn1.sequence
class _Numbers:
    numbers: list[int]


@asn1.sequence
class _Identifiers:
    identifiers: list[x509.ObjectIdentifier]


@given(st.integers(min_value=-(2**300), max_value=2**300))
def test_integers_are_encoded_as_the_library_does(value: int) -> None:
    assert tlv.sequence(tlv.sequence(tlv.integer(value))) == asn1.encode_der(_Numbers(numbers=[value]))


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.7.2", "2.5.4.3", "0.9.2342", "2.999.1", "1.3.6.1.4.1.311.20.2.3", "2.39.0"])
def test_object_identifiers_are_encoded_as_the_library_does_and_read_back(dotted: str) -> None:
    encoded = tlv.object_identifier(dotted)
    expected = asn1.encode_der(_Identifiers(identifiers=[x509.ObjectIdentifier(dotted)]))
    assert tlv.sequence(tlv.sequence(encoded)) == expected
    assert tlv.dotted(encoded) == dotted


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 24])
def test_lengths_of_every_size_are_minimal_and_read_back(size: int) -> None:
    encoded = tlv.octet_string(bytes(size))
    element = tlv.read(encoded)
    assert (element.tag, element.end - element.content, element.end) == (tlv.OCTET_STRING, size, len(encoded))
    length = encoded[1 : element.content]
    assert len(length) == 1 if size < 128 else length[1] != 0


def test_members_of_a_set_are_sorted() -> None:
    assert tlv.set_of(b"\x02\x01\x02", b"\x02\x01\x01") == b"\x31\x06\x02\x01\x01\x02\x01\x02"


def test_small_values_have_their_textbook_encodings() -> None:
    assert tlv.boolean(value=True) == b"\x01\x01\xff"
    assert tlv.boolean(value=False) == b"\x01\x01\x00"
    assert tlv.null() == b"\x05\x00"
    assert tlv.bit_string(b"\xa0", 5) == b"\x03\x02\x05\xa0"
    assert tlv.explicit(3, b"\x05\x00") == b"\xa3\x02\x05\x00"
    assert tlv.integer(5, tlv.ENUMERATED) == b"\x0a\x01\x05"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x02\x05",
        b"\x30\x82\x01",
        b"\x30\x80\x00\x00",
        b"\x04\x80",
        b"\x04\x89" + b"\x01" * 9,
        b"\x1f\x81\x01\x00",
    ],
)
def test_truncated_indefinite_and_high_tagged_elements_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedTlv):
        tlv.read(data)


def test_a_child_may_not_reach_beyond_its_parent() -> None:
    data = b"\x30\x03\x04\x02a" + b"bc"
    with pytest.raises(MalformedTlv):
        tlv.children(data, tlv.read(data))


def test_a_primitive_element_has_no_children() -> None:
    with pytest.raises(MalformedTlv):
        tlv.children(b"\x04\x00", tlv.read(b"\x04\x00"))


@pytest.mark.parametrize("encoded", [b"\x06\x00", b"\x06\x01\x80", b"\x04\x01\x2a", b"\x06\x41" + b"\x01" * 65])
def test_what_is_no_object_identifier_of_64_bytes_is_refused(encoded: bytes) -> None:
    with pytest.raises(MalformedTlv):
        tlv.dotted(encoded)


@pytest.mark.parametrize(
    ("tag", "content", "text"),
    [
        (0x0C, "Zoë".encode(), "Zoë"),
        (0x13, b"ann@example.com", "ann@example.com"),
        (0x14, b"Zo\xeb", "Zoë"),
        (0x16, b"ann", "ann"),
        (0x1E, "Zoë".encode("utf-16-be"), "Zoë"),
        (0x1C, "Zoë".encode("utf-32-be"), "Zoë"),
    ],
)
def test_every_string_type_is_read_as_text(tag: int, content: bytes, text: str) -> None:
    assert tlv.text(tag, content) == text


@pytest.mark.parametrize(("tag", "content"), [(0x0C, b"\xff"), (0x13, b"\xeb"), (0x1E, b"\x00"), (0x04, b"ann")])
def test_bytes_that_are_no_text_are_refused(tag: int, content: bytes) -> None:
    with pytest.raises(MalformedTlv):
        tlv.text(tag, content)


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedTlv):
        element = tlv.read(data)
        assert 2 <= element.content <= element.end <= len(data)
        tlv.children(data, element)
    with contextlib.suppress(MalformedTlv):
        tlv.dotted(data)
