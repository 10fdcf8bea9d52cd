"""What authenticates a PKCS #12: the MAC of RFC 7292 section 5.1, or PBMAC1 (RFC 9579)."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from foundation.tlv import MalformedTlv
from pkcs_import import pkcs12_oids as oids
from pkcs_import.effort import Effort, bounded
from pkcs_import.errors import UnsupportedKey, WrongPassword
from pkcs_import.pkcs12_decoding import Algorithm, MacData, decode, two_algorithms
from pkcs_import.pkcs12_kdf import (
    HMACS,
    SHA1,
    SHA224,
    SHA256,
    SHA384,
    SHA512,
    Digest,
    Pbkdf2Derivation,
    Use,
    bounded_salt,
    pbkdf2_derivation,
    pkcs12_cost,
    pkcs12_kdf,
)
from pkcs_import.pkcs12_password import Spelling

_DIGESTS: Final = {oids.SHA1: SHA1, oids.SHA224: SHA224, oids.SHA256: SHA256, oids.SHA384: SHA384, oids.SHA512: SHA512}
# RFC 9579 section 5 refuses shorter keys: with one byte, one password in 256 would fit.
_MIN_KEY_BYTES: Final = 20
_MAX_KEY_BYTES: Final = 1024


class Mac(Protocol):
    """A MAC whose parameters are within bounds."""

    def of(self, content: bytes, spelling: Spelling, effort: Effort) -> list[bytes]:
        """Return what it may be over ``content`` with a password so spelt. Raises ContainerTooSlow."""


@dataclass(frozen=True, slots=True)
class _Pkcs12Mac:
    digest: Digest
    salt: bytes = field(repr=False)
    iterations: int

    def of(self, content: bytes, spelling: Spelling, effort: Effort) -> list[bytes]:
        effort.spend(pkcs12_cost(self.digest, self.iterations, self.digest.size))
        key = pkcs12_kdf(self.digest, Use.MAC, spelling.bmp, self.salt, self.iterations, self.digest.size)
        return [hmac.digest(key, content, self.digest.name)]


@dataclass(frozen=True, slots=True)
class _Pbmac1:
    digest: Digest
    derivation: Pbkdf2Derivation
    key_length: int

    def of(self, content: bytes, spelling: Spelling, effort: Effort) -> list[bytes]:
        keys = (self.derivation.derive(octets, self.key_length, effort) for octets in spelling.octets)
        return [hmac.digest(key, content, self.digest.name) for key in keys]


def read_mac(data: MacData) -> Mac:
    """Return the MAC that ``data`` asks for.

    Raises:
        MalformedTlv: its parameters are malformed.
        UnsupportedKey: it is of a kind that is not read here.
        ContainerTooSlow: it asks for too many iterations.
    """
    if data.algorithm.oid == oids.PBMAC1:
        return _pbmac1(data.algorithm)
    digest = _DIGESTS.get(data.algorithm.oid)
    if digest is None:
        raise UnsupportedKey(f"the file is authenticated by an algorithm that is not read here ({data.algorithm.oid})")
    return _Pkcs12Mac(digest, bounded_salt(data.salt), bounded(data.iterations))


def _pbmac1(algorithm: Algorithm) -> Mac:
    derived, authenticated = decode(two_algorithms, algorithm.parameters)
    digest = HMACS.get(authenticated.oid)
    if digest is None:
        raise UnsupportedKey(f"the file is authenticated by an algorithm that is not read here ({authenticated.oid})")
    derivation = pbkdf2_derivation(derived)
    if derivation.key_length is None or not _MIN_KEY_BYTES <= derivation.key_length <= _MAX_KEY_BYTES:
        raise MalformedTlv("PBMAC1 with a key of no acceptable length")
    return _Pbmac1(digest, derivation, derivation.key_length)


def authenticated_spelling(mac: Mac, expected: bytes, content: bytes, spellings: Sequence[Spelling], effort: Effort) -> Spelling:
    """Return the spelling of the password under which ``mac`` over ``content`` is what the file says.

    Raises:
        WrongPassword: there is none.
        ContainerTooSlow: trying took too much.
    """
    for spelling in spellings:
        if any(hmac.compare_digest(found, expected) for found in mac.of(content, spelling, effort)):
            return spelling
    raise WrongPassword("the password does not open the file, or the file is damaged")
