"""What a challenge policy is: whoever decides, at an endpoint, what a request that is no mere renewal entitles to.

A policy never issues. It returns a ``Grant`` with the Authorisation, the only source of the names in a certificate, or a
``Deferral`` (the client is told PENDING), or it raises. There is one module for each in ``scep/policies/``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import Authorisation, SubjectNames
from foundation.errors import SignetryError
from scep.register import GrantedCertificate
from scep.renewal import HeldCertificate
from scep.request import PresentedRequest
from scep.subject import todays_names

Redemption = Callable[[Session, int, datetime], None]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may have.

    Attributes:
        authorisation: who may be certified, as what, under which names.
        redeem: spends what let the request in, in the transaction that stores the certificate (its id and the time are handed
            in); it raises where somebody else was first, and that transaction is then undone.
        by_certificate: whether a certificate of ours alone let the request in, so that it must still be good at the commit.
    """

    authorisation: Authorisation
    redeem: Redemption | None = None
    by_certificate: bool = False


class Keep(Protocol):
    """Keeps a request until it is decided."""

    def __call__(self, session: Session, *, actor: Actor) -> None:
        """Keep it, in a transaction of its own; ``actor`` says from where it came."""
        ...


@dataclass(frozen=True, slots=True)
class Deferral:
    """The request waits for a decision; ``record`` keeps it until then."""

    record: Keep


class Authorise(Protocol):
    """Decides by what is on record here."""

    def __call__(self, session: Session, presented: PresentedRequest, *, now: datetime) -> Grant | Deferral:
        """Decide in a reading session; nothing may be spent here.

        The names requested are held against the Authorisation afterwards, by the caller.

        Raises:
            SignetryError: the request is refused, ``ChallengeRefused`` where the challenge is the reason.
        """
        ...


class _Policy:
    """What all policies have in common: what they say of a holder who renews."""

    reads_challenges: ClassVar[bool] = True
    """Whether a challengePassword means anything; where it does not, one that is present does not spoil a renewal."""

    def is_spent_by(self, session: Session, presented: PresentedRequest, held: HeldCertificate, *, now: datetime) -> bool:
        """Say whether a challenge that no longer lets anybody in is the one that ``held``'s holder came with at first.

        certmonger repeats it in every renewal (facts/scep.md section 6).
        """
        del session, presented, held, now
        return False

    def redeemed_for(self, session: Session, presented: PresentedRequest, *, now: datetime) -> int | None:
        """Return the certificate (its number) that the challenge presented was spent on, if it was; None where none ever is."""
        del session, presented, now
        return None

    def subject_of(self, session: Session, presented: PresentedRequest, *, now: datetime) -> str | None:
        """Return whose a refused request is, for the audit record (``challenge:17``); None for a stranger's."""
        del session, presented, now
        return None

    def vouched_names(self, session: Session, held: HeldCertificate) -> SubjectNames:
        """Return the names that the holder of ``held`` may be certified under today.

        Raises:
            Inactive: the person or the device has been deactivated.
            RenewalRefused: nobody stands behind the certificate.
        """
        return todays_names(session, held.person, held.device)

    def close(self) -> None:
        """Let go of whatever is kept open; nobody asks any more."""


class LocalPolicy(_Policy, ABC):
    """One that decides by what is on record here."""

    @abstractmethod
    def authorise(self, session: Session, presented: PresentedRequest, *, now: datetime) -> Grant | Deferral:
        """Decide; see ``Authorise``."""


class RemotePolicy(_Policy, ABC):
    """One that asks somebody elsewhere, for seconds perhaps; never with a transaction open."""

    withholds: ClassVar[bool] = False
    """Whether a certificate is committed withheld, and released to its requester only once ``confirm`` has returned."""

    @abstractmethod
    def consult(self, presented: PresentedRequest) -> Authorise:
        """Ask, and return how to decide by the answer.

        Raises:
            ChallengeRefused: the request is refused.
            Unavailable: there is no answer now; the same request may be granted later.
        """

    @abstractmethod
    def confirm(self, presented: PresentedRequest, granted: GrantedCertificate) -> None:
        """Tell them what was issued; may be called again for the same certificate. Called only where ``withholds`` is set.

        Raises:
            SignetryError: the certificate stays withheld.
        """

    @abstractmethod
    def report_failure(self, presented: PresentedRequest, error: SignetryError) -> None:
        """Tell them that a request they allowed came to nothing here. Raises nothing."""


ChallengePolicy = LocalPolicy | RemotePolicy
