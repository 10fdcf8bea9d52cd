"""BER brought into DER form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation import tlv
from foundation.ber import normalise
from foundation.tlv import MalformedTlv
from tests.foundation.ber_encoding import to_ber

_PRIMITIVES = st.one_of(
    st.integers(-(2**70), 2**70).map(tlv.integer),
    st.binary(max_size=300).map(tlv.octet_string),
    st.binary(max_size=40).map(tlv.bit_string),
    st.text(max_size=20).map(tlv.utf8_string),
    st.booleans().map(tlv.boolean),
    st.just(tlv.null()),
    st.just(tlv.object_identifier("1.2.840.113549.1.7.2")),
    st.binary(max_size=20).map(lambda content: tlv.tlv(0x80, content)),
)
DER = st.recursive(
    _PRIMITIVES,
    lambda inner: st.lists(inner, max_size=4).flatmap(
        lambda parts: st.sampled_from([tlv.sequence(*parts), tlv.set_of(*parts), tlv.explicit(0, b"".join(parts))])
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(DER, st.integers(1, 70))
def test_ber_of_any_der_comes_back_as_that_der(der: bytes, segment: int) -> None:
    assert normalise(to_ber(der, segment=segment), max_size=100_000) == der


@settings(max_examples=100)
@given(DER)
def test_der_is_left_as_it_is(der: bytes) -> None:
    assert normalise(der, max_size=100_000) == der


@settings(max_examples=400)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_normalised_or_refused(data: bytes) -> None:
    try:
        normal = normalise(data, max_size=200)
    except MalformedTlv:
        return
    assert tlv.read(normal).end == len(normal)
    assert normalise(normal, max_size=1000) == normal


def test_long_form_lengths_become_minimal() -> None:
    assert normalise(b"\x30\x83\x00\x00\x04\x04\x81\x01a", max_size=100) == b"\x30\x03\x04\x01a"


def test_segments_within_segments_are_joined() -> None:
    nested = b"\x24\x80" + b"\x24\x05\x04\x03abc" + b"\x04\x01d" + b"\0\0"
    assert normalise(nested, max_size=100) == b"\x04\x04abcd"


def test_a_segmented_character_string_is_joined_whatever_its_segments_are_called() -> None:
    assert normalise(b"\x33\x06\x04\x01a\x13\x01b", max_size=100) == b"\x13\x02ab"


def test_a_segmented_bit_string_keeps_the_unused_bits_of_its_last_segment() -> None:
    assert normalise(b"\x23\x09\x03\x02\x00\xff\x03\x03\x04\xff\xf0", max_size=100) == b"\x03\x04\x04\xff\xff\xf0"


def test_implicitly_tagged_segments_are_left_to_the_schema() -> None:
    assert normalise(b"\xa0\x80\x04\x01a\x04\x01b\0\0", max_size=100) == b"\xa0\x06\x04\x01a\x04\x01b"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x80", id="indefinite length without an end"),
        pytest.param(b"\x30\x80\x05\x00", id="the end is missing"),
        pytest.param(b"\x30\x80\0\0\0\0", id="bytes follow"),
        pytest.param(b"\x05\x00\x05\x00", id="two elements"),
        pytest.param(b"\x30\x02\0\0", id="an end in an element of definite length"),
        pytest.param(b"\x30\x80\0\x01a", id="an end with content"),
        pytest.param(b"\x30\x80\0\x81\0", id="an end with a long-form length"),
        pytest.param(b"\x04\x80\0\0", id="primitive of indefinite length"),
        pytest.param(b"\x30\x04\x30\x80\0\0\0\0", id="an indefinite element that ends beyond its parent"),
        pytest.param(b"\x24\x03\x02\x01\x00", id="a foreign segment"),
        pytest.param(b"\x23\x08\x03\x02\x04\xf0\x03\x02\x00\xff", id="unused bits in the middle"),
        pytest.param(b"\x23\x02\x03\x00", id="an empty segment of a bit string"),
        pytest.param(b"\x06\x41" + b"\x01" * 65, id="an object identifier of 65 bytes"),
        pytest.param(b"\x1f\x20\x00", id="a high tag number"),
        pytest.param(b"\x30\x84\xff\xff\xff\xff", id="a length beyond the data"),
    ],
)
def test_malformed_encodings_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedTlv):
        normalise(data, max_size=1000)


def test_bounds_hold_exactly() -> None:
    def nested(depth: int) -> bytes:
        return b"\x30\x80" * depth + b"\0\0" * depth

    assert normalise(nested(32), max_size=1000)
    with pytest.raises(MalformedTlv, match="deep"):
        normalise(nested(33), max_size=1000)
    with pytest.raises(MalformedTlv, match="too large"):
        normalise(b"\x04\x02ab", max_size=3)
    assert normalise(tlv.sequence(*[tlv.null()] * 99), max_size=1000, max_elements=100)
    with pytest.raises(MalformedTlv, match="too many"):
        normalise(tlv.sequence(*[tlv.null()] * 100), max_size=1000, max_elements=100)


def test_a_hundred_thousand_openings_are_refused_without_recursion() -> None:
    with pytest.raises(MalformedTlv, match="deep"):
        normalise(b"\x30\x80" * 100_000, max_size=1_000_000)
