"""What CertPoll, GetCert and GetCRL ask with: bytes in, frozen values out, and back (RFC 8894 sections 3.3.3 to 3.3.5).

Names stay encoded, as they came: whoever compares them decides how.
"""

from typing import Final, NamedTuple

from cryptography.hazmat import asn1

from foundation import tlv
from scep.decoding import decode
from scep.errors import MalformedMessage

# RFC 5280 section 4.1.2.2 allows 20; a bound that only keeps nonsense out.
_MAX_SERIAL_BYTES: Final = 64
_SEQUENCE: Final = bytes((tlv.SEQUENCE,))


@asn1.sequence
class _IssuerAndSubject:
    issuer: asn1.TLV
    subject: asn1.TLV


@asn1.sequence
class _IssuerAndSerialNumber:
    issuer: asn1.TLV
    serial_number: int


class IssuerAndSubject(NamedTuple):
    """What a CertPoll asks for: the CA and the subject of the request, as encoded Names."""

    issuer_der: bytes
    subject_der: bytes


class IssuerAndSerial(NamedTuple):
    """What GetCert and GetCRL ask for: a certificate, by its issuer's encoded Name and its serial number."""

    issuer_der: bytes
    serial_number: int


def read_issuer_and_subject(der: bytes) -> IssuerAndSubject:
    """Read the content of a CertPoll (RFC 8894 section 3.3.3).

    Raises:
        MalformedMessage: it is no IssuerAndSubject.
    """
    found = decode(_IssuerAndSubject, der)
    return IssuerAndSubject(_name(found.issuer), _name(found.subject))


def write_issuer_and_subject(query: IssuerAndSubject) -> bytes:
    """Return the content of a CertPoll."""
    return tlv.sequence(query.issuer_der, query.subject_der)


def read_issuer_and_serial(der: bytes) -> IssuerAndSerial:
    """Read the content of a GetCert or GetCRL (RFC 8894 sections 3.3.4 and 3.3.5).

    Raises:
        MalformedMessage: it is no IssuerAndSerialNumber, or its serial number is beyond all bounds.
    """
    found = decode(_IssuerAndSerialNumber, der)
    if found.serial_number.bit_length() > 8 * _MAX_SERIAL_BYTES:
        raise MalformedMessage("a serial number beyond all bounds")
    return IssuerAndSerial(_name(found.issuer), found.serial_number)


def write_issuer_and_serial(query: IssuerAndSerial) -> bytes:
    """Return the content of a GetCert or GetCRL."""
    return tlv.sequence(query.issuer_der, tlv.integer(query.serial_number))


def _name(element: asn1.TLV) -> bytes:
    if element.tag_bytes != _SEQUENCE:
        raise MalformedMessage("a query without the name of an issuer")
    return asn1.encode_der(element)
