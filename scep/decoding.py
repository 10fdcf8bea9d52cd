"""Strict decoding first, tolerant decoding where that fails."""

from typing import TypeVar

from cryptography.hazmat import asn1

from foundation.ber import normalise
from foundation.tlv import MalformedTlv
from scep.errors import MalformedMessage

MAX_SIZE = 65536
"""The largest message read, in bytes."""

Structure = TypeVar("Structure")


def decode(structure: type[Structure], data: bytes) -> Structure:
    """Decode ``data``: as DER, and if that fails as BER.

    Raises:
        MalformedMessage: it is neither, or breaks the bounds of ``foundation.ber``.
    """
    try:
        return asn1.decode_der(structure, data)
    except ValueError:
        pass
    try:
        return asn1.decode_der(structure, normalise(data, max_size=MAX_SIZE))
    except (ValueError, MalformedTlv) as error:
        raise MalformedMessage("not a CMS structure") from error
