"""SignedData: reading and verifying it (RFC 5652 section 5).

The strict decoder reads DER in a few microseconds. What it refuses is brought into DER form by ``foundation.tlv`` and read again:
jscep and Apple send BER with indefinite lengths. Signatures are verified over the attribute bytes as received.
"""

from dataclasses import dataclass
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from foundation import tlv
from scep.algorithms import (
    DIGEST_OIDS,
    EC_PUBLIC_KEY,
    ECDSA_SIGNATURE_OIDS,
    RSA_ENCRYPTION,
    RSA_SIGNATURE_OIDS,
    Digest,
)
from scep.certificate import CarriedCertificate, read_certificate, subject_key_identifier
from scep.decoding import decode
from scep.errors import AlgorithmRefused, BadSignature, MalformedMessage

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"


# --- the structures, as RFC 5652 and RFC 5280 write them ---
#
# A SET OF under an IMPLICIT tag is declared as a list: the tag is the same, and the order, which few heed, is not enforced.


@asn1.sequence
class AlgorithmIdentifier:
    """An AlgorithmIdentifier whose parameters are absent, NULL, or named by the algorithm and of no interest."""

    algorithm: x509.ObjectIdentifier
    null: asn1.Null | None
    named: x509.ObjectIdentifier | None
    structured: list[asn1.TLV] | None


@asn1.sequence
class IssuerAndSerialNumber:
    """Names a certificate."""

    issuer: asn1.TLV
    serial_number: int


@asn1.sequence
class Attribute:
    """An attribute and its values."""

    type: x509.ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _Attributes:
    attributes: Annotated[list[Attribute], asn1.Implicit(0)]


@asn1.sequence
class ContentInfo:
    """The outermost structure of every CMS message."""

    content_type: x509.ObjectIdentifier
    content: Annotated[asn1.TLV, asn1.Explicit(0)]


@asn1.sequence
class _EncapsulatedContentInfo:
    content_type: x509.ObjectIdentifier
    content: Annotated[bytes | None, asn1.Explicit(0)]


@asn1.sequence
class _SignerInfo:
    version: int
    issuer_and_serial: IssuerAndSerialNumber | None
    key_identifier: Annotated[bytes | None, asn1.Implicit(0)]
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: asn1.TLV
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    unsigned_attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: asn1.TLV
    content_info: _EncapsulatedContentInfo
    certificates: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    revocation_lists: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]
    signer_infos: asn1.SetOf[_SignerInfo]


# --- reading ---


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A SignedData with exactly one signer, taken apart but not yet verified."""

    content: bytes
    attributes: dict[str, list[asn1.TLV]]
    certificates: tuple[bytes, ...]
    digest_oid: str
    signature_oid: str
    _issuer_der: bytes | None
    _serial_number: int | None
    _key_identifier: bytes | None
    _attribute_bytes: bytes
    _signature: bytes

    def signer(self) -> CarriedCertificate:
        """Return the certificate of the signer, found among those in the message.

        Raises:
            MalformedMessage: it is not there, or unreadable.
        """
        if len(self.certificates) == 1:
            # Some encode the issuer's name anew, with other string types. The signature tells whether this is the signer.
            return read_certificate(self.certificates[0])
        for der in self.certificates:
            carried = read_certificate(der)
            if self._key_identifier is not None:
                if carried.x509 is not None and subject_key_identifier(carried.x509) == self._key_identifier:
                    return carried
            elif carried.serial_number == self._serial_number and carried.issuer_der == self._issuer_der:
                return carried
        raise MalformedMessage("the signer's certificate is not in the message")

    def verify(self, public_key: PublicKeyTypes) -> Digest:
        """Verify digest and signature over the attributes as received; return the digest algorithm.

        Raises:
            AlgorithmRefused: an algorithm or key type that cannot be verified here; MD5.
            BadSignature: digest, contentType or signature do not hold.
        """
        digest = DIGEST_OIDS.get(self.digest_oid)
        if digest is None or digest is Digest.MD5:
            raise AlgorithmRefused("the digest algorithm is not accepted")
        context = hashes.Hash(digest.hash)
        context.update(self.content)
        if self.octets(MESSAGE_DIGEST) != context.finalize():
            raise BadSignature("the message digest does not match")
        content_type = self.value(CONTENT_TYPE)
        if content_type is None or asn1.encode_der(content_type) != tlv.object_identifier(DATA):
            raise BadSignature("the content type does not match")
        try:
            self._verify_with(public_key, digest)
        except InvalidSignature as error:
            raise BadSignature("the signature does not verify") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise AlgorithmRefused("the signature algorithm is not accepted") from error
        return digest

    def _verify_with(self, public_key: PublicKeyTypes, digest: Digest) -> None:
        if isinstance(public_key, rsa.RSAPublicKey):
            if self.signature_oid == RSA_ENCRYPTION or RSA_SIGNATURE_OIDS.get(self.signature_oid) is digest:
                public_key.verify(self._signature, self._attribute_bytes, padding.PKCS1v15(), digest.hash)
                return
        elif isinstance(public_key, ec.EllipticCurvePublicKey) and (
            self.signature_oid == EC_PUBLIC_KEY or ECDSA_SIGNATURE_OIDS.get(self.signature_oid) is digest
        ):
            public_key.verify(self._signature, self._attribute_bytes, ec.ECDSA(digest.hash))
            return
        raise AlgorithmRefused("the signature algorithm is not accepted")

    def value(self, oid: str) -> asn1.TLV | None:
        """Return the one value of the signed attribute ``oid``, None when the attribute is absent.

        Raises:
            MalformedMessage: it occurs more than once, or with another number of values than one.
        """
        values = self.attributes.get(oid)
        if values is None:
            return None
        if len(values) != 1:
            raise MalformedMessage("a signed attribute without exactly one value")
        return values[0]

    def octets(self, oid: str) -> bytes | None:
        """Return the one OCTET STRING value of ``oid``, None when the attribute is absent.

        Raises:
            MalformedMessage: it occurs more than once or is of another type.
        """
        value = self.value(oid)
        if value is None:
            return None
        if value.tag_bytes != _OCTET_STRING:
            raise MalformedMessage("a signed attribute of the wrong type")
        return bytes(value.data)


_OCTET_STRING = bytes((tlv.OCTET_STRING,))
_SIGNED_ATTRIBUTES = bytes((0xA0,))
_SEQUENCE = bytes((tlv.SEQUENCE,))


def read_signed_data(data: bytes) -> SignedMessage:
    """Take a ContentInfo with a SignedData of one signer and signed attributes apart.

    Raises:
        MalformedMessage: it is something else.
    """
    signed_data = _signed_data(data)
    signer_infos = signed_data.signer_infos.as_list()
    if len(signer_infos) != 1:
        raise MalformedMessage("a SignedData without exactly one signer")
    signer = signer_infos[0]
    if signer.signed_attributes.tag_bytes != _SIGNED_ATTRIBUTES:
        raise MalformedMessage("a SignerInfo without signed attributes")
    attribute_bytes = bytes(signer.signed_attributes.data)
    attributes: dict[str, list[asn1.TLV]] = {}
    for attribute in decode(_Attributes, tlv.sequence(tlv.explicit(0, attribute_bytes))).attributes:
        attributes.setdefault(attribute.type.dotted_string, []).extend(attribute.values.as_list())
    named = signer.issuer_and_serial
    if (named is None) == (signer.key_identifier is None):
        raise MalformedMessage("a SignerInfo that names no signer")
    return SignedMessage(
        content=signed_data.content_info.content or b"",
        attributes=attributes,
        certificates=_certificates(signed_data),
        digest_oid=signer.digest_algorithm.algorithm.dotted_string,
        signature_oid=signer.signature_algorithm.algorithm.dotted_string,
        _issuer_der=None if named is None else asn1.encode_der(named.issuer),
        _serial_number=None if named is None else named.serial_number,
        _key_identifier=signer.key_identifier,
        # RFC 5652 section 5.4: what is signed is the SET OF, not the [0] that stands for it in the SignerInfo.
        _attribute_bytes=tlv.tlv(tlv.SET, attribute_bytes),
        _signature=signer.signature,
    )


def read_certificates(data: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a SignedData (the degenerate one of CertRep and GetCACert), in its order.

    Raises:
        MalformedMessage: it is no SignedData.
    """
    return _certificates(_signed_data(data))


def read_crls(data: bytes) -> tuple[bytes, ...]:
    """Return the CRLs of a SignedData (the degenerate one that answers GetCRL), in its order.

    Raises:
        MalformedMessage: it is no SignedData.
    """
    return tuple(asn1.encode_der(item) for item in _signed_data(data).revocation_lists or () if item.tag_bytes == _SEQUENCE)


def _signed_data(data: bytes) -> _SignedData:
    content_info = decode(ContentInfo, data)
    if content_info.content_type.dotted_string != SIGNED_DATA:
        raise MalformedMessage("not a SignedData")
    return decode(_SignedData, asn1.encode_der(content_info.content))


def _certificates(signed_data: _SignedData) -> tuple[bytes, ...]:
    return tuple(asn1.encode_der(item) for item in signed_data.certificates or () if item.tag_bytes == _SEQUENCE)
