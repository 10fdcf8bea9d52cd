"""The values of userSMIMECertificate: a certificate with its chain as PKCS #7, bare or signed.

Sources: RFC 2798 section 2.8 (a SignedData whose content is ignored, holding the whole chain and the smimeCapabilities of its
owner); RFC 5652 section 5 (SignedData); facts/ldap.md, last section (which clients are known to read which, and which are not).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ldap_publish.directory import SmimeAttribute
from ldap_publish.entry import Value


@dataclass(frozen=True, slots=True)
class Signer:
    """The key with which an authority signs for persons whose own key it does not hold."""

    certificate_der: bytes = field(repr=False)
    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)


def smime_value(attribute: str, chain: Sequence[bytes], signer: Signer | None) -> Value:
    """Return the value for the certificate that ``chain`` begins with, signed where there is a ``signer``."""
    shape = SmimeAttribute.SIGNED if signer else SmimeAttribute.CERTS_ONLY
    parts = [*chain, signer.certificate_der] if signer else chain
    source = hashlib.sha256(shape.encode() + b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return Value(attribute, source, _maker(chain, signer))


def _maker(chain: Sequence[bytes], signer: Signer | None) -> Callable[[], bytes]:
    def make() -> bytes:
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        return certs_only(certificates) if signer is None else signed(certificates, signer)

    return make


def certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return a SignedData without content and signers, which holds ``certificates``."""
    return pkcs7.serialize_certificates(list(certificates), Encoding.DER)


def signed(certificates: Sequence[x509.Certificate], signer: Signer) -> bytes:
    """Return a SignedData without content, signed by ``signer`` over nothing, with the signed attribute smimeCapabilities."""
    own = x509.load_der_x509_certificate(signer.certificate_der)
    builder = pkcs7.PKCS7SignatureBuilder().set_data(b"").add_signer(own, signer.private_key, SHA256())
    for certificate in certificates:
        builder = builder.add_certificate(certificate)
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary])
