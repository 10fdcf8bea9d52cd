"""What CertPoll, GetCert and GetCRL ask with."""

import contextlib

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from foundation import tlv
from scep import queries
from scep.client import named
from scep.errors import MalformedMessage
from scep.queries import IssuerAndSerial, IssuerAndSubject
from tests.foundation.ber_encoding import to_ber

ISSUER = x509.Name.from_rfc4514_string("CN=Issuing CA,O=Example").public_bytes()
SUBJECT = named("a device").public_bytes()


def test_a_poll_names_issuer_and_subject() -> None:
    query = IssuerAndSubject(ISSUER, SUBJECT)
    encoded = queries.write_issuer_and_subject(query)
    assert encoded == tlv.sequence(ISSUER, SUBJECT)
    assert queries.read_issuer_and_subject(encoded) == query
    assert queries.read_issuer_and_subject(to_ber(encoded)) == query


@pytest.mark.parametrize("serial", [0, 1, 127, 128, -5, 2**64, 2**127 + 1, 2**159 - 1])
def test_a_certificate_is_named_by_issuer_and_serial(serial: int) -> None:
    query = IssuerAndSerial(ISSUER, serial)
    encoded = queries.write_issuer_and_serial(query)
    assert encoded == tlv.sequence(ISSUER, tlv.integer(serial))
    assert queries.read_issuer_and_serial(encoded) == query
    assert queries.read_issuer_and_serial(to_ber(encoded)) == query


def test_an_empty_subject_is_a_name() -> None:
    assert queries.read_issuer_and_subject(tlv.sequence(ISSUER, tlv.sequence())).subject_der == b"\x30\x00"


@pytest.mark.parametrize(
    "der",
    [
        b"",
        tlv.sequence(),
        tlv.sequence(ISSUER),
        tlv.sequence(tlv.octet_string(ISSUER), tlv.octet_string(SUBJECT)),
        tlv.sequence(ISSUER, SUBJECT, SUBJECT),
        tlv.sequence(ISSUER, SUBJECT) + b"\0",
        tlv.sequence(ISSUER, tlv.integer(1)),
    ],
)
def test_what_is_no_poll_is_malformed(der: bytes) -> None:
    with pytest.raises(MalformedMessage):
        queries.read_issuer_and_subject(der)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        tlv.sequence(ISSUER),
        tlv.sequence(tlv.integer(1), tlv.integer(1)),
        tlv.sequence(ISSUER, SUBJECT),
        tlv.sequence(ISSUER, tlv.integer(1), tlv.integer(1)),
        tlv.sequence(ISSUER, tlv.integer(2**512)),
    ],
)
def test_what_names_no_certificate_is_malformed(der: bytes) -> None:
    with pytest.raises(MalformedMessage):
        queries.read_issuer_and_serial(der)


@given(st.binary(max_size=120))
def test_arbitrary_bytes_raise_the_declared_error_only(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        queries.read_issuer_and_subject(data)
    with contextlib.suppress(MalformedMessage):
        queries.read_issuer_and_serial(data)
