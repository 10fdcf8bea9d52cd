"""Tag, length, value: a bounded reader for what peers send and small writers for what we assemble by hand.

``read`` finds the pieces of definite-length encodings; the writers encode what is too hot, or too large, for a general encoder.
What may be of indefinite length goes through ``foundation.ber`` first. Source: X.690.
"""

from functools import lru_cache
from typing import NamedTuple

from foundation.errors import BadRequest

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
UTF8_STRING = 0x0C
PRINTABLE_STRING = 0x13
IA5_STRING = 0x16
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

CONSTRUCTED = 0x20
_LONG_FORM = 0x80
_HIGH_TAG = 0x1F
_CONTEXT = 0xA0
_MAX_LENGTH_BYTES = 4
MAX_OID_BYTES = 64


class MalformedTlv(BadRequest):
    """The bytes are no well-formed TLV within the bounds."""


class TruncatedTlv(MalformedTlv):
    """The bytes end before the element does."""


class Element(NamedTuple):
    """Where one definite-length element lies in its buffer: ``start`` of the tag, ``content`` and ``end`` of the value."""

    tag: int
    start: int
    content: int
    end: int


def read(data: bytes, offset: int = 0, limit: int | None = None) -> Element:
    """Return the element that begins at ``offset`` and ends no later than ``limit`` (the end of ``data`` by default).

    Raises:
        MalformedTlv: truncated, of indefinite length, or with a tag number above 30.
    """
    tag, content, length = read_header(data, offset, len(data) if limit is None else limit)
    if length is None:
        raise MalformedTlv("an indefinite length where a definite one is needed")
    return Element(tag, offset, content, content + length)


def children(data: bytes, element: Element) -> list[Element]:
    """Return the elements that fill ``element``, which must be constructed.

    Raises:
        MalformedTlv: ``element`` is primitive, or one of its children is malformed.
    """
    if not element.tag & CONSTRUCTED:
        raise MalformedTlv("a primitive element where a constructed one is needed")
    found = []
    offset, end = element.content, element.end
    while offset < end:
        tag = data[offset]
        length = data[offset + 1] if offset + 2 <= end else _LONG_FORM
        if length < _LONG_FORM and offset + 2 + length <= end and tag & _HIGH_TAG != _HIGH_TAG:
            # Most are short: no call, and no look at what they cannot be.
            child = Element(tag, offset, offset + 2, offset + 2 + length)
        else:
            child = read(data, offset, end)
        found.append(child)
        offset = child.end
    return found


def read_header(data: bytes, offset: int, limit: int) -> tuple[int, int, int | None]:
    """Return the tag, the offset of the content and its length, None when indefinite, of the element at ``offset``.

    Raises:
        MalformedTlv: it does not end by ``limit``, is a primitive of indefinite length, or has a tag number above 30.
    """
    if offset + 2 > limit:
        raise TruncatedTlv("truncated")
    tag = data[offset]
    if tag & _HIGH_TAG == _HIGH_TAG:
        # No structure this service reads uses tag numbers above 30.
        raise MalformedTlv("a tag number above 30")
    length = data[offset + 1]
    content = offset + 2
    if length == _LONG_FORM:
        if not tag & CONSTRUCTED:
            raise MalformedTlv("a primitive element of indefinite length")
        return tag, content, None
    if length > _LONG_FORM:
        count = length - _LONG_FORM
        if content + count > limit:
            raise TruncatedTlv("truncated")
        octets = data[content : content + count].lstrip(b"\0")
        if len(octets) > _MAX_LENGTH_BYTES:
            raise MalformedTlv("a length beyond all bounds")
        length = int.from_bytes(octets, "big")
        content += count
    if content + length > limit:
        raise TruncatedTlv("truncated")
    return tag, content, length


_ENCODINGS = {
    UTF8_STRING: "utf-8",
    0x12: "ascii",  # NumericString
    PRINTABLE_STRING: "ascii",  # with characters it may not hold, such as '@': real clients write them
    0x14: "latin-1",  # T61String, by what encoders mean with it, not by T.61
    IA5_STRING: "ascii",
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}


def text(tag: int, content: bytes) -> str:
    """Return what a string element says.

    Raises:
        MalformedTlv: ``tag`` is no string type, or ``content`` no text in it.
    """
    encoding = _ENCODINGS.get(tag)
    if encoding is None:
        raise MalformedTlv("not a string")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise MalformedTlv("a string with bytes that are no text") from error


def dotted(encoded: bytes) -> str:
    """Return the dotted form of an encoded OBJECT IDENTIFIER of up to 64 bytes.

    Raises:
        MalformedTlv: it is none, or longer.
    """
    element = read(encoded)
    content = encoded[element.content : element.end]
    if element.tag != OBJECT_IDENTIFIER or not 0 < len(content) <= MAX_OID_BYTES or content[-1] & 0x80:
        raise MalformedTlv("not an OBJECT IDENTIFIER")
    return _dotted(content)


# The same few dozen come again and again; what else a peer may send is short, and pushes others out.
@lru_cache(maxsize=512)
def _dotted(content: bytes) -> str:
    arcs: list[int] = []
    arc = 0
    for octet in content:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


# --- writers ---


def header(tag: int, length: int) -> bytes:
    """Return the tag and the DER length of a value of ``length`` bytes."""
    if length < _LONG_FORM:
        return bytes((tag, length))
    if length < 0x100:  # noqa: PLR2004 - one length byte
        return bytes((tag, 0x81, length))
    if length < 0x10000:  # noqa: PLR2004 - two length bytes
        return bytes((tag, 0x82, length >> 8, length & 0xFF))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(octets))) + octets


def tlv(tag: int, content: bytes) -> bytes:
    """Return one element with a single-byte ``tag``."""
    return header(tag, len(content)) + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE of encoded ``parts``."""
    return tlv(SEQUENCE, b"".join(parts))


def set_of(*parts: bytes) -> bytes:
    """Return a SET OF encoded ``parts``, in DER order."""
    return tlv(SET, b"".join(sorted(parts)))


def explicit(number: int, element: bytes) -> bytes:
    """Return ``element`` under the constructed context-specific tag ``[number]``.

    That is EXPLICIT tagging; around the content of a constructed type it is IMPLICIT tagging.
    """
    return tlv(_CONTEXT | number, element)


def octet_string(content: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tlv(OCTET_STRING, content)


def bit_string(content: bytes, unused_bits: int = 0) -> bytes:
    """Return a BIT STRING of whole bytes, of which the last ``unused_bits`` do not count."""
    return tlv(BIT_STRING, bytes((unused_bits,)) + content)


def integer(value: int, tag: int = INTEGER) -> bytes:
    """Return an INTEGER (or, with its tag, an ENUMERATED)."""
    magnitude = value if value >= 0 else ~value
    return tlv(tag, value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True))


def boolean(value: bool) -> bytes:  # noqa: FBT001 - the value itself, not a switch
    """Return a BOOLEAN."""
    return tlv(BOOLEAN, b"\xff" if value else b"\0")


def null() -> bytes:
    """Return NULL."""
    return bytes((NULL, 0))


def printable_string(text: str) -> bytes:
    """Return a PrintableString. The caller vouches for the characters; those outside ASCII are an error of its."""
    return tlv(PRINTABLE_STRING, text.encode("ascii"))


def utf8_string(text: str) -> bytes:
    """Return a UTF8String."""
    return tlv(UTF8_STRING, text.encode())


@lru_cache(maxsize=256)
def object_identifier(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER from its dotted form."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (40 * first + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        content += bytes(reversed(septets))
    return tlv(OBJECT_IDENTIFIER, bytes(content))
