"""A SCEP endpoint as configured: which authority answers there, for which profiles, and how lenient it is."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ca.authorisation import CaName, ProfileName
from foundation.errors import NotFound
from scep.limits import EndpointLimits


class UnknownEndpoint(NotFound):
    """No SCEP endpoint has this name."""


class ChallengeKind(StrEnum):
    """The challenge policies: who decides what a request that is no mere renewal entitles to (``scep.policies``)."""

    ONE_TIME = "one-time"
    STATIC = "static"
    WEBHOOK = "webhook"
    INTUNE = "intune"
    NDES = "ndes"
    APPROVAL = "approval"

    @property
    def is_minted(self) -> bool:
        """Whether challenges are minted here, each for one certificate of somebody on record."""
        return self in (ChallengeKind.ONE_TIME, ChallengeKind.NDES)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One SCEP endpoint.

    Attributes:
        name: the last part of its URL, ``/scep/{name}``.
        issuing_ca: the authority that issues here, or whose lineage does (``ca.lineage``).
        profiles: what may be issued here.
        renew_after: the part of a certificate's validity, 0 to 1, after which it may be renewed; 0 means at any time.
        legacy: whether SHA-1 and 3DES are accepted, for clients that know nothing better.
        museum: whether single DES is accepted too, which anybody can break.
        reply_chain: whether a CertRep carries the issuer beside the certificate (some clients need it, iOS breaks on it).
        subject_from_request: subject attributes that are taken from the request: nothing, or ``OU``.
        challenge: the challenge policy.
        limits: how much it puts up with.
    """

    name: str
    issuing_ca: CaName
    profiles: frozenset[ProfileName]
    renew_after: float = 0.66
    legacy: bool = False
    museum: bool = False
    reply_chain: bool = False
    subject_from_request: frozenset[str] = frozenset()
    challenge: ChallengeKind = ChallengeKind.ONE_TIME
    limits: EndpointLimits = field(default_factory=EndpointLimits)

    def renewable_from(self, not_before: datetime, not_after: datetime) -> datetime:
        """Return when a certificate of this validity may first be renewed here."""
        return not_before + (not_after - not_before) * self.renew_after
