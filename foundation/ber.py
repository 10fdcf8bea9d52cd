"""BER brought into DER form, so that a strict decoder can take over (X.690).

No recursion, no schema: SETs are not sorted, and where an IMPLICIT tag hides a string type, a segmented string stays segmented,
for the caller's schema to join.
"""

from foundation.tlv import (
    BIT_STRING,
    CONSTRUCTED,
    IA5_STRING,
    MAX_OID_BYTES,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    PRINTABLE_STRING,
    SEQUENCE,
    UTF8_STRING,
    MalformedTlv,
    header,
    read_header,
    tlv,
)

_END_OF_CONTENTS = 0x00
# The string types, which BER may split into segments: UTF8, Numeric, Printable, T61, Videotex, IA5, Graphic, Visible, General,
# Universal and BMP. The time types are left out: nobody splits a time.
_STRINGS = frozenset(
    {BIT_STRING, OCTET_STRING, UTF8_STRING, 0x12, PRINTABLE_STRING, 0x14, 0x15, IA5_STRING, 0x19, 0x1A, 0x1B, 0x1C, 0x1E}
)


class _Frame:
    """A constructed element being read; ``end`` is None while its length is indefinite."""

    __slots__ = ("end", "limit", "parts", "tag")

    def __init__(self, tag: int, end: int | None, limit: int) -> None:
        self.tag = tag
        self.end = end
        self.limit = limit
        self.parts: list[tuple[int, bytes]] = []

    def encoded(self) -> tuple[int, bytes]:
        """Return the tag and content in DER form, segments of a string joined."""
        primitive = self.tag & ~CONSTRUCTED
        if primitive not in _STRINGS:
            return self.tag, b"".join(header(tag, len(content)) + content for tag, content in self.parts)
        for tag, _ in self.parts:
            # X.690 8.21: the segments of other strings than BIT STRING are OCTET STRINGs; encoders exist that repeat the type.
            if tag != primitive and (tag != OCTET_STRING or primitive == BIT_STRING):
                raise MalformedTlv("a segmented string with a foreign segment")
        if primitive == BIT_STRING:
            return primitive, _joined_bits([content for _, content in self.parts])
        return primitive, b"".join(content for _, content in self.parts)


def _joined_bits(segments: list[bytes]) -> bytes:
    """Join BIT STRING segments; only the last may leave bits unused."""
    if not segments:
        return b"\0"
    if not all(segments) or any(segment[0] for segment in segments[:-1]):
        raise MalformedTlv("a segmented BIT STRING with unused bits in the middle")
    return segments[-1][:1] + b"".join(segment[1:] for segment in segments)


def normalise(data: bytes, *, max_size: int, max_depth: int = 32, max_elements: int = 10_000) -> bytes:
    """Return ``data``, one BER element, in DER form: definite minimal lengths, segmented strings joined.

    Works in one pass without recursion; time and memory are bounded by ``max_size`` and ``max_depth``. An end-of-contents counts
    as an element.

    Raises:
        MalformedTlv: too large, too deep, too many elements, truncated, followed by other bytes, or with an OBJECT IDENTIFIER
            above 64 bytes (which decoders elsewhere take quadratic time for).
    """
    if len(data) > max_size:
        raise MalformedTlv("too large")
    # The outermost frame is no element of the input; it collects the one there must be.
    root = _Frame(SEQUENCE, len(data), len(data))
    stack = [root]
    offset = 0
    elements = 0
    while True:
        frame = stack[-1]
        if offset != frame.end:
            if frame is root and root.parts:
                raise MalformedTlv("bytes follow the outermost element")
            offset = _enter(data, offset, stack)
            elements += 1
            if len(stack) > max_depth + 1:
                raise MalformedTlv("nested too deeply")
            if elements > max_elements:
                raise MalformedTlv("too many elements")
        elif frame is not root:
            stack.pop()
            stack[-1].parts.append(frame.encoded())
        elif root.parts:
            return tlv(*root.parts[0])
        else:
            raise MalformedTlv("empty")


def _enter(data: bytes, offset: int, stack: list[_Frame]) -> int:
    """Take in the header at ``offset``, and the value too when it is primitive; return where to read on."""
    frame = stack[-1]
    tag, content, length = read_header(data, offset, frame.limit)
    if tag == _END_OF_CONTENTS:
        if frame.end is not None or content != offset + 2 or length != 0:
            raise MalformedTlv("end-of-contents out of place")
        frame.end = content
        return content
    if length is None:
        stack.append(_Frame(tag, None, frame.limit))
        return content
    end = content + length
    if tag & CONSTRUCTED:
        stack.append(_Frame(tag, end, end))
        return content
    if tag == OBJECT_IDENTIFIER and length > MAX_OID_BYTES:
        raise MalformedTlv("an OBJECT IDENTIFIER above 64 bytes")
    frame.parts.append((tag, data[content:end]))
    return end
