"""Who decides about a request, and what: the endpoint's challenge policy, or a certificate of ours whose holder renews it.

Nothing is written here, and nothing is spent.
"""

from dataclasses import replace
from datetime import datetime

from sqlmodel import Session

from ca.names import check_request
from foundation.errors import SignetryError
from scep import quota, renewal
from scep.errors import ChallengeRefused, UnknownSigner
from scep.policy import Authorise, ChallengePolicy, Deferral, Grant
from scep.renewal import HeldCertificate
from scep.request import PresentedRequest


def asks_policy(policy: ChallengePolicy, presented: PresentedRequest) -> bool:
    """Say whether the policy decides: nobody else does for a stranger, nor for a holder who brings a challenge."""
    if policy.reads_challenges and presented.request.challenge_digest:
        return True
    return presented.held is None and not presented.request.must_renew


def decide(
    session: Session, policy: ChallengePolicy, presented: PresentedRequest, authorise: Authorise | None, *, now: datetime
) -> Grant | Deferral | SignetryError:
    """Return what a request entitles to, or why to nothing.

    ``authorise`` is how the policy decides, None where it was not asked. The names requested are held against those granted.
    """
    try:
        decided = _decided(session, policy, presented, authorise, now=now)
        if isinstance(decided, Grant):
            check_request(presented.request.csr.requested, decided.authorisation.names)
            quota.require_left(session, presented.endpoint, decided.authorisation, now=now)
    except SignetryError as refusal:
        return refusal
    return decided


def _decided(
    session: Session, policy: ChallengePolicy, presented: PresentedRequest, authorise: Authorise | None, *, now: datetime
) -> Grant | Deferral:
    """Decide between policy and renewal.

    A challenge that the policy takes decides by itself: macOS and Intune renew with a fresh one. Without any, a certificate of
    ours may speak for its holder; a challenge that is present and not taken is then refused, unless it is the one that this very
    holder came with before.
    """
    held = presented.held
    if authorise is None or not asks_policy(policy, presented):
        if held is None:
            raise UnknownSigner
        return _renewed(session, policy, presented, held, now=now)
    try:
        decided = authorise(session, presented, now=now)
    except ChallengeRefused:
        if held is None or not policy.is_spent_by(session, presented, held, now=now):
            raise
        return _renewed(session, policy, presented, held, now=now)
    if held is not None and isinstance(decided, Grant) and _is_for_holder(decided, held):
        return replace(decided, authorisation=replace(decided.authorisation, renews=held.id))
    return decided


def _renewed(
    session: Session, policy: ChallengePolicy, presented: PresentedRequest, held: HeldCertificate, *, now: datetime
) -> Grant:
    names = policy.vouched_names(session, held)
    return Grant(renewal.authorise(held, names, endpoint=presented.endpoint, now=now), by_certificate=True)


def _is_for_holder(grant: Grant, held: HeldCertificate) -> bool:
    authorised = grant.authorisation
    if authorised.person is None and authorised.device is None:
        # With nobody on record behind them, all devices that share a secret would be one.
        return False
    return (authorised.person, authorised.device, authorised.profile) == (held.person, held.device, held.profile)
