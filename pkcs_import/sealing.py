"""Sealing private keys to an archive key: AES-256-GCM under a fresh key, which is wrapped to the archive's public key.

The associated data binds a seal to its record, its owner and the public half, so that neither rows nor owners can be exchanged.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Binding:
    """What a seal is bound to: the record's ``uid`` (32 hexadecimal digits), its owner, and the SHA-256 of the SPKI in hex."""

    uid: str
    person: int
    spki_sha256: str


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A private key (PKCS #8) as it is stored; ``archive_key`` is the row of the key it is sealed to."""

    archive_key: int
    wrapped_key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
