"""``one-time``: a challenge minted beforehand for a person or a device of ours, spent on one certificate (``scep.challenge``)."""

from datetime import datetime
from functools import partial

from sqlmodel import Session

from ca.authorisation import Authorisation
from scep import challenge
from scep.challenge import KnownChallenge
from scep.errors import ChallengeRefused
from scep.policy import Grant, LocalPolicy
from scep.renewal import HeldCertificate
from scep.request import PresentedRequest
from scep.subject import todays_names, units_of


class OneTime(LocalPolicy):
    """Names come from today's record of the person and the device that the challenge was minted for."""

    def authorise(self, session: Session, presented: PresentedRequest, *, now: datetime) -> Grant:
        """Return what a live challenge is good for; see ``LocalPolicy.authorise``."""
        endpoint = presented.endpoint
        known = _known(session, presented, now=now)
        if known is None or not known.live or known.profile not in endpoint.profiles:
            raise ChallengeRefused
        authorisation = Authorisation(
            profile=known.profile,
            names=todays_names(session, known.person, known.device),
            granted_by=f"one-time challenge {known.id}",
            person=known.person,
            device=known.device,
            organisational_units=units_of(presented.request.csr.requested, endpoint),
        )
        return Grant(authorisation, redeem=partial(_redeem, known.id))

    def is_spent_by(self, session: Session, presented: PresentedRequest, held: HeldCertificate, *, now: datetime) -> bool:
        """Say whether the challenge was redeemed for the same person, device and profile as ``held``."""
        known = _known(session, presented, now=now)
        return (
            known is not None
            and known.redeemed_for is not None
            and (known.person, known.device, known.profile) == (held.person, held.device, held.profile)
        )

    def redeemed_for(self, session: Session, presented: PresentedRequest, *, now: datetime) -> int | None:
        """Return the certificate that the challenge was spent on."""
        known = _known(session, presented, now=now)
        return None if known is None else known.redeemed_for

    def subject_of(self, session: Session, presented: PresentedRequest, *, now: datetime) -> str | None:
        """Return the challenge of ours that was presented, live or not."""
        known = _known(session, presented, now=now)
        return None if known is None else f"challenge:{known.id}"


def _known(session: Session, presented: PresentedRequest, *, now: datetime) -> KnownChallenge | None:
    return challenge.find(session, presented.request.challenge_digest, endpoint=presented.endpoint.name, now=now)


def _redeem(challenge_id: int, session: Session, certificate_id: int, now: datetime) -> None:
    challenge.redeem(session, challenge_id, certificate_id=certificate_id, now=now)
