"""PasswordRecipientInfo: a content key under a password, which is the challenge (RFC 5652 section 6.2.4, RFC 3211, RFC 8018).

RFC 8894 section 3.1 asks for it where the requester's key cannot be enveloped to. Only a client opens these: nobody can make the
service derive a key by sending one.
"""

import secrets
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from foundation import tlv
from scep.algorithms import CIPHER_OID_BYTES, CIPHER_OIDS, Cipher, Digest
from scep.cms import AlgorithmIdentifier
from scep.decoding import decode
from scep.errors import AlgorithmRefused, EnvelopeUndecryptable

RECIPIENT_TAG: Final = 0xA3
"""What a PasswordRecipientInfo begins with among the RecipientInfos."""

ROUNDS: Final = 100_000
"""The PBKDF2 rounds of what we seal: some 30 ms. They are for the challenges that people think up; minted ones need none."""

MAX_ROUNDS: Final = 10_000_000
"""The PBKDF2 rounds of what we open, at most: some seconds."""

_PBKDF2: Final = "1.2.840.113549.1.5.12"
_PWRI_KEK: Final = "1.2.840.113549.1.9.16.3.9"
_PSEUDORANDOM: Final = {
    "1.2.840.113549.2.7": Digest.SHA1,
    "1.2.840.113549.2.8": Digest.SHA224,
    "1.2.840.113549.2.9": Digest.SHA256,
    "1.2.840.113549.2.10": Digest.SHA384,
    "1.2.840.113549.2.11": Digest.SHA512,
}
_HMAC_WITH_SHA256: Final = tlv.sequence(tlv.object_identifier("1.2.840.113549.2.9"), tlv.null())
_SALT_BYTES: Final = 16
_MAX_SALT_BYTES: Final = 256
_MAX_WRAPPED_BYTES: Final = 128
_CHECK_BYTES: Final = 3
_VERSION_0: Final = tlv.integer(0)


@asn1.sequence
class _Pbkdf2Parameters:
    salt: bytes
    rounds: int
    key_length: int | None
    pseudorandom: AlgorithmIdentifier | None


@asn1.sequence
class _KeyDerivation:
    algorithm: x509.ObjectIdentifier
    parameters: _Pbkdf2Parameters | None


@asn1.sequence
class _KeyEncryptionCipher:
    algorithm: x509.ObjectIdentifier
    iv: bytes


@asn1.sequence
class _KeyEncryption:
    algorithm: x509.ObjectIdentifier
    cipher: _KeyEncryptionCipher | None


@asn1.sequence
class _PasswordRecipientInfo:
    version: int
    derivation: Annotated[_KeyDerivation | None, asn1.Implicit(0)]
    encryption: _KeyEncryption
    encrypted_key: bytes


@dataclass(frozen=True, slots=True)
class PasswordRecipient:
    """Somebody whose key nothing can be enveloped to, but who knows a challenge."""

    enveloped_version: ClassVar[int] = 3
    """The version of an EnvelopedData for this kind of recipient (RFC 5652 section 6.1)."""

    password: str = field(repr=False)

    def wrap(self, content_key: bytes, cipher: Cipher) -> bytes:
        """Return the encoded RecipientInfo that carries ``content_key``, wrapped with AES as strong as ``cipher``."""
        wrapping = _WRAPPING_CIPHERS[cipher.wrapping_key_size]
        salt, iv = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(wrapping.block_size)
        key = PBKDF2HMAC(Digest.SHA256.hash, wrapping.key_size, salt, ROUNDS).derive(self.password.encode())
        derivation = tlv.object_identifier(_PBKDF2) + tlv.sequence(tlv.octet_string(salt), tlv.integer(ROUNDS), _HMAC_WITH_SHA256)
        encryption = tlv.sequence(CIPHER_OID_BYTES[wrapping], tlv.octet_string(iv))
        return tlv.tlv(
            RECIPIENT_TAG,
            _VERSION_0
            + tlv.explicit(0, derivation)
            + tlv.sequence(tlv.object_identifier(_PWRI_KEK), encryption)
            + tlv.octet_string(wrapped(content_key, key, iv, wrapping)),
        )


_WRAPPING_CIPHERS: Final = {cipher.key_size: cipher for cipher in (Cipher.AES128, Cipher.AES192, Cipher.AES256)}


def unwrap(info: bytes, password: str) -> bytes:
    """Return the content key in an encoded PasswordRecipientInfo, opened with ``password``.

    Raises:
        MalformedMessage: it is no PasswordRecipientInfo.
        AlgorithmRefused: derivation or wrapping is not implemented, or asks for too many rounds.
        EnvelopeUndecryptable: it does not open.
    """
    element = tlv.read(info)
    found = decode(_PasswordRecipientInfo, tlv.sequence(info[element.content : element.end]))
    cipher = CIPHER_OIDS.get(found.encryption.cipher.algorithm.dotted_string) if found.encryption.cipher else None
    if found.encryption.algorithm.dotted_string != _PWRI_KEK or found.encryption.cipher is None or cipher is None:
        raise AlgorithmRefused("the password-based key encryption is not accepted")
    iv = found.encryption.cipher.iv
    if len(iv) != cipher.block_size:
        raise EnvelopeUndecryptable
    return unwrapped(found.encrypted_key, _derived(found.derivation, password, cipher), iv, cipher)


def _derived(derivation: _KeyDerivation | None, password: str, cipher: Cipher) -> bytes:
    parameters = derivation.parameters if derivation is not None else None
    if derivation is None or derivation.algorithm.dotted_string != _PBKDF2 or parameters is None:
        raise AlgorithmRefused("the key derivation is not accepted")
    digest = Digest.SHA1
    if parameters.pseudorandom is not None:
        known = _PSEUDORANDOM.get(parameters.pseudorandom.algorithm.dotted_string)
        if known is None:
            raise AlgorithmRefused("the key derivation is not accepted")
        digest = known
    if not 1 <= parameters.rounds <= MAX_ROUNDS or not 0 < len(parameters.salt) <= _MAX_SALT_BYTES:
        raise AlgorithmRefused("the key derivation is beyond all bounds")
    if parameters.key_length not in (None, cipher.key_size):
        raise EnvelopeUndecryptable
    return PBKDF2HMAC(digest.hash, cipher.key_size, parameters.salt, parameters.rounds).derive(password.encode())


def wrapped(content_key: bytes, key: bytes, iv: bytes, cipher: Cipher) -> bytes:
    """Return ``content_key`` under ``key`` (RFC 3211 section 2.3.1): length, check value and padding, encrypted twice over."""
    plain = bytes((len(content_key),)) + _check_value(content_key) + content_key
    length = max(2 * cipher.block_size, -(-len(plain) // cipher.block_size) * cipher.block_size)
    encryptor = CipherContext(cipher.keyed(key), modes.CBC(iv)).encryptor()
    # The second pass goes on where the first ended: its IV is the last block of the first.
    once = encryptor.update(plain + secrets.token_bytes(length - len(plain)))
    return encryptor.update(once) + encryptor.finalize()


def unwrapped(encrypted: bytes, key: bytes, iv: bytes, cipher: Cipher) -> bytes:
    """Return the content key in ``encrypted`` (RFC 3211 section 2.3.2).

    Raises:
        EnvelopeUndecryptable: it is none under this ``key``.
    """
    block = cipher.block_size
    if len(encrypted) % block or not 2 * block <= len(encrypted) <= _MAX_WRAPPED_BYTES:
        raise EnvelopeUndecryptable
    # The last block comes out first: decrypted, it is the last of the first pass, which was the IV of the second.
    last = _decrypted(encrypted[-block:], key, encrypted[-2 * block : -block], cipher)
    once = _decrypted(encrypted[:-block], key, last, cipher) + last
    plain = _decrypted(once, key, iv, cipher)
    length, check, rest = plain[0], plain[1 : 1 + _CHECK_BYTES], plain[1 + _CHECK_BYTES :]
    content_key = rest[:length]
    if not _CHECK_BYTES <= length == len(content_key) or check != _check_value(content_key):
        raise EnvelopeUndecryptable
    return content_key


def _check_value(content_key: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in content_key[:_CHECK_BYTES])


def _decrypted(data: bytes, key: bytes, iv: bytes, cipher: Cipher) -> bytes:
    decryptor = CipherContext(cipher.keyed(key), modes.CBC(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()
