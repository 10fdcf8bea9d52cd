"""Taking the padding off what an RSA private operation gave: PKCS #1 v1.5 and OAEP (RFC 8017 sections 7.1.2 and 7.2.2).

For tokens that are asked for the raw operation. Whoever learns whether, and where, a padding was wrong can decrypt other messages
with us (Bleichenbacher; Manger): PKCS #1 v1.5 therefore never fails, it gives a message of its own making instead (implicit
rejection, as in draft-irtf-cfrg-rsa-guidance), and OAEP fails in one way, after all of its work was done.
"""

import hashlib
import hmac
from typing import Final

# Two octets before it, eight of padding at least, and a zero (RFC 8017 section 7.2.2 step 3).
_SEPARATOR_AT_LEAST: Final = 10
_LENGTH_BYTES: Final = 2


def take_off_pkcs1(block: bytes, secret: bytes, ciphertext: bytes) -> bytes:
    """Return the message in ``block``; where its padding is wrong, one that ``secret`` makes of ``ciphertext``.

    Args:
        block: the result of the private operation, as long as the modulus.
        secret: random and nobody else's: the same ciphertext must give the same message again.
        ciphertext: what was decrypted.
    """
    # Made in either case, so that it takes its time in either case.
    instead = substitute(secret, ciphertext, len(block))
    separator = block.find(b"\0", 2)
    is_right = hmac.compare_digest(block[:2], b"\0\2") & (separator >= _SEPARATOR_AT_LEAST)
    return (instead, block[separator + 1 :])[is_right]


def substitute(secret: bytes, ciphertext: bytes, size: int) -> bytes:
    """Return what stands for the message of a ``ciphertext`` that decrypts to none, under a key of ``size`` bytes."""
    key = hmac.digest(secret, ciphertext, "sha256")
    stream = hashlib.shake_256(key).digest(size + _LENGTH_BYTES)
    # Any length that a real message could have.
    length = int.from_bytes(stream[:_LENGTH_BYTES], "big") % (size - _SEPARATOR_AT_LEAST)
    return stream[_LENGTH_BYTES : _LENGTH_BYTES + length]


def take_off_oaep(block: bytes, *, digest: str, mask_digest: str, label: bytes) -> bytes | None:
    """Return the message in ``block``, None where its padding is wrong in whatever way.

    Args:
        block: the result of the private operation, as long as the modulus.
        digest: hashlib's name of the hash.
        mask_digest: that of the hash of MGF1.
        label: as agreed; mostly empty.
    """
    label_hash = hashlib.new(digest, label).digest()
    size = len(label_hash)
    seed = _xor(block[1 : 1 + size], _mask(block[1 + size :], size, mask_digest))
    data = _xor(block[1 + size :], _mask(seed, len(block) - size - 1, mask_digest))
    padded = data[size:].lstrip(b"\0")
    is_right = (
        hmac.compare_digest(block[:1], b"\0")
        & hmac.compare_digest(data[:size], label_hash)
        & hmac.compare_digest(padded[:1], b"\1")
    )
    return padded[1:] if is_right else None


def _mask(seed: bytes, length: int, digest: str) -> bytes:
    """Return MGF1 (RFC 8017 appendix B.2.1)."""
    mask = b""
    counter = 0
    while len(mask) < length:
        mask += hashlib.new(digest, seed + counter.to_bytes(4, "big")).digest()
        counter += 1
    return mask[:length]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
