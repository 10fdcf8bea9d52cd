"""Decrypting RC2 in CBC mode (RFC 2268): what Windows, Java and OpenSSL before 3 put around certificates, with keys of 40 bits.

``cryptography`` has RC2 with keys of 128 bits only.
"""

import struct
from typing import Final

_BLOCK: Final = 8
_MASK: Final = 0xFFFF
# The digits of pi, as RFC 2268 section 2 arranges them.
_PI: Final = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb6266fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ecc2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a90d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)


def decrypted(key: bytes, effective_bits: int, iv: bytes, data: bytes) -> bytes:
    """Return ``data``, whole blocks of 8 bytes, decrypted; the padding is left on.

    Raises:
        ValueError: ``data`` or ``iv`` has another length.
    """
    if len(data) % _BLOCK or len(iv) != _BLOCK:
        raise ValueError("not whole blocks")
    words = _expanded(key, effective_bits)
    previous = struct.unpack("<4H", iv)
    plain = []
    for block in struct.iter_unpack("<4H", data):
        r0, r1, r2, r3 = _block(words, *block)
        plain.append(struct.pack("<4H", r0 ^ previous[0], r1 ^ previous[1], r2 ^ previous[2], r3 ^ previous[3]))
        previous = block
    return b"".join(plain)


def _expanded(key: bytes, effective_bits: int) -> tuple[int, ...]:
    """Return the 64 words of the expanded key (RFC 2268 section 2)."""
    octets = bytearray(key)
    while len(octets) < 128:  # noqa: PLR2004 - the octets of the expanded key
        octets.append(_PI[(octets[-1] + octets[-len(key)]) & 0xFF])
    effective_octets = (effective_bits + 7) // 8
    octets[128 - effective_octets] = _PI[octets[128 - effective_octets] & (0xFF >> (-effective_bits % 8))]
    for index in range(127 - effective_octets, -1, -1):
        octets[index] = _PI[octets[index + 1] ^ octets[index + effective_octets]]
    return struct.unpack("<64H", octets)


def _block(words: tuple[int, ...], r0: int, r1: int, r2: int, r3: int) -> tuple[int, int, int, int]:
    """Undo the 16 mixing rounds, and the mashing after the fifth and the eleventh (RFC 2268 section 4)."""
    for last in range(63, 0, -4):
        r3 = (r3 << 11 | r3 >> 5) & _MASK
        r3 = (r3 - words[last] - (r2 & r1) - (~r2 & r0)) & _MASK
        r2 = (r2 << 13 | r2 >> 3) & _MASK
        r2 = (r2 - words[last - 1] - (r1 & r0) - (~r1 & r3)) & _MASK
        r1 = (r1 << 14 | r1 >> 2) & _MASK
        r1 = (r1 - words[last - 2] - (r0 & r3) - (~r0 & r2)) & _MASK
        r0 = (r0 << 15 | r0 >> 1) & _MASK
        r0 = (r0 - words[last - 3] - (r3 & r2) - (~r3 & r1)) & _MASK
        if last in (47, 23):
            r3 = (r3 - words[r2 & 63]) & _MASK
            r2 = (r2 - words[r1 & 63]) & _MASK
            r1 = (r1 - words[r0 & 63]) & _MASK
            r0 = (r0 - words[r3 & 63]) & _MASK
    return r0, r1, r2, r3
