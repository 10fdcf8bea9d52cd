"""Enrolment: who may have which certificate, and its record (RFC 8894 sections 2.3, 3.3.1 and 3.3.1.2).

The order is the house's (design.md section 2): find the stored answer of an identical retry, else authorise; build the
certificate outside any transaction; then store certificate, redeemed challenge, audit event and everything owed in one. Only
what that transaction has committed is returned.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, insert, select
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from audit import log
from audit.log import Actor, Event
from ca import issuance
from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.csr import CertificateRequest
from ca.errors import WeakKey
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import PublicKey
from ca.names import check_request
from ca.profiles import profile_named
from ca.records import Certificate
from ca.subject import Organisation
from foundation.clock import Clock
from foundation.errors import SignetryError
from foundation.tables import table_of
from foundation.transactions import Transactions
from people.activity import Inactive, require_active
from people.devices import find_device_for_enrolment
from people.persons import find_person_for_enrolment
from scep import challenge, renewal
from scep.certificate import CarriedCertificate
from scep.challenge import KnownChallenge
from scep.endpoint import Endpoint
from scep.errors import ChallengeRefused, RenewalRefused, UnknownSigner
from scep.records import Enrolment
from scep.renewal import HeldCertificate
from scep.subject import names_of

_CERTIFICATE = table_of(Certificate)
_ENROLMENT = table_of(Enrolment)
_STORED = (
    select(_CERTIFICATE.c.der, _CERTIFICATE.c.revoked_at)
    .join(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_ENROLMENT.c.retry_key == bindparam("retry_key"))
)
_HELD = (
    select(_CERTIFICATE, _ENROLMENT.c.endpoint)
    .outerjoin(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_CERTIFICATE.c.authority_id == bindparam("authority_id"), _CERTIFICATE.c.serial == bindparam("serial"))
)
_REVOKED_SINCE = (
    select(_CERTIFICATE.c.revoked_at).where(_CERTIFICATE.c.id == bindparam("certificate_id")).with_for_update(read=True)
)
_ENROLLED = insert(_ENROLMENT)


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

    def enrol(self, endpoint: Endpoint, authority: IssuingAuthority, request: EnrolmentRequest, actor: Actor) -> bytes:
        """Return the DER of the certificate that ``request`` gets; it is recorded and durable.

        An identical retry gets the same certificate again, as long as that is not revoked.

        Raises:
            ChallengeRefused, RenewalRefused, UnknownSigner, Inactive: the requester may not have a certificate now.
            NamesNotAuthorised, NamesMissing, WeakKey: it may, but not with these names or this key; a challenge stays usable.
        """
        with self._transactions.reading() as session:
            held = _held(session, authority, request)
            retry_key = _retry_key(endpoint, request, held)
            stored = _stored(session, retry_key)
            if stored is not None:
                return stored
            claim = _Claim(held, self._presented(session, endpoint, request))
            try:
                authorisation = self._authorise(session, endpoint, request, claim)
                check_request(request.csr.requested, authorisation.names)
            except SignetryError as refusal:
                self._note(claim, refusal, actor)
                raise
        try:
            return self._issue(endpoint, authority, request, authorisation, claim, retry_key, actor)
        except (SignetryError, IntegrityError) as error:
            # The same request, sent twice at once: the other one was stored first, and its certificate answers both.
            with self._transactions.reading() as session:
                stored = _stored(session, retry_key)
            if stored is not None:
                return stored
            if isinstance(error, SignetryError):
                self._note(claim, error, actor)
            raise

    def _presented(self, session: Session, endpoint: Endpoint, request: EnrolmentRequest) -> KnownChallenge | None:
        if not request.challenge:
            return None
        return challenge.find(session, request.challenge, endpoint=endpoint.name, now=self._clock.now())

    def _authorise(self, session: Session, endpoint: Endpoint, request: EnrolmentRequest, claim: _Claim) -> Authorisation:
        """Decide between challenge and renewal.

        A live challenge decides by itself: macOS and Intune renew with a fresh one. Without, a certificate of ours may speak for
        its holder; a challenge that is present and not live is then refused, unless it is the one that this very holder redeemed
        before: certmonger repeats it in every renewal (facts/scep.md section 6).
        """
        held, known = claim.held, claim.challenge
        if known is not None and known.live:
            return self._by_challenge(session, endpoint, request, known)
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
    ) -> bytes:
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
            if claim.held is not None:
                _require_unrevoked(session, claim.held)
            certificate_id = issuance.record(
                session,
                built,
                authority=authority,
                authorisation=authorisation,
                actor=actor,
                now=now,
                listeners=self._listeners,
            )
            if claim.challenge is not None and claim.challenge.live:
                challenge.redeem(session, claim.challenge.id, certificate_id=certificate_id, now=now)
            session.execute(
                _ENROLLED,
                {
                    "retry_key": retry_key,
                    "endpoint": endpoint.name,
                    "transaction_id": request.transaction_id,
                    "certificate_id": certificate_id,
                    "created_at": now,
                },
            )

        self._transactions.write(store)
        return built.der

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


def _held(session: Session, authority: IssuingAuthority, request: EnrolmentRequest) -> HeldCertificate | None:
    """Return the certificate of ``authority`` that signed the request: the very bytes on record, not just its name and number."""
    signer = request.signer
    if signer.issuer_der != authority.subject_der:
        return None
    row = session.execute(_HELD, {"authority_id": authority.id, "serial": f"{signer.serial_number:032x}"}).one_or_none()
    if row is None or row.der != signer.der:
        return None
    return HeldCertificate(
        id=row.id,
        serial=row.serial,
        profile=ProfileName(row.profile),
        person=row.person_id,
        device=row.device_id,
        endpoint=row.endpoint,
        not_before=row.not_before,
        not_after=row.not_after,
        revoked=row.revoked_at is not None,
        der=row.der,
    )


def _certifiable(csr: CertificateRequest) -> PublicKey:
    if isinstance(csr.public_key, PublicKey):
        return csr.public_key
    raise WeakKey("the public key is of a kind that no profile allows")


def _require_unrevoked(session: Session, held: HeldCertificate) -> None:
    # Asked again in the transaction: the certificate may have been revoked while its successor was being signed.
    if session.execute(_REVOKED_SINCE, {"certificate_id": held.id}).scalar_one() is not None:
        raise RenewalRefused("the certificate to be renewed is revoked")


def _same_holder(known: KnownChallenge, held: HeldCertificate) -> bool:
    return (known.person, known.device, known.profile) == (held.person, held.device, held.profile)


def _retry_key(endpoint: Endpoint, request: EnrolmentRequest, held: HeldCertificate | None) -> str:
    """Return what makes a request the same one again: never the transactionID alone, which clients derive from their key."""
    parts = (endpoint.name, request.transaction_id, hashlib.sha256(request.csr.der).hexdigest(), held.serial if held else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _stored(session: Session, retry_key: str) -> bytes | None:
    row = session.execute(_STORED, {"retry_key": retry_key}).one_or_none()
    if row is None:
        return None
    if row.revoked_at is not None:
        raise RenewalRefused("the certificate issued to this request has been revoked")
    return bytes(row.der)


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
