"""Sealing private keys to an archive key: AES-256-GCM under a fresh key, which is wrapped to the archive's public key.

The associated data binds a seal to its record, its owner and the public half, so that neither rows nor owners can be exchanged.
The wrapped key is bound to nothing: it can be wrapped to another archive key without opening what it seals.

RSA wraps with OAEP (RFC 8017 section 7.1, SHA-256 in both places). A key on a curve wraps as ECIES does: ephemeral ECDH,
HKDF-SHA256 (RFC 5869) over both public points, AES key wrap (RFC 3394). A first byte says which.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from pkcs_import.errors import NoArchiveKey, SealBroken

ArchivePrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_UID_BYTES: Final = 16
_BOUND: Final = b"signetry archived key, version 1\0"
_AGREED: Final = b"signetry archive key wrap, version 1\0"
_RSA_OAEP: Final = b"\1"
_ECIES: Final = b"\2"
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


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


@dataclass(frozen=True, slots=True)
class ArchivePublicKey:
    """The public half of an archive key: who has it can seal, and open nothing.

    ``row`` is the id of its ``archive_key``; ``key_id`` the SHA-256 of its SubjectPublicKeyInfo in hex.
    """

    row: int
    key_id: str
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey = field(repr=False)

    @classmethod
    def from_spki(cls, row: int, spki: bytes) -> Self:
        """Return the key of a SubjectPublicKeyInfo (DER). Raises NoArchiveKey: it is of no kind that seals."""
        try:
            public_key = serialization.load_der_public_key(spki)
        except (ValueError, UnsupportedAlgorithm):
            raise NoArchiveKey(f"archive key {row} cannot be read") from None
        if not isinstance(public_key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
            raise NoArchiveKey(f"archive key {row} is of a kind that seals nothing")
        return cls(row, hashlib.sha256(spki).hexdigest(), public_key)

    def seal(self, private_key_der: bytes, binding: Binding) -> SealedKey:
        """Return a private key (PKCS #8 DER), sealed and bound to its record."""
        key = secrets.token_bytes(_KEY_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = AESGCM(key).encrypt(nonce, private_key_der, _associated(binding))
        return SealedKey(self.row, self.wrap(key), nonce, ciphertext)

    def wrap(self, key: bytes) -> bytes:
        """Return a seal's AES key, wrapped to this key."""
        if isinstance(self.public_key, rsa.RSAPublicKey):
            return _RSA_OAEP + self.public_key.encrypt(key, _OAEP)
        ephemeral = ec.generate_private_key(self.public_key.curve)
        point = _point(ephemeral.public_key())
        agreed = ephemeral.exchange(ec.ECDH(), self.public_key)
        return _ECIES + point + aes_key_wrap(_derived(agreed, point, self.public_key), key)


def new_uid() -> str:
    """Return what a new record is called in its seal: 32 hexadecimal digits, random."""
    return secrets.token_hex(_UID_BYTES)


def unseal(private_key: ArchivePrivateKey, sealed: SealedKey, binding: Binding) -> bytes:
    """Return the private key (PKCS #8 DER) that was sealed for this record.

    Args:
        private_key: the archive key that ``sealed.archive_key`` names.
        sealed: what is stored.
        binding: the record it is stored in.

    Raises:
        SealBroken: the seal is damaged, or another record's, another person's or another key's.
        KeyUnavailable: the archive key is in a token that does not answer.
    """
    key = _unwrap(private_key, sealed)
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, _associated(binding))
    except (InvalidTag, ValueError):
        raise SealBroken(f"the archived key {binding.uid} does not open under what it is bound to") from None


def rewrap(private_key: ArchivePrivateKey, sealed: SealedKey, to: ArchivePublicKey) -> SealedKey:
    """Return the same seal, its AES key wrapped to another archive key; what is sealed is not opened.

    Raises:
        SealBroken: the wrapped key is not one of ``private_key``.
        KeyUnavailable: the archive key is in a token that does not answer.
    """
    return SealedKey(to.row, to.wrap(_unwrap(private_key, sealed)), sealed.nonce, sealed.ciphertext)


def _unwrap(private_key: ArchivePrivateKey, sealed: SealedKey) -> bytes:
    kind, wrapped = sealed.wrapped_key[:1], sealed.wrapped_key[1:]
    key = None
    try:
        if isinstance(private_key, rsa.RSAPrivateKey) and kind == _RSA_OAEP:
            key = private_key.decrypt(wrapped, _OAEP)
        elif isinstance(private_key, ec.EllipticCurvePrivateKey) and kind == _ECIES:
            key = _agreed_upon(private_key, wrapped)
    except (ValueError, InvalidUnwrap):
        # One message for all that can be wrong with it, without the library's text.
        key = None
    if key is None or len(key) != _KEY_BYTES:
        raise SealBroken(f"a seal does not open with archive key {sealed.archive_key}")
    return key


def _agreed_upon(private_key: ec.EllipticCurvePrivateKey, wrapped: bytes) -> bytes:
    length = 1 + 2 * ((private_key.key_size + 7) // 8)
    point, within = wrapped[:length], wrapped[length:]
    peer = ec.EllipticCurvePublicKey.from_encoded_point(private_key.curve, point)
    agreed = private_key.exchange(ec.ECDH(), peer)
    return aes_key_unwrap(_derived(agreed, point, private_key.public_key()), within)


def _derived(agreed: bytes, point: bytes, recipient: ec.EllipticCurvePublicKey) -> bytes:
    """Return the wrapping key; both points are in it, so that a seal cannot be passed off as one to another key."""
    information = _AGREED + point + _point(recipient)
    return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=information).derive(agreed)


def _point(public_key: ec.EllipticCurvePublicKey) -> bytes:
    return public_key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _associated(binding: Binding) -> bytes:
    """Return a binding in its fixed form: each part has its own length, so that no two bindings share one. Raises ValueError."""
    uid, spki_sha256 = bytes.fromhex(binding.uid), bytes.fromhex(binding.spki_sha256)
    if (len(uid), len(spki_sha256)) != (_UID_BYTES, hashlib.sha256().digest_size) or binding.person < 0:
        raise ValueError("a part of the binding has another form")
    return _BOUND + uid + binding.person.to_bytes(8, "big") + spki_sha256
