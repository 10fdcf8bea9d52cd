"""``webhook``: a service of the organisation's own decides, and says for whom and under which names (docs/webhook.md).

It is believed as far as its answer is signed, and within the endpoint's constraints. Where the answer names a person or a device
of ours, their record must vouch for what is theirs; where it names nobody, it cannot have names that are somebody's on record.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NoReturn

from sqlmodel import Session

from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.errors import NamesNotAuthorised, ProfileNotAllowed
from ca.names import SID_URI_PREFIX, comparable_address
from foundation.errors import SignetryError
from people.addresses import normalise_dns_name, normalise_email, normalise_upn
from people.devices import DeviceRecord, find_device, find_device_by_dns_name, find_device_managed_as, is_called
from people.errors import InvalidField, UnknownPerson
from people.identifiers import normalise_text
from people.person import PersonRecord
from people.persons import person_named
from scep.errors import RequestRejected
from scep.policies.constraints import allowed_dns_names
from scep.policies.webhook_client import WebhookClient, WebhookUnavailable
from scep.policies.webhook_messages import Answer, AnsweredNames, WebhookMisbehaved, read_answer, request_body
from scep.policy import Authorise, Grant, RemotePolicy
from scep.register import GrantedCertificate
from scep.request import PresentedRequest
from scep.subject import todays_names, units_of

_DENIED: Final = "the request was denied"
_ANOTHER_DEVICES: Final = "a name that this request was allowed is a device's on record, which was not named"
_URN_UUID: Final = "urn:uuid:"
_LONGEST_URI: Final = 255
_LONGEST_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class WebhookRules:
    """What names an answer may give beyond those on record.

    Attributes:
        domains: those of mail addresses and UPNs, lower-case A-labels.
        dns_suffixes: the domains below which DNS names lie.
        uri_prefixes: what URIs begin with.
    """

    domains: tuple[str, ...] = ()
    dns_suffixes: tuple[str, ...] = ()
    uri_prefixes: tuple[str, ...] = ()


class Webhook(RemotePolicy):
    """Names come from the webhook's answer, within the rules."""

    def __init__(self, client: WebhookClient, rules: WebhookRules) -> None:
        self._client = client
        self._rules = rules

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def consult(self, presented: PresentedRequest) -> Authorise:
        """Ask; see ``RemotePolicy.consult``.

        Raises:
            WebhookUnavailable: there is no answer that could be believed.
        """
        try:
            answer = read_answer(self._client.ask(request_body(presented)))
        except WebhookMisbehaved as error:
            self._client.complain(str(error))
            raise WebhookUnavailable from error
        return _Decision(answer, self._rules)

    def confirm(self, presented: PresentedRequest, granted: GrantedCertificate) -> None:
        """Do nothing: nothing is withheld."""

    def report_failure(self, presented: PresentedRequest, error: SignetryError) -> None:
        """Do nothing: the webhook is asked, not told."""


@dataclass(frozen=True, slots=True)
class _Decision:
    """What an answer comes to, once our records have been looked at."""

    answer: Answer
    rules: WebhookRules

    def __call__(self, session: Session, presented: PresentedRequest, *, now: datetime) -> Grant:
        """Return what the answer entitles to; see ``Authorise``.

        Raises:
            RequestRejected: the webhook denies, in its own words, or names somebody who is not on record.
            NamesNotAuthorised, ProfileNotAllowed, Inactive: it allows what is not its to allow.
        """
        del now
        if self.answer.decision == "deny":
            raise RequestRejected(_printable(self.answer.reason) or _DENIED)
        endpoint = presented.endpoint
        profile = ProfileName(self.answer.profile)
        if profile not in endpoint.profiles:
            raise ProfileNotAllowed("the profile that this request was allowed is not one of this endpoint's")
        person, device = self._holders(session)
        authorisation = Authorisation(
            profile=profile,
            names=self._names(session, person, device),
            granted_by=f"the webhook of endpoint {endpoint.name}",
            person=PersonId(person.id) if person else None,
            device=DeviceId(device.id) if device else None,
            organisational_units=units_of(presented.request.csr.requested, endpoint),
        )
        return Grant(authorisation)

    def _holders(self, session: Session) -> tuple[PersonRecord | None, DeviceRecord | None]:
        by_person, by_device = self.answer.person, self.answer.device
        try:
            # An administrator may mean somebody by a number; whoever answers by machine says which address.
            person = person_named(session, by_person) if "@" in by_person else None
        except (UnknownPerson, InvalidField):
            person = None
        device = find_device(session, by_device) if by_device else None
        if bool(by_person) != (person is not None) or bool(by_device) != (device is not None):
            raise RequestRejected("the person or device that this request was allowed for is not on record")
        if person and device and device.owner_id not in (None, person.id):
            raise RequestRejected("the device that this request was allowed for is somebody else's")
        return person, device

    def _names(self, session: Session, person: PersonRecord | None, device: DeviceRecord | None) -> SubjectNames:
        """Return the names on record of those whom the answer names, narrowed and completed by the names it gives."""
        on_record = SubjectNames()
        if person or device:
            on_record = todays_names(session, PersonId(person.id) if person else None, DeviceId(device.id) if device else None)
        given = self.answer.names
        if given is None:
            return on_record
        try:
            wanted = _normalised(given)
        except InvalidField as error:
            raise NamesNotAuthorised(f"a name that this request was allowed cannot be certified: {error}") from None
        if person is None:
            self._require_nobodys(session, wanted)
        else:
            wanted = _narrowed(wanted, on_record)
        if device is None:
            if wanted.device_name and is_called(session, wanted.device_name):
                raise NamesNotAuthorised(_ANOTHER_DEVICES)
        else:
            wanted = replace(wanted, device_name=on_record.device_name)
        dns_names = [name for name in wanted.dns_names if name not in on_record.dns_names]
        allowed_dns_names(dns_names, self.rules.dns_suffixes)
        uris = [uri for uri in wanted.uris if uri not in on_record.uris]
        for uri in uris:
            # A SID by another way: domain controllers map accounts by it.
            is_sid = uri.casefold().startswith(SID_URI_PREFIX.casefold())
            if is_sid or not uri.startswith(self.rules.uri_prefixes):
                _refuse("URI")
        _require_no_others(session, dns_names, uris)
        return wanted

    def _require_nobodys(self, session: Session, wanted: SubjectNames) -> None:
        """Return if the personal names in ``wanted`` are within the rules and nobody's on record."""
        if wanted.sid:
            raise NamesNotAuthorised("a SID is certified only for a person on record")
        for address in (*wanted.emails, *filter(None, (wanted.upn,))):
            if address.rpartition("@")[2] not in self.rules.domains:
                _refuse("address")
            if _is_somebodys(session, address):
                raise NamesNotAuthorised("an address that this request was allowed is a person's on record, who was not named")


def _is_somebodys(session: Session, address: str) -> bool:
    try:
        person_named(session, address)
    except UnknownPerson:
        return False
    return True


def _narrowed(wanted: SubjectNames, on_record: SubjectNames) -> SubjectNames:
    """Return ``wanted`` with the person's own names from the record; of addresses, UPN and SID those that were asked for.

    Raises:
        NamesNotAuthorised: one of these three is not in the record.
    """
    if wanted.sid and wanted.sid != on_record.sid:
        _refuse("SID")
    if wanted.upn and comparable_address(wanted.upn) != comparable_address(on_record.upn):
        _refuse("UPN")
    if not set(wanted.emails) <= set(on_record.emails):
        _refuse("address")
    return replace(
        wanted,
        display_name=on_record.display_name,
        given_name=on_record.given_name,
        surname=on_record.surname,
        # The primary address comes first, in whatever order they were given.
        emails=tuple(email for email in on_record.emails if email in wanted.emails),
    )


def _require_no_others(session: Session, dns_names: Sequence[str], uris: Sequence[str]) -> None:
    """Return if what an answer gives beyond the record of whom it names is not on record as a device's that it does not name."""
    numbers = [uri.casefold().removeprefix(_URN_UUID) for uri in uris if uri.casefold().startswith(_URN_UUID)]
    by_name = (find_device_by_dns_name(session, name) for name in dns_names)
    if any(by_name) or any(find_device_managed_as(session, number) for number in numbers):
        raise NamesNotAuthorised(_ANOTHER_DEVICES)


def _normalised(given: AnsweredNames) -> SubjectNames:
    """Return the names an answer gives, as certificates have them. Raises InvalidField."""
    for uri in given.uris:
        if not (uri.isascii() and uri.isprintable() and " " not in uri and ":" in uri and len(uri) <= _LONGEST_URI):
            raise InvalidField("uris", "is not a URI in ASCII")
    return SubjectNames(
        display_name=_text(given.display_name, "display_name"),
        given_name=_text(given.given_name, "given_name"),
        surname=_text(given.surname, "surname"),
        upn=normalise_upn(given.upn) if given.upn else "",
        emails=tuple(dict.fromkeys(normalise_email(email, field="emails") for email in given.emails)),
        sid=given.sid,
        device_name=_text(given.device_name, "device_name"),
        dns_names=tuple(dict.fromkeys(normalise_dns_name(name, field="dns_names") for name in given.dns_names)),
        uris=tuple(dict.fromkeys(given.uris)),
    )


def _text(value: str, field: str) -> str:
    # A name with an address in it would pass for the address with whoever looks for one in the subject.
    if "@" in value:
        raise InvalidField(field, "holds an at sign")
    return normalise_text(value, field=field, maximum=_LONGEST_TEXT)


def _refuse(kind: str) -> NoReturn:
    raise NamesNotAuthorised(f"the {kind} that this request was allowed is not this endpoint's, or not on record, to give")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text).strip()
