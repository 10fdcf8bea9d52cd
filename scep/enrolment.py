"""Enrolment: who may have which certificate, and its record (RFC 8894 sections 2.3, 3.3.1 and 3.3.1.2).

The order is the house's (design.md section 2): find the stored answer of an identical retry, else authorise; build the
certificate outside any transaction; then store certificate, redeemed challenge, audit event and everything owed in one. Only
what that transaction has committed is returned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from audit import log
from audit.log import Actor, Event
from ca import issuance
from ca.authorisation import Authorisation, DeviceId, PersonId, SubjectNames
from ca.csr import CertificateRequest
from ca.errors import WeakKey
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import PublicKey
from ca.names import check_request
from ca.profiles import profile_named
from ca.subject import Organisation
from foundation.clock import Clock
from foundation.errors import SignetryError, Unavailable
from foundation.transactions import Transactions
from people.activity import Inactive, require_active
from people.devices import find_device_for_enrolment
from people.persons import find_person_for_enrolment
from scep import challenge, register, renewal
from scep.certificate import CarriedCertificate
from scep.challenge import KnownChallenge
from scep.endpoint import Endpoint
from scep.errors import ChallengeRefused, UnknownSigner
from scep.register import GrantedCertificate
from scep.renewal import HeldCertificate
from scep.subject import names_of


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A PKCSReq or RenewalReq whose signature, envelope and proof of possession have been verified.

    Attributes:
        transaction_id: as the client chose it; not unique (facts/scep.md).
        csr: the certificate request.
        challenge: the challengePassword, wherever the client put it; empty when there is none.
        signer: the certificate the message was signed with: anybody's, until it is found among ours.
        must_renew: whether this is a RenewalReq, which only the holder of a certificate of ours may send.
    """

    transaction_id: str
    csr: CertificateRequest
    challenge: str = field(repr=False)
    signer: CarriedCertificate
    must_renew: bool


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request shows for itself: the certificate of ours it is signed with, the challenge of ours it presents."""

    held: HeldCertificate | None
    challenge: KnownChallenge | None

    @property
    def is_fresh(self) -> bool:
        """Whether a live challenge is presented."""
        return self.challenge is not None and self.challenge.live


class Enroller:
    """The enrolment use case at every endpoint.

    Args:
        transactions: the store.
        clock: the time.
        organisation: named in sponsor-validated subjects, where configured.
        listeners: called for every certificate, in the transaction that records it.
    """

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        *,
        organisation: Organisation | None = None,
        listeners: Sequence[IssuanceListener] = (),
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._organisation = organisation
        self._listeners = tuple(listeners)

    def enrol(
        self, endpoint: Endpoint, authority: IssuingAuthority, request: EnrolmentRequest, actor: Actor
    ) -> GrantedCertificate:
        """Return the certificate that ``request`` gets; it is recorded and durable.

        An identical retry gets the same certificate again, as long as that is neither revoked nor expired.

        Raises:
            ChallengeRefused, RenewalRefused, UnknownSigner, Inactive: the requester may not have a certificate now.
            NamesNotAuthorised, NamesMissing, WeakKey: it may, but not with these names or this key; a challenge stays usable.
            Unavailable: the store is, or the key; the same request may be granted later.
        """
        with self._transactions.reading() as session:
            claim = _Claim(register.held(session, authority, request.signer), self._presented(session, endpoint, request))
            retry_key = register.retry_key(endpoint.name, request.transaction_id, request.csr.der, request.challenge, claim.held)
            # A challenge that is still live has obtained nothing yet, so there is nothing to look for.
            stored = None if claim.is_fresh else register.kept(session, retry_key, now=self._clock.now())
            if stored is not None:
                return stored
            authorised = self._authorised(session, endpoint, request, claim)
        if isinstance(authorised, SignetryError):
            # Written only now: readers that wait for a writer would leave it no connection to the database.
            self._note(claim, authorised, actor)
            raise authorised
        try:
            return self._issue(endpoint, authority, request, authorised, claim, retry_key, actor)
        except (SignetryError, IntegrityError) as error:
            # The same request, sent twice at once: the other one was stored first, and its certificate answers both.
            with self._transactions.reading() as session:
                stored = register.kept(session, retry_key, now=self._clock.now())
            if stored is not None:
                return stored
            if isinstance(error, SignetryError) and not isinstance(error, Unavailable):
                self._note(claim, error, actor)
            raise

    def _presented(self, session: Session, endpoint: Endpoint, request: EnrolmentRequest) -> KnownChallenge | None:
        if not request.challenge:
            return None
        return challenge.find(session, request.challenge, endpoint=endpoint.name, now=self._clock.now())

    def _authorised(
        self, session: Session, endpoint: Endpoint, request: EnrolmentRequest, claim: _Claim
    ) -> Authorisation | SignetryError:
        """Return what the request entitles to, or why to nothing."""
        try:
            authorisation = self._authorise(session, endpoint, request, claim)
            check_request(request.csr.requested, authorisation.names)
        except SignetryError as refusal:
            return refusal
        return authorisation

    def _authorise(self, session: Session, endpoint: Endpoint, request: EnrolmentRequest, claim: _Claim) -> Authorisation:
        """Decide between challenge and renewal.

        A live challenge decides by itself: macOS and Intune renew with a fresh one. Without, a certificate of ours may speak for
        its holder; a challenge that is present and not live is then refused, unless it is the one that this very holder redeemed
        before: certmonger repeats it in every renewal (facts/scep.md section 6).
        """
        held, known = claim.held, claim.challenge
        if known is not None and claim.is_fresh:
            authorisation = self._by_challenge(session, endpoint, request, known)
            return replace(authorisation, renews=held.id) if held and _same_holder(known, held) else authorisation
        if held is None:
            raise UnknownSigner if request.must_renew and not request.challenge else ChallengeRefused
        if request.challenge and not (known and known.redeemed_for and _same_holder(known, held)):
            raise ChallengeRefused
        names = _todays_names(session, held.person, held.device)
        return renewal.authorise(held, names, endpoint=endpoint, now=self._clock.now())

    def _by_challenge(
        self,
        session: Session,
        endpoint: Endpoint,
        request: EnrolmentRequest,
        known: KnownChallenge,
    ) -> Authorisation:
        if known.profile not in endpoint.profiles:
            raise ChallengeRefused
        wanted_units = request.csr.requested.organisational_units if "OU" in endpoint.subject_from_request else ()
        # Whatever reads a subject up to its first NUL or line break would read something else than was requested.
        wanted_units = tuple(unit for unit in wanted_units if unit.isprintable())
        return Authorisation(
            profile=known.profile,
            names=_todays_names(session, known.person, known.device),
            granted_by=f"one-time challenge {known.id}",
            person=known.person,
            device=known.device,
            organisational_units=wanted_units,
        )

    def _issue(
        self,
        endpoint: Endpoint,
        authority: IssuingAuthority,
        request: EnrolmentRequest,
        authorisation: Authorisation,
        claim: _Claim,
        retry_key: str,
        actor: Actor,
    ) -> GrantedCertificate:
        now = self._clock.now()
        built = issuance.build(
            authority,
            profile_named(authorisation.profile),
            authorisation.names,
            _certifiable(request.csr),
            now=now,
            organisation=self._organisation,
            organisational_units=authorisation.organisational_units,
        )

        def store(session: Session) -> None:
            require_active(session, person=authorisation.person, device=authorisation.device)
            # A live challenge speaks for itself, whatever has become of the certificate that the request is signed with.
            if claim.held is not None and not claim.is_fresh:
                register.require_unrevoked(session, claim.held)
            certificate_id = issuance.record(
                session,
                built,
                authority=authority,
                authorisation=authorisation,
                actor=actor,
                now=now,
                listeners=self._listeners,
            )
            if claim.challenge is not None and claim.is_fresh:
                challenge.redeem(session, claim.challenge.id, certificate_id=certificate_id, now=now)
            answer = register.Answer(retry_key, endpoint.name, request.transaction_id, certificate_id)
            register.keep(session, answer, now=now)

        self._transactions.write(store)
        return GrantedCertificate(built.der, authorisation.profile, again=False)

    def _note(self, claim: _Claim, refusal: SignetryError, actor: Actor) -> None:
        """Put a refusal on record where the requester is known to us.

        Strangers get no further than the log, or anybody could fill the table.
        """
        if claim.held is not None:
            subject = f"certificate:{claim.held.serial}"
        elif claim.challenge is not None:
            subject = f"challenge:{claim.challenge.id}"
        else:
            return
        event = Event(actor, "enrolment.refused", subject, outcome="refused", details={"reason": str(refusal)})
        self._transactions.write(lambda session: log.record(session, event, now=self._clock.now()))


def _certifiable(csr: CertificateRequest) -> PublicKey:
    if isinstance(csr.public_key, PublicKey):
        return csr.public_key
    raise WeakKey("the public key is of a kind that no profile allows")


def _same_holder(known: KnownChallenge, held: HeldCertificate) -> bool:
    return (known.person, known.device, known.profile) == (held.person, held.device, held.profile)


def _todays_names(session: Session, person_id: PersonId | None, device_id: DeviceId | None) -> SubjectNames:
    """Return the names on record now.

    Raises:
        Inactive: the person or the device has been deactivated.
    """
    person = find_person_for_enrolment(session, person_id) if person_id is not None else None
    device = find_device_for_enrolment(session, device_id) if device_id is not None else None
    if person_id is not None and not (person and person.active):
        raise Inactive("the person is not active")
    if device_id is not None and not (device and device.active):
        raise Inactive("the device is not active")
    return names_of(person, device)
