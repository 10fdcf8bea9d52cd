"""``intune``: Microsoft Intune vouches for the request, our records for the names (facts/mail_profiles.md section 4).

Intune made the challengePassword for one device and one of its profiles, and alone can read it. It is asked before anything is
issued, and told before anything is handed out: the certificate is committed withheld, and released once Intune has taken note.
What Intune has validated are the names it knows from Entra ID; which of our persons they are, and whether all of them are that
person's here, too, is decided by our records (design.md section 5).
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import IntEnum
from typing import Final, Protocol

import structlog
from cryptography import x509
from sqlmodel import Session

from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName
from ca.errors import NamesMissing, NamesNotAuthorised, WeakKey
from ca.names import RequestedNames
from ca.profiles import DEVICE_PROFILES
from foundation.errors import SignetryError, Unavailable
from intune.errors import RequestRejected as IntuneRejected
from intune.scep_validation import Failure, IssuedCertificate, ScepRequest
from people.activity import Inactive
from people.devices import DeviceRecord, find_device_managed_as
from people.errors import InvalidField
from people.person import PersonRecord
from people.persons import find_person
from scep.errors import ChallengeRefused, HolderUnknown, RequestRejected
from scep.policy import Authorise, Grant, RemotePolicy
from scep.register import GrantedCertificate
from scep.request import PresentedRequest
from scep.subject import todays_names, units_of

_log = structlog.get_logger("signetry.scep.intune")

_GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# An HRESULT of severity "error", marked as none of Microsoft's, of the facility for interfaces (MS-ERREF section 2.1).
_OURS: Final = 0xA0040000
_AS_SIGNED: Final = 0x100000000


class FailureCode(IntEnum):
    """What Intune's administrator gets to see of a failure of ours: the last digit of its HRESULT (docs/intune.md)."""

    OTHER = 0
    NAMES = 1
    HOLDER = 2
    KEY = 3

    @property
    def h_result(self) -> int:
        """The HRESULT, as a signed number of 32 bits."""
        return (_OURS | self) - _AS_SIGNED


_CODES: Final[dict[type[SignetryError], FailureCode]] = {
    NamesNotAuthorised: FailureCode.NAMES,
    NamesMissing: FailureCode.NAMES,
    HolderUnknown: FailureCode.HOLDER,
    Inactive: FailureCode.HOLDER,
    WeakKey: FailureCode.KEY,
}


class Validation(Protocol):
    """Intune, as this policy needs it (``intune.scep_validation.ScepValidation``)."""

    def validate(self, request: ScepRequest) -> None:
        """Return if Intune vouches for the request. Raises RequestRejected, IntuneUnavailable."""
        ...

    def notify_success(self, request: ScepRequest, issued: IssuedCertificate) -> None:
        """Tell what was issued. Raises RequestRejected, IntuneUnavailable."""
        ...

    def notify_failure(self, request: ScepRequest, failure: Failure) -> None:
        """Tell that nothing was. Raises RequestRejected, IntuneUnavailable."""
        ...


def _keep_open() -> None:
    """Leave the connections to whoever opened them."""


class Intune(RemotePolicy):
    """The endpoint's one profile, for the person, or the device, whom the validated names belong to.

    Whatever Intune says but "Success" means no certificate. What is no verdict of its (it is down, or throttles us) is raised as
    ``Unavailable``: the phone gets HTTP 503 and may send its request again, where a FAILURE would have been the end of it.
    """

    withholds = True

    def __init__(self, validation: Validation, profile: ProfileName, *, close: Callable[[], None] = _keep_open) -> None:
        self._validation = validation
        self._profile = profile
        self._close = close

    def close(self) -> None:
        """Close the connections to Intune."""
        self._close()

    def consult(self, presented: PresentedRequest) -> Authorise:
        """Have Intune validate the request; see ``RemotePolicy.consult``."""
        if not presented.request.challenge:
            raise ChallengeRefused
        try:
            self._validation.validate(_as_received(presented))
        except IntuneRejected as rejection:
            raise RequestRejected(str(rejection)) from rejection
        return self._authorise

    def confirm(self, presented: PresentedRequest, granted: GrantedCertificate) -> None:
        """Tell Intune what its device is going to get; see ``RemotePolicy.confirm``."""
        certificate = x509.load_der_x509_certificate(granted.der)
        issued = IssuedCertificate(
            der=granted.der,
            serial=f"{certificate.serial_number:032x}",
            not_after=certificate.not_valid_after_utc,
            issuer=certificate.issuer.rfc4514_string(),
            authority=presented.endpoint.issuing_ca,
        )
        try:
            self._validation.notify_success(_as_received(presented), issued)
        except IntuneRejected as rejection:
            raise RequestRejected(str(rejection)) from rejection

    def report_failure(self, presented: PresentedRequest, error: SignetryError) -> None:
        """Tell Intune why its device gets nothing from us, where that is final; see ``RemotePolicy.report_failure``."""
        if isinstance(error, (Unavailable, ChallengeRefused)):
            # The same request may be granted the next time; or Intune was not asked.
            return
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), FailureCode.OTHER)
        try:
            self._validation.notify_failure(_as_received(presented), Failure(code.h_result, str(error) or "refused"))
        except SignetryError as unheard:
            _log.warning("failure not reported", reason=str(unheard), transaction=presented.request.transaction_id)

    def subject_of(self, session: Session, presented: PresentedRequest, *, now: datetime) -> str | None:
        """Return the person whose a name in a request is that Intune has vouched for."""
        del now
        return next((f"person:{person.id}" for person in _persons_named(session, presented.request.csr.requested)), None)

    def _authorise(self, session: Session, presented: PresentedRequest, *, now: datetime) -> Grant:
        """Return what the validated names entitle to."""
        del now
        requested = presented.request.csr.requested
        if self._profile in DEVICE_PROFILES:
            person, device = None, _device_meant(session, requested)
            if device is None:
                raise HolderUnknown("the request names no device on record: its URI must hold a device's mdm_id")
        else:
            person = _person_meant(session, requested)
            device = _device_of(session, person, requested)
        person_id = PersonId(person.id) if person else None
        device_id = DeviceId(device.id) if device else None
        return Grant(
            Authorisation(
                profile=self._profile,
                names=todays_names(session, person_id, device_id),
                granted_by=f"Intune, transaction {presented.request.transaction_id}",
                person=person_id,
                device=device_id,
                organisational_units=units_of(requested, presented.endpoint),
            )
        )


def _as_received(presented: PresentedRequest) -> ScepRequest:
    return ScepRequest(presented.request.transaction_id, presented.request.csr.der)


def _person_meant(session: Session, requested: RequestedNames) -> PersonRecord:
    """Return the person whose one of the UPNs or mail addresses is; the rest are held against that person's record later.

    The common name finds nobody: it may be what a user calls the phone.
    """
    for person in _persons_named(session, requested):
        return person
    if not requested.upns and not requested.emails:
        raise HolderUnknown("the request names no person: its subject alternative name must hold a UPN or a mail address")
    raise HolderUnknown("the request names nobody who is on record")


def _persons_named(session: Session, requested: RequestedNames) -> Iterator[PersonRecord]:
    looked_for = (*({"upn": upn} for upn in requested.upns), *({"email": email} for email in requested.emails))
    for name in looked_for:
        try:
            person = find_person(session, **name)
        except InvalidField:
            continue
        if person is not None:
            yield person


def _device_of(session: Session, person: PersonRecord, requested: RequestedNames) -> DeviceRecord | None:
    """Return the person's device that the request names by its number, if it is on record at all."""
    device = _device_meant(session, requested)
    if device is not None and device.owner_id != person.id:
        raise HolderUnknown("the device that the request names is not on record as this person's")
    return device


def _device_meant(session: Session, requested: RequestedNames) -> DeviceRecord | None:
    """Return the device that Intune, or Entra ID, numbers as a URI or the common name says.

    By its number only: its name, and so its DNS name, is whatever its user calls it.
    """
    for text in (*requested.uris, requested.common_name):
        for guid in _GUID.findall(text):
            device = find_device_managed_as(session, guid)
            if device is not None:
                return device
    return None
