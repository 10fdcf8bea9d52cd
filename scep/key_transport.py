"""KeyTransRecipientInfo: a content key encrypted to an RSA key (RFC 5652 section 6.2.1, RFC 3560, RFC 4055)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import rsa

from foundation import tlv
from scep.algorithms import (
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
from scep.cms import AlgorithmIdentifier, IssuerAndSerialNumber
from scep.decoding import decode
from scep.errors import AlgorithmRefused
from scep.signing import Signer

RECIPIENT_TAG: Final = tlv.SEQUENCE
"""What a KeyTransRecipientInfo begins with among the RecipientInfos."""

_VERSION_0: Final = tlv.integer(0)


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


@dataclass(frozen=True, slots=True)
class RsaRecipient:
    """Somebody with an RSA key, named by ``issuer_and_serial`` (encoded), who gets the content key under ``transport``."""

    enveloped_version: ClassVar[int] = 0
    """The version of an EnvelopedData for this kind of recipient (RFC 5652 section 6.1)."""

    public_key: rsa.RSAPublicKey
    issuer_and_serial: bytes
    transport: KeyTransport = PKCS1_V15

    def can_carry(self, cipher: Cipher) -> bool:
        """Say whether the modulus has room for a key of ``cipher``."""
        return self.public_key.key_size // 8 >= cipher.key_size + self.transport.overhead

    def wrap(self, content_key: bytes, _cipher: Cipher) -> bytes:
        """Return the encoded RecipientInfo that carries ``content_key``.

        Raises:
            AlgorithmRefused: the RSA key cannot carry a content key in this key transport.
        """
        try:
            encrypted_key = self.public_key.encrypt(content_key, self.transport.padding())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise AlgorithmRefused("the key of the recipient is too small for the key transport") from error
        algorithm = key_transport_identifier(self.transport)
        return tlv.sequence(_VERSION_0, self.issuer_and_serial, algorithm, tlv.octet_string(encrypted_key))


@dataclass(frozen=True, slots=True)
class TransportedKey:
    """A content key under RSA, as received, and how it was encrypted."""

    encrypted_key: bytes
    transport: KeyTransport
    _issuer_and_serial: IssuerAndSerialNumber | None
    _key_identifier: bytes | None

    def names(self, key: Signer) -> bool:
        """Say whether it is meant for ``key``."""
        if self._key_identifier is not None:
            return self._key_identifier == subject_key_identifier(key.certificate)
        return self._issuer_and_serial is not None and asn1.encode_der(self._issuer_and_serial) == key.issuer_and_serial


def read_recipient(info: bytes) -> TransportedKey:
    """Read an encoded KeyTransRecipientInfo.

    Raises:
        MalformedMessage: it is none.
        AlgorithmRefused: its key transport is not implemented.
    """
    found = decode(_KeyTransRecipientInfo, info)
    return TransportedKey(found.encrypted_key, _key_transport(found.algorithm), found.issuer_and_serial, found.key_identifier)


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
