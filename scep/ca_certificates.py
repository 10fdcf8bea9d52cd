"""The certificates of GetCACert, as a client reads them: which is the RA's and which the issuing CA's (RFC 8894 section 4.2)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from foundation.errors import SignetryError
from scep.cms import read_certificates, read_signed_data
from scep.errors import ServerMisbehaved

_SEPARATORS: Final = re.compile(r"[\s:]")


@dataclass(frozen=True, slots=True)
class CaBag:
    """What GetCACert gave: the RA's certificate, the issuing CA's, and all of them in the server's order."""

    ra: x509.Certificate
    issuer: x509.Certificate
    certificates: tuple[x509.Certificate, ...]

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the issuing CA's certificate, in hex, as MDM profiles pin it."""
        return self.issuer.fingerprint(hashes.SHA256()).hex()


def plain_fingerprint(fingerprint: str) -> str:
    """Return a fingerprint in hex without the colons, spaces and capitals that people write it with."""
    return _SEPARATORS.sub("", fingerprint).lower()


def read_bag(body: bytes) -> CaBag:
    """Read what GetCACert answered; the certificates are told apart by what they say, not by their order.

    Raises:
        ServerMisbehaved: there are no RA and CA certificates that belong together.
    """
    return _told_apart(_certificates(body))


def read_next_bag(body: bytes, bag: CaBag) -> tuple[x509.Certificate, ...]:
    """Read what GetNextCACert answered: the certificates that are to follow those of ``bag`` (RFC 8894 section 4.7.1).

    The signature is the whole point of it: who trusts today's CA may then trust the next. The certificates are in a SignedData
    inside the signed one; older servers put them beside the signer's.

    Raises:
        ServerMisbehaved: it is not signed with a certificate of ``bag``, or holds no CA's certificate.
    """
    try:
        signed = read_signed_data(body)
        signer = signed.signer()
        signed.verify(signer.public_key)
    except SignetryError as error:
        raise ServerMisbehaved(f"GetNextCACert did not answer with a signed bag: {error}") from error
    if signer.x509 not in bag.certificates:
        raise ServerMisbehaved("the answer to GetNextCACert is signed with a certificate that GetCACert did not name")
    if signed.content:
        found = _certificates(signed.content)
    else:
        beside = (der for der in signed.certificates if der != signer.der)
        found = tuple(_loaded(beside))
    if not any(_is_authority(certificate) for certificate in found):
        raise ServerMisbehaved("GetNextCACert named no CA")
    return found


def require_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Return if ``issuer`` signed ``certificate``.

    Raises:
        ServerMisbehaved: it did not.
    """
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise ServerMisbehaved("the reply's certificate is not issued by the CA of GetCACert") from error


def _certificates(body: bytes) -> tuple[x509.Certificate, ...]:
    """Read what GetCACert answers: one certificate as it is, several as a certs-only SignedData (RFC 8894 section 4.2.1)."""
    try:
        return (x509.load_der_x509_certificate(body),)
    except ValueError:
        pass
    try:
        return tuple(_loaded(read_certificates(body)))
    except SignetryError as error:
        raise ServerMisbehaved("GetCACert did not answer with certificates") from error


def _loaded(encoded: Iterable[bytes]) -> list[x509.Certificate]:
    try:
        return [x509.load_der_x509_certificate(der) for der in encoded]
    except ValueError as error:
        raise ServerMisbehaved("GetCACert did not answer with certificates") from error


def _told_apart(certificates: tuple[x509.Certificate, ...]) -> CaBag:
    if len(certificates) == 1 and isinstance(certificates[0].public_key(), rsa.RSAPublicKey):
        # A CA that is its own RA.
        return CaBag(certificates[0], certificates[0], certificates)
    for ra in certificates:
        issuer = _issuer_of(ra, certificates)
        if not _is_authority(ra) and issuer is not None and _is_enveloped_to(ra):
            return CaBag(ra, issuer, certificates)
    raise ServerMisbehaved("GetCACert named no RA certificate with the CA that issued it")


def _issuer_of(certificate: x509.Certificate, among: tuple[x509.Certificate, ...]) -> x509.Certificate | None:
    for candidate in among:
        if candidate.subject == certificate.issuer and candidate != certificate:
            try:
                certificate.verify_directly_issued_by(candidate)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return candidate
    return None


def _is_enveloped_to(ra: x509.Certificate) -> bool:
    """Say whether requests can be enveloped to ``ra``: NDES has a second RA certificate, which only signs."""
    if not isinstance(ra.public_key(), rsa.RSAPublicKey):
        return False
    try:
        return ra.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    except x509.ExtensionNotFound:
        return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
