"""The key derivation of PKCS #12 (RFC 7292 appendix B.2), and PBKDF2 (RFC 8018 section 5.2), within bounds."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from foundation.tlv import MalformedTlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import.effort import PBKDF2_COST, PKCS12_COST, Effort, bounded
from pkcs_import.errors import UnsupportedKey
from pkcs_import.pkcs12_decoding import Algorithm, decode, pbkdf2

MAX_SALT_BYTES: Final = 1024
_SMALL_BLOCK: Final = 64


@dataclass(frozen=True, slots=True)
class Digest:
    """A hash function: as Python's hashlib and as cryptography have it, and the size of its blocks in bytes."""

    name: str
    new: Callable[..., Any]
    algorithm: hashes.HashAlgorithm
    block_size: int

    @property
    def size(self) -> int:
        """The size of the digest in bytes."""
        return self.algorithm.digest_size


# What most files in the world use. An iterated SHA-1 is not known to be weaker than its passwords.
SHA1: Final = Digest("sha1", hashlib.sha1, hashes.SHA1(), 64)  # noqa: S303 - named by the files
SHA224: Final = Digest("sha224", hashlib.sha224, hashes.SHA224(), 64)
SHA256: Final = Digest("sha256", hashlib.sha256, hashes.SHA256(), 64)
SHA384: Final = Digest("sha384", hashlib.sha384, hashes.SHA384(), 128)
SHA512: Final = Digest("sha512", hashlib.sha512, hashes.SHA512(), 128)

HMACS: Final = {
    "1.2.840.113549.2.7": SHA1,
    "1.2.840.113549.2.8": SHA224,
    oids.HMAC_WITH_SHA256: SHA256,
    "1.2.840.113549.2.10": SHA384,
    "1.2.840.113549.2.11": SHA512,
}
"""HMAC with a hash function, by OID."""


class Use(IntEnum):
    """What is derived (RFC 7292 appendix B.3)."""

    KEY = 1
    IV = 2
    MAC = 3


def pkcs12_cost(digest: Digest, iterations: int, length: int) -> int:
    """Return what ``length`` bytes cost: the iterations are done anew for each digest they take."""
    return iterations * -(-length // digest.size) * PKCS12_COST


def pkcs12_kdf(digest: Digest, use: Use, password: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """Return ``length`` bytes for ``use``, derived from ``password`` as ``pkcs_import.pkcs12_password`` spells it."""
    new, block = digest.new, digest.block_size
    diversifier = bytes((use,)) * block
    state = bytearray(_filled(salt, block) + _filled(password, block))
    derived = b""
    while True:
        chained: bytes = new(diversifier + state).digest()
        for _ in range(iterations - 1):
            chained = new(chained).digest()
        derived += chained
        if len(derived) >= length:
            return derived[:length]
        addend = int.from_bytes(_filled(chained, block)[:block], "big") + 1
        for start in range(0, len(state), block):
            total = int.from_bytes(state[start : start + block], "big") + addend
            state[start : start + block] = (total % (1 << 8 * block)).to_bytes(block, "big")


def is_misderived_by_gnupg(digest: Digest, password: bytes, salt: bytes, derived: bytes) -> bool:
    """Say whether GnuPG's derivation, of which there are copies (GNOME Keyring, Wireshark), differs beyond the first digest.

    It loses the zero byte that a block of its state may begin with after the addition (RFC 7292 appendix B.2 step 6C), and takes
    a right passphrase for a wrong one. ``derived`` are the right bytes, a digest of them at least.
    """
    block = digest.block_size
    state = _filled(salt, block) + _filled(password, block)
    addend = int.from_bytes(_filled(derived[: digest.size], block), "big") + 1
    added = (
        (int.from_bytes(state[start : start + block], "big") + addend) % (1 << 8 * block) for start in range(0, len(state), block)
    )
    return any(total < 1 << 8 * (block - 1) for total in added)


def _filled(data: bytes, block: int) -> bytes:
    """Return ``data`` repeated to fill whole blocks; nothing stays nothing."""
    if not data:
        return b""
    length = -(-len(data) // block) * block
    return (data * -(-length // len(data)))[:length]


@dataclass(frozen=True, slots=True)
class Pbkdf2Derivation:
    """A PBKDF2 that is within bounds."""

    digest: Digest
    salt: bytes = field(repr=False)
    iterations: int
    key_length: int | None

    def derive(self, password: bytes, length: int, effort: Effort) -> bytes:
        """Return ``length`` bytes derived from ``password``. Raises ContainerTooSlow."""
        digests = -(-length // self.digest.size)
        effort.spend(self.iterations * digests * PBKDF2_COST * self.digest.block_size // _SMALL_BLOCK)
        return PBKDF2HMAC(self.digest.algorithm, length, self.salt, self.iterations).derive(password)


def pbkdf2_derivation(algorithm: Algorithm) -> Pbkdf2Derivation:
    """Return the PBKDF2 that ``algorithm`` asks for.

    Raises:
        MalformedTlv: its parameters are malformed.
        UnsupportedKey: it is another derivation, or over a hash function that is not read here.
        ContainerTooSlow: it asks for too many iterations.
    """
    if algorithm.oid != oids.PBKDF2:
        raise UnsupportedKey(f"keys are derived by an algorithm that is not read here ({algorithm.oid})")
    parameters = decode(pbkdf2, algorithm.parameters)
    digest = SHA1
    if parameters.pseudorandom is not None:
        known = HMACS.get(parameters.pseudorandom.oid)
        if known is None:
            raise UnsupportedKey(f"keys are derived with a function that is not read here ({parameters.pseudorandom.oid})")
        digest = known
    return Pbkdf2Derivation(digest, bounded_salt(parameters.salt), bounded(parameters.iterations), parameters.key_length)


def bounded_salt(salt: bytes) -> bytes:
    """Return ``salt``. Raises MalformedTlv: it is longer than any."""
    if len(salt) > MAX_SALT_BYTES:
        raise MalformedTlv("a salt longer than any")
    return salt
