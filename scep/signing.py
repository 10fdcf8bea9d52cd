"""SignedData: writing it, by hand from pieces made once, as signing is the hot half of an enrolment (RFC 5652 section 5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from foundation import tlv
from scep.algorithms import DIGEST_IDENTIFIERS, ECDSA_IDENTIFIERS, RSA_ENCRYPTION_IDENTIFIER, Digest
from scep.cms import CONTENT_TYPE, DATA, MESSAGE_DIGEST, SIGNED_DATA

_VERSION_1: Final = tlv.integer(1)
_DATA: Final = tlv.object_identifier(DATA)
_SIGNED_DATA: Final = tlv.object_identifier(SIGNED_DATA)
_MESSAGE_DIGEST: Final = tlv.object_identifier(MESSAGE_DIGEST)


def attribute(oid: str, value: bytes) -> bytes:
    """Return an encoded Attribute with one encoded ``value``."""
    return tlv.sequence(tlv.object_identifier(oid), tlv.tlv(tlv.SET, value))


_CONTENT_TYPE_ATTRIBUTE: Final = attribute(CONTENT_TYPE, _DATA)


@dataclass(frozen=True, slots=True)
class Signer:
    """A key with its certificate, and the pieces of a SignerInfo that never change.

    The key may be any implementation of ``cryptography``'s private-key interface; only ``sign`` is called, and ``decrypt`` by
    ``scep.envelope``.
    """

    certificate: x509.Certificate
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    certificate_der: bytes
    issuer_and_serial: bytes
    # The DER of the certificates that go along with the signer's own: those above it that a reader may not have.
    chain: tuple[bytes, ...] = ()

    @classmethod
    def of(
        cls,
        certificate: x509.Certificate,
        private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        chain: tuple[bytes, ...] = (),
    ) -> "Signer":
        """Make a signer of ``certificate``, its ``private_key`` and the ``chain`` to send along."""
        return cls(
            certificate=certificate,
            private_key=private_key,
            certificate_der=certificate.public_bytes(serialization.Encoding.DER),
            issuer_and_serial=tlv.sequence(certificate.issuer.public_bytes(), tlv.integer(certificate.serial_number)),
            chain=chain,
        )


def sign(signer: Signer, content: bytes, attributes: Iterable[bytes], digest: Digest) -> bytes:
    """Return a ContentInfo with a SignedData over ``content``, the signer's certificate and its chain in it.

    ``attributes`` are encoded and come beside contentType and messageDigest. An empty ``content`` gives a zero-length eContent,
    not an absent one: certmonger refuses FAILURE and PENDING without ("PKCS7 routines::no content").
    """
    hashing = hashes.Hash(digest.hash)
    hashing.update(content)
    message_digest = tlv.sequence(_MESSAGE_DIGEST, tlv.tlv(tlv.SET, tlv.octet_string(hashing.finalize())))
    signed_attributes = tlv.set_of(_CONTENT_TYPE_ATTRIBUTE, message_digest, *attributes)
    key = signer.private_key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm = ECDSA_IDENTIFIERS[digest]
        signature = key.sign(signed_attributes, ec.ECDSA(digest.hash))
    else:
        algorithm = RSA_ENCRYPTION_IDENTIFIER
        signature = key.sign(signed_attributes, padding.PKCS1v15(), digest.hash)
    digest_identifier = DIGEST_IDENTIFIERS[digest]
    signer_info = tlv.sequence(
        _VERSION_1,
        signer.issuer_and_serial,
        digest_identifier,
        # The attributes are signed as a SET and stand here under IMPLICIT [0].
        b"\xa0" + signed_attributes[1:],
        algorithm,
        tlv.octet_string(signature),
    )
    return _signed_data(
        tlv.tlv(tlv.SET, digest_identifier),
        tlv.sequence(_DATA, tlv.explicit(0, tlv.octet_string(content))),
        b"".join((signer.certificate_der, *signer.chain)),
        tlv.tlv(tlv.SET, signer_info),
    )


def certificates_only(certificates: Iterable[bytes]) -> bytes:
    """Return a degenerate SignedData with the DER ``certificates`` in the order given.

    DER would sort them. Some clients take the first for the recipient, whatever it is; no reader was seen to insist on sorting.
    """
    return _signed_data(tlv.tlv(tlv.SET, b""), tlv.sequence(_DATA), b"".join(certificates), tlv.tlv(tlv.SET, b""))


def crl_only(crl: bytes) -> bytes:
    """Return a degenerate SignedData with a DER ``crl`` and nothing else (RFC 8894 section 3.4)."""
    empty = tlv.tlv(tlv.SET, b"")
    body = tlv.sequence(_VERSION_1, empty, tlv.sequence(_DATA), tlv.explicit(1, crl), empty)
    return tlv.sequence(_SIGNED_DATA, tlv.explicit(0, body))


def _signed_data(digests: bytes, content_info: bytes, certificates: bytes, signer_infos: bytes) -> bytes:
    body = tlv.sequence(_VERSION_1, digests, content_info, tlv.explicit(0, certificates), signer_infos)
    return tlv.sequence(_SIGNED_DATA, tlv.explicit(0, body))
