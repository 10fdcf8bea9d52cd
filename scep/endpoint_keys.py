"""What answers at an endpoint, and what it says of itself: GetCACaps, GetCACert, GetNextCACert (RFC 8894 sections 3.5 and 4)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from ca.authorisation import CaName
from ca.issuance import IssuingAuthority
from foundation.errors import SignetryError
from scep.endpoint import Endpoint
from scep.errors import NoNextCa
from scep.register import FormerIssuer
from scep.signing import Signer, certificates_only

_CA_RA_CERTIFICATES: Final = "application/x-x509-ca-ra-cert"
_NEXT_CA_CERTIFICATES: Final = "application/x-x509-next-ca-cert"
# SHA-384 stands in no registry; strongSwan 5.9.8 has a broken bitmask and refuses its own default AES without it.
# POSTPKIOperation and SCEPStandard spare clients the GET; Renewal is what macOS and certmonger look for before they renew
# (facts/scep.md section 3).
_CAPABILITIES: Final = ("AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256", "SHA-384", "SHA-512")
_LEGACY_CAPABILITIES: Final = ("DES3", "SHA-1")
# Only while there is one to get (RFC 8894 section 4.7.1).
_ROLLOVER_CAPABILITIES: Final = ("GetNextCACert",)


@dataclass(frozen=True, slots=True)
class EndpointKeys:
    """What answers at an endpoint.

    Attributes:
        authority: the CA that issues.
        ra: the RA's keys, the current one first, those under former CAs last.
        former: the CAs before, whose certificates may be renewed.
        next_ca: the answer to GetNextCACert while a successor is prepared.
        named_before: what GetCACert goes on naming until every process of the service knows of these keys; None once they do.
    """

    authority: IssuingAuthority
    ra: tuple[Signer, ...]
    former: tuple[FormerIssuer, ...] = ()
    next_ca: bytes | None = field(default=None, repr=False)
    named_before: "EndpointKeys | None" = field(default=None, repr=False)

    def ca_certificates(self) -> tuple[str, bytes]:
        """Return content type and body of GetCACert: RA, issuing CA and what is above it, in that order.

        The order is kept as it stands though DER would sort it: some clients take the first certificate for the RA's, and
        strongSwan needs the root (facts/scep.md section 3).
        """
        return _CA_RA_CERTIFICATES, certificates_only((self.named_before or self).bag)

    @property
    def bag(self) -> tuple[bytes, ...]:
        """The certificates that GetCACert names, or is about to."""
        return (self.ra[0].certificate_der, self.authority.certificate_der, *self.authority.chain)

    def next_ca_certificates(self) -> tuple[str, bytes]:
        """Return content type and body of GetNextCACert: what GetCACert will say, signed by today's issuing CA.

        Raises:
            NoNextCa: no successor of the issuing CA is prepared.
        """
        if self.next_ca is None:
            raise NoNextCa("no other CA is going to follow as yet")
        return _NEXT_CA_CERTIFICATES, self.next_ca

    def issuer_of(self, certificate: bytes) -> bytes:
        """Return the certificate of whoever issued a certificate granted here: what is given again may be a former CA's."""
        issuer = x509.load_der_x509_certificate(certificate).issuer.public_bytes()
        return next((each.certificate_der for each in self.former if each.subject_der == issuer), self.authority.certificate_der)


def capabilities(endpoint: Endpoint, keys: Callable[[CaName], EndpointKeys]) -> str:
    """Return the GetCACaps keywords of an endpoint, one a line."""
    legacy = _LEGACY_CAPABILITIES if endpoint.legacy or endpoint.museum else ()
    rollover: tuple[str, ...] = ()
    # What an endpoint can do otherwise, it says without its keys, too.
    with suppress(SignetryError):
        rollover = _ROLLOVER_CAPABILITIES if keys(endpoint.issuing_ca).next_ca is not None else ()
    return "\n".join((*_CAPABILITIES, *rollover, *legacy)) + "\n"
