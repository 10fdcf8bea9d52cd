"""EnvelopedData with RSA recipients: opening and sealing it (RFC 5652 section 6, RFC 3560).

Opening says one thing only about an envelope that does not open. Whoever could tell a padding error of the key from one of the
content could decrypt other messages with us (Bleichenbacher), so a key that does not unwrap is replaced with a random one and
the work goes on.
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

from foundation import tlv
from foundation.ber import normalise
from scep.algorithms import (
    CIPHER_OID_BYTES,
    CIPHER_OIDS,
    DIGEST_OIDS,
    MGF1,
    PKCS1_V15,
    RSA_ENCRYPTION,
    RSAES_OAEP,
    Cipher,
    Digest,
    KeyTransport,
    key_transport_identifier,
)
from scep.certificate import subject_key_identifier
from scep.cms import DATA, AlgorithmIdentifier, ContentInfo, IssuerAndSerialNumber
from scep.decoding import MAX_SIZE, decode
from scep.errors import AlgorithmRefused, EnvelopeUndecryptable, MalformedMessage
from scep.signing import Signer

ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"
_MAX_RECIPIENTS = 8


@asn1.sequence
class _MaskGeneration:
    algorithm: x509.ObjectIdentifier
    digest: AlgorithmIdentifier | None


@asn1.sequence
class _PSource:
    algorithm: x509.ObjectIdentifier
    label: bytes | None


@asn1.sequence
class _OaepParameters:
    digest: Annotated[AlgorithmIdentifier | None, asn1.Explicit(0)]
    mask_generation: Annotated[_MaskGeneration | None, asn1.Explicit(1)]
    source: Annotated[_PSource | None, asn1.Explicit(2)]


@asn1.sequence
class _KeyEncryptionAlgorithm:
    algorithm: x509.ObjectIdentifier
    null: asn1.Null | None
    oaep: _OaepParameters | None


@asn1.sequence
class _KeyTransRecipientInfo:
    version: int
    issuer_and_serial: IssuerAndSerialNumber | None
    key_identifier: Annotated[bytes | None, asn1.Implicit(0)]
    algorithm: _KeyEncryptionAlgorithm
    encrypted_key: bytes


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
class _Recipient:
    info: _KeyTransRecipientInfo
    transport: KeyTransport


def open_envelope(data: bytes, keys: Sequence[Signer]) -> OpenedEnvelope:
    """Open a ContentInfo with an EnvelopedData by one of ``keys``, of which those without an RSA key are of no use.

    The content, once decrypted, is one SEQUENCE, as all SCEP contents are; anything else counts as not decrypted.

    Raises:
        MalformedMessage: it is no EnvelopedData.
        AlgorithmRefused: a cipher or key transport that is not implemented.
        EnvelopeUndecryptable: it does not open, for whatever reason.
    """
    content_info = decode(ContentInfo, data)
    if content_info.content_type.dotted_string != ENVELOPED_DATA:
        raise MalformedMessage("not an EnvelopedData")
    enveloped = decode(_EnvelopedData, asn1.encode_der(content_info.content))
    sealed = enveloped.encrypted_content_info
    cipher = CIPHER_OIDS.get(sealed.algorithm.algorithm.dotted_string)
    if cipher is None:
        raise AlgorithmRefused("the content encryption algorithm is not accepted")
    iv = sealed.algorithm.iv
    encrypted = b"".join(sealed.segments) if sealed.segments is not None else sealed.content
    if not encrypted or iv is None or len(iv) != cipher.block_size or len(encrypted) % cipher.block_size:
        raise EnvelopeUndecryptable
    for recipient, key in _candidates(_recipients(enveloped.recipient_infos), keys):
        content = _decrypt(encrypted, iv, cipher, _unwrap(recipient, key, cipher))
        if content is not None:
            return OpenedEnvelope(content, cipher, recipient.transport, key)
    raise EnvelopeUndecryptable


def _recipients(infos: asn1.TLV) -> list[_Recipient]:
    """Return the RSA recipients; others (key agreement, passwords) are passed over."""
    encoded = asn1.encode_der(infos)
    try:
        try:
            members = _members(encoded)
        except tlv.MalformedTlv:
            members = _members(normalise(encoded, max_size=MAX_SIZE))
    except tlv.MalformedTlv as error:
        raise MalformedMessage("an EnvelopedData without recipients") from error
    found = [decode(_KeyTransRecipientInfo, member) for member in members[:_MAX_RECIPIENTS] if member[0] == tlv.SEQUENCE]
    if not found:
        raise AlgorithmRefused("no recipient with RSA key transport")
    return [_Recipient(info, _key_transport(info.algorithm)) for info in found]


def _members(encoded: bytes) -> list[bytes]:
    """Return the encoded members of a SET."""
    outer = tlv.read(encoded)
    if outer.tag != tlv.SET:
        raise tlv.MalformedTlv("not a SET")
    return [encoded[child.start : child.end] for child in tlv.children(encoded, outer)]


def _key_transport(algorithm: _KeyEncryptionAlgorithm) -> KeyTransport:
    oid = algorithm.algorithm.dotted_string
    if oid == RSA_ENCRYPTION:
        return PKCS1_V15
    if oid != RSAES_OAEP:
        raise AlgorithmRefused("the key transport is not accepted")
    parameters = algorithm.oaep
    if parameters is None:
        return KeyTransport(oaep=Digest.SHA1)
    mask_generation = parameters.mask_generation
    if mask_generation is not None and mask_generation.algorithm.dotted_string != MGF1:
        raise AlgorithmRefused("the mask generation function of the key transport is not accepted")
    return KeyTransport(
        oaep=_oaep_digest(parameters.digest),
        mgf=_oaep_digest(None if mask_generation is None else mask_generation.digest),
        label=(parameters.source.label or b"") if parameters.source is not None else b"",
    )


def _oaep_digest(identifier: AlgorithmIdentifier | None) -> Digest:
    if identifier is None:
        return Digest.SHA1
    digest = DIGEST_OIDS.get(identifier.algorithm.dotted_string)
    if digest is None or digest is Digest.MD5:
        raise AlgorithmRefused("the digest of the key transport is not accepted")
    return digest


def _candidates(recipients: list[_Recipient], keys: Sequence[Signer]) -> list[tuple[_Recipient, Signer]]:
    """Pair recipients with the keys they name. If none is ours and there is one only, every key is tried.

    Clients keep the RA certificate of their first GetCACert, or copy its issuer's name in another encoding.
    """
    named = [(recipient, key) for recipient in recipients for key in keys if _names(recipient.info, key)]
    if named or len(recipients) != 1:
        return named
    return [(recipients[0], key) for key in keys]


def _names(info: _KeyTransRecipientInfo, key: Signer) -> bool:
    if info.key_identifier is not None:
        return info.key_identifier == subject_key_identifier(key.certificate)
    return info.issuer_and_serial is not None and asn1.encode_der(info.issuer_and_serial) == key.issuer_and_serial


def _unwrap(recipient: _Recipient, key: Signer, cipher: Cipher) -> bytes:
    """Return the content encryption key, or a random one when it does not unwrap to one of the right length."""
    substitute = secrets.token_bytes(cipher.key_size)
    if not isinstance(key.private_key, rsa.RSAPrivateKey):
        return substitute
    try:
        unwrapped = key.private_key.decrypt(recipient.info.encrypted_key, recipient.transport.padding())
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

_VERSION_0: Final = tlv.integer(0)
_DATA: Final = tlv.object_identifier(DATA)
_ENVELOPED_DATA: Final = tlv.object_identifier(ENVELOPED_DATA)


def seal(
    content: bytes,
    public_key: rsa.RSAPublicKey,
    issuer_and_serial: bytes,
    cipher: Cipher,
    transport: KeyTransport = PKCS1_V15,
) -> bytes:
    """Return a ContentInfo with ``content`` enveloped to the RSA key that ``issuer_and_serial`` (encoded) names.

    Raises:
        AlgorithmRefused: the key cannot carry a content key in this key transport.
    """
    key = secrets.token_bytes(cipher.key_size)
    try:
        encrypted_key = public_key.encrypt(key, transport.padding())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AlgorithmRefused("the key of the recipient is too small for the key transport") from error
    iv = secrets.token_bytes(cipher.block_size)
    padder = PKCS7(cipher.block_size * 8).padder()
    encryptor = CipherContext(cipher.keyed(key), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    recipient = tlv.sequence(_VERSION_0, issuer_and_serial, key_transport_identifier(transport), tlv.octet_string(encrypted_key))
    algorithm = tlv.sequence(CIPHER_OID_BYTES[cipher], tlv.octet_string(iv))
    body = tlv.sequence(_VERSION_0, tlv.tlv(tlv.SET, recipient), tlv.sequence(_DATA, algorithm, tlv.tlv(0x80, encrypted)))
    return tlv.sequence(_ENVELOPED_DATA, tlv.explicit(0, body))
