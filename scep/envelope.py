"""EnvelopedData: opening it with the RA's keys, and sealing it (RFC 5652 section 6, RFC 3560).

Opening says one thing only about an envelope that does not open. Whoever could tell a padding error of the key from one of the
content could decrypt other messages with us (Bleichenbacher), so a key that does not unwrap is replaced with a random one and
the work goes on.

What is sent to us is for an RSA key: other recipients are passed over. A client opens the other kinds in
``scep.reply_envelope``.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers import modes
from cryptography.hazmat.primitives.padding import PKCS7

from ca.errors import KeyUnavailable
from foundation import tlv
from foundation.ber import normalise
from scep import key_transport
from scep.algorithms import CIPHER_OID_BYTES, CIPHER_OIDS, Cipher, KeyTransport
from scep.cms import DATA, ContentInfo
from scep.decoding import MAX_SIZE, decode
from scep.errors import AlgorithmRefused, EnvelopeUndecryptable, MalformedMessage
from scep.key_agreement import AgreementRecipient
from scep.key_transport import RsaRecipient, TransportedKey
from scep.password_recipient import PasswordRecipient
from scep.signing import Signer

ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"
_MAX_RECIPIENTS = 8


@asn1.sequence
class _ContentEncryptionAlgorithm:
    algorithm: x509.ObjectIdentifier
    iv: bytes | None
    # RC2 and AES-GCM have structured parameters; they are refused by their OID.
    structured: list[asn1.TLV] | None


@asn1.sequence
class _EncryptedContentInfo:
    content_type: x509.ObjectIdentifier
    algorithm: _ContentEncryptionAlgorithm
    # micromdm and jscep send the IMPLICIT OCTET STRING constructed, in segments: the same tag number, with the other form bit.
    content: Annotated[bytes | None, asn1.Implicit(0)]
    segments: Annotated[list[bytes] | None, asn1.Implicit(0)]


@asn1.sequence
class _EnvelopedData:
    version: int
    originator_info: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    recipient_infos: asn1.TLV
    encrypted_content_info: _EncryptedContentInfo
    unprotected_attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


# --- opening ---


@dataclass(frozen=True, slots=True)
class OpenedEnvelope:
    """What was in an envelope, how it was sealed, and whose key opened it."""

    content: bytes = field(repr=False)  # a challenge is in it
    cipher: Cipher
    key_transport: KeyTransport
    recipient: Signer = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedContent:
    """An envelope taken apart and not yet opened: who may open it, and the content under its key."""

    recipient_infos: tuple[bytes, ...]
    cipher: Cipher
    _iv: bytes
    _encrypted: bytes

    def decrypt(self, content_key: bytes) -> bytes | None:
        """Return the content, None when its padding or form is wrong: what its key was, then, nobody is to learn."""
        return _decrypt(self._encrypted, self._iv, self.cipher, content_key)


def open_envelope(data: bytes, keys: Sequence[Signer]) -> OpenedEnvelope:
    """Open a ContentInfo with an EnvelopedData by one of ``keys``, of which those without an RSA key are of no use.

    The content, once decrypted, is one SEQUENCE, as all SCEP contents are; anything else counts as not decrypted.

    Raises:
        MalformedMessage: it is no EnvelopedData.
        AlgorithmRefused: a cipher or key transport that is not implemented.
        EnvelopeUndecryptable: it does not open, for whatever reason.
    """
    sealed = read_envelope(data)
    for recipient, key in _candidates(_transported_keys(sealed), keys):
        content = sealed.decrypt(_unwrap(recipient, key, sealed.cipher))
        if content is not None:
            return OpenedEnvelope(content, sealed.cipher, recipient.transport, key)
    raise EnvelopeUndecryptable


def recognise_envelope(data: bytes, keys: Sequence[Signer]) -> OpenedEnvelope:
    """Return how an envelope is sealed and which of ``keys`` it is for (the first where that is none), without opening it.

    For a CertPoll, of which nothing inside is needed. CBC lets anybody who has an envelope make others of it whose content reads
    as two SEQUENCEs and a padding to be guessed: an answer that told whether such a poll opens would give the content away, byte
    by byte. ``content`` is empty.

    Raises:
        MalformedMessage: it is no EnvelopedData.
        AlgorithmRefused: a cipher or key transport that is not implemented.
        EnvelopeUndecryptable: nothing can be in it.
    """
    sealed = read_envelope(data)
    recipients = _transported_keys(sealed)
    recipient, key = next(iter(_candidates(recipients, keys)), (recipients[0], keys[0]))
    return OpenedEnvelope(b"", sealed.cipher, recipient.transport, key)


def _transported_keys(sealed: SealedContent) -> list[TransportedKey]:
    infos = [info for info in sealed.recipient_infos if info[0] == key_transport.RECIPIENT_TAG]
    if not infos:
        raise AlgorithmRefused("no recipient with RSA key transport")
    return [key_transport.read_recipient(info) for info in infos]


def read_envelope(data: bytes) -> SealedContent:
    """Take a ContentInfo with an EnvelopedData apart.

    Raises:
        MalformedMessage: it is no EnvelopedData.
        AlgorithmRefused: the cipher is not implemented.
        EnvelopeUndecryptable: nothing can be in it.
    """
    content_info = decode(ContentInfo, data)
    if content_info.content_type.dotted_string != ENVELOPED_DATA:
        raise MalformedMessage("not an EnvelopedData")
    enveloped = decode(_EnvelopedData, asn1.encode_der(content_info.content))
    info = enveloped.encrypted_content_info
    cipher = CIPHER_OIDS.get(info.algorithm.algorithm.dotted_string)
    if cipher is None:
        raise AlgorithmRefused("the content encryption algorithm is not accepted")
    iv = info.algorithm.iv
    encrypted = b"".join(info.segments) if info.segments is not None else info.content
    if not encrypted or iv is None or len(iv) != cipher.block_size or len(encrypted) % cipher.block_size:
        raise EnvelopeUndecryptable
    return SealedContent(tuple(_recipient_infos(enveloped.recipient_infos)), cipher, iv, encrypted)


def _recipient_infos(infos: asn1.TLV) -> list[bytes]:
    encoded = asn1.encode_der(infos)
    try:
        try:
            members = _members(encoded)
        except tlv.MalformedTlv:
            members = _members(normalise(encoded, max_size=MAX_SIZE))
    except tlv.MalformedTlv as error:
        raise MalformedMessage("an EnvelopedData without recipients") from error
    return members[:_MAX_RECIPIENTS]


def _members(encoded: bytes) -> list[bytes]:
    """Return the encoded members of a SET."""
    outer = tlv.read(encoded)
    if outer.tag != tlv.SET:
        raise tlv.MalformedTlv("not a SET")
    return [encoded[child.start : child.end] for child in tlv.children(encoded, outer)]


def _candidates(recipients: list[TransportedKey], keys: Sequence[Signer]) -> list[tuple[TransportedKey, Signer]]:
    """Pair recipients with the keys they name. If none is ours and there is one only, every key is tried.

    Clients keep the RA certificate of their first GetCACert, or copy its issuer's name in another encoding.
    """
    named = [(recipient, key) for recipient in recipients for key in keys if recipient.names(key)]
    if named or len(recipients) != 1:
        return named
    return [(recipients[0], key) for key in keys]


def _unwrap(recipient: TransportedKey, key: Signer, cipher: Cipher) -> bytes:
    """Return the content encryption key, or a random one when it does not unwrap to one of the right length."""
    substitute = secrets.token_bytes(cipher.key_size)
    if not isinstance(key.private_key, rsa.RSAPrivateKey):
        return substitute
    try:
        unwrapped = key.private_key.decrypt(recipient.encrypted_key, recipient.transport.padding())
    except KeyUnavailable:
        # The token that keeps the key is lost, whatever was sent: the answer is the transport's 503.
        raise
    except UnsupportedAlgorithm as error:
        # Said of the algorithm, never of what is encrypted.
        raise AlgorithmRefused("the key transport is not accepted") from error
    except Exception:  # noqa: BLE001 - an HSM raises errors of its own; none may be told from another
        return substitute
    return unwrapped if len(unwrapped) == cipher.key_size else substitute


def _decrypt(encrypted: bytes, iv: bytes, cipher: Cipher, key: bytes) -> bytes | None:
    """Return the content, None when its padding or form is wrong."""
    decryptor = CipherContext(cipher.keyed(key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(encrypted) + decryptor.finalize()
    unpadder = PKCS7(cipher.block_size * 8).unpadder()
    try:
        content = unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        return None
    return content if _is_sequence(content) else None


def _is_sequence(content: bytes) -> bool:
    if content[:1] != b"\x30":
        return False
    try:
        if tlv.read(content).end == len(content):
            return True
    except tlv.MalformedTlv:
        pass
    try:
        normalise(content, max_size=MAX_SIZE)
    except tlv.MalformedTlv:
        return False
    return True


# --- sealing ---

Recipient = RsaRecipient | AgreementRecipient | PasswordRecipient
"""Who gets the content key, and how: by RSA, by key agreement, or by knowing the challenge."""

_DATA: Final = tlv.object_identifier(DATA)
_ENVELOPED_DATA: Final = tlv.object_identifier(ENVELOPED_DATA)


def seal(content: bytes, recipient: Recipient, cipher: Cipher) -> bytes:
    """Return a ContentInfo with ``content`` enveloped to ``recipient``.

    Raises:
        AlgorithmRefused: the recipient's key cannot carry a content key.
    """
    key = secrets.token_bytes(cipher.key_size)
    recipient_info = recipient.wrap(key, cipher)
    iv = secrets.token_bytes(cipher.block_size)
    padder = PKCS7(cipher.block_size * 8).padder()
    encryptor = CipherContext(cipher.keyed(key), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    algorithm = tlv.sequence(CIPHER_OID_BYTES[cipher], tlv.octet_string(iv))
    body = tlv.sequence(
        tlv.integer(recipient.enveloped_version),
        tlv.tlv(tlv.SET, recipient_info),
        tlv.sequence(_DATA, algorithm, tlv.tlv(0x80, encrypted)),
    )
    return tlv.sequence(_ENVELOPED_DATA, tlv.explicit(0, body))
