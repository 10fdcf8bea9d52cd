"""An enrolment request as it is judged: verified, and with nothing decided yet (RFC 8894 section 3.3.1)."""

from dataclasses import dataclass, field

from ca.csr import CertificateRequest
from scep.certificate import CarriedCertificate
from scep.challenge import digest
from scep.endpoint import Endpoint
from scep.register import retry_key
from scep.renewal import HeldCertificate


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A PKCSReq or RenewalReq whose signature, envelope and proof of possession have been verified.

    Attributes:
        transaction_id: as the client chose it; not unique (facts/scep.md).
        csr: the certificate request; without its bytes where the request was taken up again from the record (``scep.pending``).
        csr_digest: the SHA-256 of those bytes, in hex.
        challenge: the challengePassword, wherever the client put it; empty when there is none, or none at hand.
        challenge_digest: its digest, empty when there was none.
        signer: the certificate the message was signed with: anybody's, until it is found among ours.
        must_renew: whether this is a RenewalReq, which only the holder of a certificate of ours may send.
    """

    transaction_id: str
    csr: CertificateRequest
    csr_digest: str
    challenge: str = field(repr=False)
    challenge_digest: str = field(repr=False)
    signer: CarriedCertificate
    must_renew: bool

    @classmethod
    def received(
        cls, transaction_id: str, csr: CertificateRequest, challenge: str, signer: CarriedCertificate, *, must_renew: bool
    ) -> "EnrolmentRequest":
        """Return the request that a message holds."""
        return cls(
            transaction_id=transaction_id,
            csr=csr,
            csr_digest=csr.digest,
            challenge=challenge,
            challenge_digest=digest(challenge) if challenge else "",
            signer=signer,
            must_renew=must_renew,
        )


@dataclass(frozen=True, slots=True)
class PresentedRequest:
    """A request at its endpoint, the certificate of ours that it is signed with, if it is, and the address it came from.

    ``outlived`` where an identical request got a certificate that has expired since.
    """

    endpoint: Endpoint
    request: EnrolmentRequest
    held: HeldCertificate | None
    origin: str = ""
    outlived: bool = False

    @property
    def retry_key(self) -> str:
        """What this request and an identical one have in common."""
        return retry_key(
            self.endpoint.name,
            self.request.transaction_id,
            self.request.csr_digest,
            self.request.challenge_digest,
            self.held,
        )
