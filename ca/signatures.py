"""Who signed a certificate, told of signatures made with broken hashes, too: they are judged here, not overlooked.

``cryptography`` does not look at them when it is asked who issued a certificate. A root may well be signed so: a trust anchor's
signature of itself vouches for nothing (RFC 5280 section 6.1.1 takes its name and key), and OpenSSL does not mind either.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Say whether a certificate's own key signed it."""
    return is_issued_by(certificate, certificate)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Say whether ``issuer`` has the name in ``certificate`` and the key that signed it."""
    try:
        if broken_hash(certificate) is None:
            certificate.verify_directly_issued_by(issuer)
        elif certificate.issuer != issuer.subject:
            return False
        else:
            _verify(certificate, issuer.public_key())
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def broken_hash(certificate: x509.Certificate) -> str | None:
    """Return the hash that a certificate is signed with as a message calls it, where verifiers refuse it; None of others."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    names = {hashes.MD5: "MD5", hashes.SHA1: "SHA-1"}
    return next((name for kind, name in names.items() if isinstance(algorithm, kind)), None)


def _verify(certificate: x509.Certificate, key: object) -> None:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        raise TypeError("a signature without a hash")
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    else:
        raise TypeError("a key of another kind")
