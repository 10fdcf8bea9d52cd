"""DER written as BER, the way jscep and Apple do it: indefinite lengths and segmented strings."""

from collections.abc import Collection

from foundation import tlv

_END = b"\0\0"


def to_ber(der: bytes, *, segment: int = 1000, implicit: bool = False, keep: Collection[bytes] = ()) -> bytes:
    """Return one DER element with every constructed element of indefinite length and OCTET STRINGs in segments.

    With ``implicit``, primitive ``[0]`` is segmented too: the encryptedContent of an EnvelopedData (and nothing else, in the
    structures this is used on, as long as it is longer than 64 bytes). Elements in ``keep`` (certificates, which are signed as
    they stand) are left alone.
    """
    if der in keep:
        return der
    element = tlv.read(der)
    assert element.end == len(der)
    content = der[element.content :]
    if element.tag & 0x20:
        inner = b"".join(
            to_ber(der[child.start : child.end], segment=segment, implicit=implicit, keep=keep)
            for child in tlv.children(der, element)
        )
        return bytes((element.tag, 0x80)) + inner + _END
    if element.tag == tlv.OCTET_STRING:
        return bytes((0x24, 0x80)) + _segments(content, segment) + _END
    if implicit and element.tag == 0x80 and len(content) > 64:
        return bytes((0xA0, 0x80)) + _segments(content, segment) + _END
    return der


def _segments(content: bytes, size: int) -> bytes:
    return b"".join(tlv.octet_string(content[start : start + size]) for start in range(0, len(content), size))
