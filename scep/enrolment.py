"""Enrolment: who may have which certificate, and its record (RFC 8894 sections 2.3, 3.3.1 and 3.3.1.2).

The order is the house's (design.md section 2): find the stored answer of an identical retry, else authorise; build the
certificate outside any transaction; then store certificate, redeemed challenge, audit event and everything owed in one. What that
transaction is to store is a ``Proposal``: nothing of it may be told to anybody before the commit, and nobody waits here for it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from audit import log
from audit.log import Actor, Event
from ca import issuance
from ca.csr import CertificateRequest
from ca.errors import WeakKey
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import PublicKey
from ca.profiles import profile_named
from ca.subject import Organisation
from foundation.clock import Clock
from foundation.errors import SignetryError, Unavailable
from foundation.transactions import Transactions
from people.activity import require_active
from scep import pending, quota, register
from scep.deciding import asks_policy, decide
from scep.endpoint import Endpoint
from scep.errors import AnswerExpired, ChallengeRefused, RenewalRefused, UnknownRequest
from scep.pending import Poll
from scep.policies.one_time import OneTime
from scep.policy import ChallengePolicy, Deferral, Grant, LocalPolicy, RemotePolicy
from scep.register import FormerIssuer, GrantedCertificate
from scep.request import EnrolmentRequest, PresentedRequest

# A phone asks again within hours; what it has not got by then, it will not get (facts/mail_profiles.md section 4).
WITHHELD_AT_MOST: Final = timedelta(hours=24)
_ONE_TIME: Final = OneTime()


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a request gets as soon as ``store`` has been committed: a certificate, or word that it is pending (None), or refused.

    ``store`` of a ``refusal`` puts it on record.
    """

    presented: PresentedRequest
    granted: GrantedCertificate | None
    store: Callable[[Session], None]
    refusal: SignetryError | None = None


class Enroller:
    """The enrolment use case at every endpoint.

    Args:
        transactions: the store.
        clock: the time.
        policies: the challenge policy of each endpoint by its name; ``one-time`` where there is none.
        organisation: named in sponsor-validated subjects, where configured.
        listeners: called for every certificate that is released, in the transaction that releases it.
    """

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        *,
        policies: Mapping[str, ChallengePolicy] | None = None,
        organisation: Organisation | None = None,
        listeners: Sequence[IssuanceListener] = (),
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._policies = dict(policies or {})
        self._organisation = organisation
        self._listeners = tuple(listeners)

    def is_remote(self, endpoint: Endpoint) -> bool:
        """Say whether somebody is asked over a network about the requests of an endpoint."""
        return isinstance(self._policy(endpoint), RemotePolicy)

    def propose(
        self,
        endpoint: Endpoint,
        authority: IssuingAuthority,
        request: EnrolmentRequest,
        actor: Actor,
        former: Sequence[FormerIssuer] = (),
    ) -> GrantedCertificate | Proposal:
        """Return the certificate that an identical request was granted before, else what is to be stored for this one.

        What was granted before is given again as long as it is neither revoked nor expired; once it has expired, what lets such
        a request in still lets it in anew: the secret of a ``static`` endpoint does, a spent challenge does not. Certificates of
        ``former`` authorities may be renewed as those of ``authority`` are, which issues.

        Raises:
            ChallengeRefused, RenewalRefused, UnknownSigner, Inactive: the requester may not have a certificate now.
            NamesNotAuthorised, NamesMissing, WeakKey: it may, but not with these names or this key; a challenge stays usable.
            Unavailable: the store is, or whoever else is needed; the same request may be granted later.
        """
        policy, now = self._policy(endpoint), self._clock.now()
        decided: Grant | Deferral | SignetryError | None = None
        with self._transactions.reading() as session:
            held = register.held(session, (authority, *former), request.signer)
            presented = PresentedRequest(endpoint, request, held, actor.origin)
            try:
                stored = register.kept(session, presented.retry_key, now=now)
            except AnswerExpired:
                stored, presented = None, replace(presented, outlived=True)
            if stored is None and isinstance(policy, LocalPolicy):
                decided = decide(session, policy, presented, policy.authorise, now=now)
                stored = self._obtained(session, policy, presented, decided)
        if stored is not None:
            return self._released(policy, presented, stored)
        if decided is None:
            decided = self._decided_elsewhere(policy, presented)
        if isinstance(decided, SignetryError):
            return self._refused(policy, presented, decided, actor)
        if isinstance(decided, Deferral):
            return Proposal(presented, None, partial(decided.record, actor=actor))
        try:
            return self._proposal(authority, policy, presented, decided, actor)
        except Unavailable:
            # The key is out of reach. Whoever decides elsewhere would have to be asked anew: that client sends its request again,
            # every other one polls.
            if isinstance(policy, RemotePolicy):
                raise
            defer = partial(pending.defer, presented=presented, needs_approval=False, actor=actor, now=now)
            return Proposal(presented, None, defer)
        except SignetryError as error:
            return self._refused(policy, presented, error, actor)

    def poll(
        self,
        endpoint: Endpoint,
        authority: IssuingAuthority,
        poll: Poll,
        actor: Actor,
        former: Sequence[FormerIssuer] = (),
    ) -> GrantedCertificate | Proposal:
        """Take up the request that a CertPoll asks after, as if it had been sent again.

        Raises:
            UnknownRequest: there is none.
            RequestRejected, and what ``propose`` raises.
        """
        with self._transactions.reading() as session:
            request = pending.taken_up(session, endpoint.name, poll, now=self._clock.now())
        return self.propose(endpoint, authority, request, actor, former)

    def enrol(
        self, endpoint: Endpoint, authority: IssuingAuthority, request: EnrolmentRequest, actor: Actor
    ) -> GrantedCertificate | None:
        """Return the certificate that ``request`` gets, recorded, durable and released; None while it is pending.

        Raises as ``propose`` does.
        """
        proposed = self.propose(endpoint, authority, request, actor)
        return self.settle(proposed, actor) if isinstance(proposed, Proposal) else proposed

    def settle(self, proposal: Proposal, actor: Actor) -> GrantedCertificate | None:
        """Store a proposal and return what it grants, released; waits for the commit, and for whoever is to be told."""
        try:
            self._transactions.write(proposal.store)
        except (SignetryError, IntegrityError) as error:
            return self.settle_failed(proposal, error, actor)
        if proposal.refusal is not None:
            raise proposal.refusal
        if proposal.granted is None:
            return None
        return self._released(self._policy(proposal.presented.endpoint), proposal.presented, proposal.granted)

    def settle_failed(self, proposal: Proposal, error: Exception, actor: Actor) -> GrantedCertificate | None:
        """Return what a request gets all the same whose proposal could not be stored.

        The same request, sent twice at once: the other one was stored first, and its certificate, or PENDING, answers both.

        Raises:
            ``error`` itself, where there is nothing.
        """
        if proposal.refusal is not None:
            raise error
        presented = proposal.presented
        policy = self._policy(presented.endpoint)
        with self._transactions.reading() as session:
            stored = None
            with suppress(AnswerExpired):
                stored = register.kept(session, presented.retry_key, now=self._clock.now())
            stored = stored or self._obtained(session, policy, presented, error)
            waits = proposal.granted is None and pending.find_by_retry_key(session, presented.retry_key) is not None
        if stored is not None:
            return self._released(policy, presented, stored)
        if waits and isinstance(error, IntegrityError):
            return None
        if isinstance(error, SignetryError):
            return self.settle(self._refused(policy, presented, error, actor), actor)
        raise error

    def _obtained(
        self, session: Session, policy: ChallengePolicy, presented: PresentedRequest, refusal: object
    ) -> GrantedCertificate | None:
        """Return the certificate that the challenge was spent on, where that is for the very key now presented again.

        A client may have lost the answer and try again in another transaction. Or somebody copied its envelope and was quicker,
        under a transactionID of his own: that must not cost the owner of the key its certificate.
        """
        if not isinstance(refusal, ChallengeRefused) or presented.held is not None:
            return None
        certificate_id = policy.redeemed_for(session, presented, now=self._clock.now())
        if certificate_id is None:
            return None
        return register.obtained(session, certificate_id, presented.request.csr.public_key, now=self._clock.now())

    # --- deciding ---

    def _policy(self, endpoint: Endpoint) -> ChallengePolicy:
        return self._policies.get(endpoint.name, _ONE_TIME)

    def _decided_elsewhere(self, policy: ChallengePolicy, presented: PresentedRequest) -> Grant | Deferral | SignetryError:
        """Return as ``decide`` does, after asking whoever decides, with no transaction open."""
        authorise = None
        if isinstance(policy, RemotePolicy) and asks_policy(policy, presented):
            if not presented.request.csr.der:
                # Taken up for a poll, from when the endpoint had another policy: there is nothing to be asked about.
                raise UnknownRequest
            authorise = policy.consult(presented)
        with self._transactions.reading() as session:
            return decide(session, policy, presented, authorise, now=self._clock.now())

    # --- issuing ---

    def _proposal(
        self,
        authority: IssuingAuthority,
        policy: ChallengePolicy,
        presented: PresentedRequest,
        grant: Grant,
        actor: Actor,
    ) -> Proposal:
        now = self._clock.now()
        authorisation = grant.authorisation
        built = issuance.build(
            authority,
            profile_named(authorisation.profile),
            authorisation.names,
            _certifiable(presented.request.csr),
            now=now,
            organisation=self._organisation,
            organisational_units=authorisation.organisational_units,
        )
        # A renewal by certificate alone was decided here: there is nobody elsewhere to tell.
        withheld = isinstance(policy, RemotePolicy) and policy.withholds and not grant.by_certificate

        def store(session: Session) -> None:
            # Counted again: others may have been granted one since.
            quota.require_left(session, presented.endpoint, authorisation, now=now, hold=True)
            require_active(session, person=authorisation.person, device=authorisation.device)
            if grant.by_certificate and presented.held is not None:
                register.require_unrevoked(session, presented.held)
            certificate_id = issuance.record(
                session,
                built,
                authority=authority,
                authorisation=authorisation,
                actor=actor,
                now=now,
                listeners=() if withheld else self._listeners,
            )
            if grant.redeem is not None:
                grant.redeem(session, certificate_id, now)
            answer = register.Answer(
                presented.retry_key,
                presented.endpoint.name,
                presented.request.transaction_id,
                certificate_id,
                withheld_until=now + WITHHELD_AT_MOST if withheld else None,
            )
            if presented.outlived:
                register.retire(session, presented.retry_key, now=now)
            register.keep(session, answer, now=now)

        granted = GrantedCertificate(built.der, authorisation.profile, again=False, withheld=withheld)
        return Proposal(presented, granted, store)

    def _released(self, policy: ChallengePolicy, presented: PresentedRequest, granted: GrantedCertificate) -> GrantedCertificate:
        """Return a certificate that may go out; where it is withheld, tell whoever is to be told first."""
        if not granted.withheld:
            return granted
        if not (isinstance(policy, RemotePolicy) and policy.withholds):
            raise RenewalRefused("the certificate issued to this request was never released, and this endpoint has changed since")
        policy.confirm(presented, granted)

        def release(session: Session) -> None:
            certificate_id = register.release(session, presented.retry_key)
            # It may have been revoked while they were told: this raises then.
            register.kept(session, presented.retry_key, now=self._clock.now())
            if certificate_id is not None:
                issuance.announce(session, certificate_id, self._listeners)

        self._transactions.write(release)
        return replace(granted, withheld=False)

    # --- refusing ---

    def _refused(self, policy: ChallengePolicy, presented: PresentedRequest, refusal: SignetryError, actor: Actor) -> Proposal:
        """Report a refusal, and propose to put it on record where the requester is known to us.

        Strangers get no further than the log, or anybody could fill the table.

        Raises:
            ``refusal`` itself, where nothing is to be recorded.
        """
        if isinstance(policy, RemotePolicy) and asks_policy(policy, presented):
            policy.report_failure(presented, refusal)
        if isinstance(refusal, Unavailable):
            raise refusal
        now = self._clock.now()
        with self._transactions.reading() as session:
            subject = f"certificate:{presented.held.serial}" if presented.held else None
            # Whose a request is, only what the policy has looked at can say.
            if subject is None and asks_policy(policy, presented):
                subject = policy.subject_of(session, presented, now=now)
        if subject is None:
            raise refusal
        event = Event(actor, "enrolment.refused", subject, outcome="refused", details={"reason": str(refusal)})
        return Proposal(presented, None, partial(log.record, event=event, now=now), refusal)


def _certifiable(csr: CertificateRequest) -> PublicKey:
    if isinstance(csr.public_key, PublicKey):
        return csr.public_key
    raise WeakKey("the public key is of a kind that no profile allows")
