"""KeyAgreeRecipientInfo: a content key for an EC key, under ephemeral-static ECDH (RFC 5652 section 6.2.2, RFC 5753).

Only a client opens these. The RA's key is RSA, so nobody can make the service agree on a key.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from foundation import tlv
from scep.algorithms import EC_PUBLIC_KEY, Cipher, Digest
from scep.certificate import subject_key_identifier
from scep.cms import AlgorithmIdentifier, IssuerAndSerialNumber
from scep.decoding import decode
from scep.errors import AlgorithmRefused, EnvelopeUndecryptable, MalformedMessage
from scep.signing import Signer

RECIPIENT_TAG: Final = 0xA1
"""What a KeyAgreeRecipientInfo begins with among the RecipientInfos."""

# dhSinglePass-stdDH-*kdf-scheme (RFC 5753 section 7.1.4). SHA-1 is what OpenSSL takes unless told otherwise, and is read: a key
# derivation needs no collision resistance.
_SCHEMES: Final = {
    "1.3.133.16.840.63.0.2": Digest.SHA1,
    "1.3.132.1.11.0": Digest.SHA224,
    "1.3.132.1.11.1": Digest.SHA256,
    "1.3.132.1.11.2": Digest.SHA384,
    "1.3.132.1.11.3": Digest.SHA512,
}
_SCHEME_OIDS: Final = {digest: tlv.object_identifier(oid) for oid, digest in _SCHEMES.items()}
# The digest of the key derivation goes with the curve, as RFC 5753 section 8 pairs them.
_CURVE_DIGESTS: Final = {"secp256r1": Digest.SHA256, "secp384r1": Digest.SHA384, "secp521r1": Digest.SHA512}
# id-aes*-wrap (RFC 3565 section 2.3.2), by the length of the key encryption key in bytes; without parameters.
_WRAPS: Final = {"2.16.840.1.101.3.4.1.5": 16, "2.16.840.1.101.3.4.1.25": 24, "2.16.840.1.101.3.4.1.45": 32}
_WRAP_IDENTIFIERS: Final = {size: tlv.sequence(tlv.object_identifier(oid)) for oid, size in _WRAPS.items()}

_MAX_ENCRYPTED_KEYS = 8
_MAX_KEYING_MATERIAL = 1024
_VERSION_3: Final = tlv.integer(3)
_ORIGINATOR_KEY: Final = 0xA1
_EC_PUBLIC_KEY_WITHOUT_CURVE: Final = tlv.sequence(tlv.object_identifier(EC_PUBLIC_KEY))


@asn1.sequence
class _OriginatorPublicKey:
    algorithm: AlgorithmIdentifier
    public_key: asn1.BitString


@asn1.sequence
class _RecipientKeyIdentifier:
    key_identifier: bytes
    date: asn1.GeneralizedTime | None
    other: list[asn1.TLV] | None


@asn1.sequence
class _RecipientEncryptedKey:
    issuer_and_serial: IssuerAndSerialNumber | None
    by_key: Annotated[_RecipientKeyIdentifier | None, asn1.Implicit(0)]
    encrypted_key: bytes


@asn1.sequence
class _KeyEncryptionAlgorithm:
    scheme: x509.ObjectIdentifier
    wrap: asn1.TLV


@asn1.sequence
class _KeyAgreeRecipientInfo:
    version: int
    originator: Annotated[asn1.TLV, asn1.Explicit(0)]
    keying_material: Annotated[bytes | None, asn1.Explicit(1)]
    algorithm: _KeyEncryptionAlgorithm
    encrypted_keys: list[_RecipientEncryptedKey]


@dataclass(frozen=True, slots=True)
class AgreementRecipient:
    """Somebody with an EC key on a curve of NIST's, named by ``issuer_and_serial`` (encoded)."""

    enveloped_version: ClassVar[int] = 2
    """The version of an EnvelopedData for this kind of recipient (RFC 5652 section 6.1)."""

    public_key: ec.EllipticCurvePublicKey
    issuer_and_serial: bytes

    def wrap(self, content_key: bytes, cipher: Cipher) -> bytes:
        """Return the encoded RecipientInfo that carries ``content_key``, wrapped with AES as strong as ``cipher``.

        Raises:
            AlgorithmRefused: the curve is none of P-256, P-384 and P-521.
        """
        digest = _CURVE_DIGESTS.get(self.public_key.curve.name)
        if digest is None:
            raise AlgorithmRefused("the elliptic curve of the recipient must be P-256, P-384 or P-521")
        ephemeral = ec.generate_private_key(self.public_key.curve)
        wrap = _WRAP_IDENTIFIERS[cipher.wrapping_key_size]
        key = _derived(ephemeral.exchange(ec.ECDH(), self.public_key), digest, wrap, cipher.wrapping_key_size, None)
        point = ephemeral.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        originator = tlv.tlv(_ORIGINATOR_KEY, _EC_PUBLIC_KEY_WITHOUT_CURVE + tlv.bit_string(point))
        encrypted_key = tlv.octet_string(aes_key_wrap(key, content_key))
        return tlv.tlv(
            RECIPIENT_TAG,
            _VERSION_3
            + tlv.explicit(0, originator)
            + tlv.sequence(_SCHEME_OIDS[digest], wrap)
            + tlv.sequence(tlv.sequence(self.issuer_and_serial, encrypted_key)),
        )


def can_agree(public_key: object) -> bool:
    """Say whether ``public_key`` is one that a content key can be agreed on with."""
    return isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVE_DIGESTS


def allows_agreement(certificate: x509.Certificate | None) -> bool:
    """Say whether a certificate lets its key agree on keys: one without a keyUsage, or none that can be read, forbids nothing."""
    if certificate is None:
        return True
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_agreement
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return True


def unwrap(info: bytes, key: Signer) -> bytes:
    """Return the content key in an encoded KeyAgreeRecipientInfo, opened with the EC key of ``key``.

    Raises:
        MalformedMessage: it is no KeyAgreeRecipientInfo.
        AlgorithmRefused: agreement, derivation or wrapping is not implemented.
        EnvelopeUndecryptable: it does not open.
    """
    if not isinstance(key.private_key, ec.EllipticCurvePrivateKey):
        raise EnvelopeUndecryptable
    found = decode(_KeyAgreeRecipientInfo, tlv.sequence(_content(info)))
    digest = _SCHEMES.get(found.algorithm.scheme.dotted_string)
    wrap = asn1.encode_der(found.algorithm.wrap)
    size = _WRAPS.get(decode(AlgorithmIdentifier, wrap).algorithm.dotted_string)
    if digest is None or size is None:
        raise AlgorithmRefused("the key agreement is not accepted")
    material = found.keying_material
    if material is not None and len(material) > _MAX_KEYING_MATERIAL:
        raise MalformedMessage("keying material beyond all bounds")
    encrypted_key = _meant_for(key, found.encrypted_keys[:_MAX_ENCRYPTED_KEYS])
    try:
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(key.private_key.curve, _point(found.originator))
        shared = key.private_key.exchange(ec.ECDH(), ephemeral)
        return aes_key_unwrap(_derived(shared, digest, wrap, size, material), encrypted_key)
    except (ValueError, UnsupportedAlgorithm, InvalidUnwrap) as error:
        raise EnvelopeUndecryptable from error


def _meant_for(key: Signer, encrypted_keys: list[_RecipientEncryptedKey]) -> bytes:
    """Return the encrypted key that names ``key``; if there is one only, that one, as some encode the issuer's name anew."""
    for candidate in encrypted_keys:
        if candidate.issuer_and_serial is not None:
            if asn1.encode_der(candidate.issuer_and_serial) == key.issuer_and_serial:
                return candidate.encrypted_key
        elif candidate.by_key is not None and candidate.by_key.key_identifier == subject_key_identifier(key.certificate):
            return candidate.encrypted_key
    if len(encrypted_keys) != 1:
        raise EnvelopeUndecryptable
    return encrypted_keys[0].encrypted_key


def _point(originator: asn1.TLV) -> bytes:
    """Return the ephemeral public key. Its curve is ours or it is none: whatever its parameters say is not asked."""
    if originator.tag_bytes != bytes((_ORIGINATOR_KEY,)):
        raise AlgorithmRefused("the key agreement does not use an ephemeral key")
    found = decode(_OriginatorPublicKey, tlv.sequence(bytes(originator.data)))
    if found.algorithm.algorithm.dotted_string != EC_PUBLIC_KEY:
        raise AlgorithmRefused("the key agreement is not accepted")
    return found.public_key.as_bytes()


def _derived(shared: bytes, digest: Digest, wrap: bytes, size: int, material: bytes | None) -> bytes:
    """Return the key encryption key: X9.63's derivation over ECC-CMS-SharedInfo (RFC 5753 section 7.2).

    ``wrap`` goes in as it stands in the message: with or without NULL, both sides derive over the same bytes.
    """
    own = b"" if material is None else tlv.explicit(0, tlv.octet_string(material))
    length = tlv.explicit(2, tlv.octet_string((8 * size).to_bytes(4, "big")))
    return X963KDF(digest.hash, size, tlv.sequence(wrap, own, length)).derive(shared)


def _content(info: bytes) -> bytes:
    """Return what is inside an implicitly tagged SEQUENCE."""
    element = tlv.read(info)
    return info[element.content : element.end]
