"""Requests that wait: what there is, what each asks for beside what a record says, and deciding on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography.hazmat.primitives import serialization
from sqlmodel import Session, col, select

from ca.authorisation import ProfileName, SubjectNames
from ca.errors import NamesMissing, NamesNotAuthorised, WeakKey
from ca.key_policy import check_public_key
from ca.names import RequestedNames, check_request
from ca.profiles import profile_named
from ca.records import Certificate
from ca.subject import alternative_names, subject_name
from foundation.errors import BadRequest, RefusedByPolicy
from people.devices import device_named, find_device_for_enrolment
from people.devices import names_of as device_names
from people.persons import find_person_for_enrolment, person_named, upns_of
from scep import pending, pending_decisions
from scep.endpoint import ChallengeKind, Endpoint
from scep.pending import State
from scep.pending_decisions import Approval
from scep.readable import printable
from scep.records import PendingRequest
from scep.subject import names_of, units_of
from signetry.administration.certificate_view import public_key_text
from signetry.administration.holders import Holder, holder
from signetry.administration.reach import EVERYTHING
from signetry.house import House

DECIDED_AT_ONCE = 100


class RequestConflicts(RefusedByPolicy):
    """The request asks for what the record does not hold, or lacks what the profile needs; the message says what."""


class ProfileMissing(BadRequest):
    """The endpoint issues several profiles, and none was named."""


@dataclass(frozen=True, slots=True)
class AskedFor:
    """The names in a certificate request, made fit to be read."""

    common_name: str
    emails: tuple[str, ...]
    upns: tuple[str, ...]
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    sids: tuple[str, ...]
    other: tuple[str, ...]
    organisational_units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Names of one kind: what a request asks for, what the record holds, and whether the one is covered by the other."""

    kind: str
    requested: tuple[str, ...]
    recorded: tuple[str, ...]
    agrees: bool


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request that waits, or waited: what it asks for, where it came from, and what was decided.

    ``comparison`` holds it against the record of whom it was approved for, or of who was named; empty where nobody was.
    """

    id: int
    state: State
    endpoint: str
    subject: str
    asked_for: AskedFor
    key: str
    key_sha256: str
    transaction_id: str
    origin: str
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    person: str | None
    device: str | None
    profile: str | None
    rejection: str | None
    serial: str | None
    comparison: tuple[Compared, ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """A request after a decision, and whether that changed anything."""

    request: RequestView
    changed: bool


@dataclass(frozen=True, slots=True)
class ApprovalOrder:
    """For whom requests are approved, as an administrator names them; ``profile`` may be empty where there is only one."""

    person: str = ""
    device: str = ""
    profile: str = ""


def listed(
    session: Session, house: House, *, state: State | None, endpoint: str | None, before: int | None, limit: int
) -> list[RequestView]:
    """Return requests, the newest first. Raises UnknownEndpoint."""
    if endpoint is not None:
        EVERYTHING.endpoint(house, endpoint)
    rows = pending_decisions.matching(session, state=state, endpoint=endpoint, before=before, limit=limit, now=house.clock.now())
    return _views(session, rows)


def show(session: Session, house: House, number: int, order: ApprovalOrder = ApprovalOrder()) -> RequestView:
    """Return a request, held against the record of whom ``order`` names, else of whom it was approved for.

    Raises:
        UnknownPendingRequest, UnknownPerson, UnknownDevice: there is none.
    """
    row = pending_decisions.get(session, number, now=house.clock.now())
    if order.person or order.device:
        named = Holder(
            person_named(session, order.person) if order.person else None,
            device_named(session, order.device) if order.device else None,
        )
    else:
        named = Holder(
            find_person_for_enrolment(session, row.person_id) if row.person_id is not None else None,
            find_device_for_enrolment(session, row.device_id) if row.device_id is not None else None,
        )
    (view,) = _views(session, [row])
    if named.person is None and named.device is None:
        return view
    return replace(view, comparison=_compared(row, names_of(named.person, named.device)))


def approve(session: Session, house: House, numbers: Sequence[int], order: ApprovalOrder) -> list[Decided]:
    """Approve requests, all or none, in the session's transaction.

    Raises:
        UnknownPendingRequest, NothingToDecide, AlreadyGranted: as ``pending_decisions.approve``.
        UnknownEndpoint, UnknownPerson, UnknownDevice, RefusedByPolicy, HolderMissing: as ``holders.holder``.
        ProfileMissing: the endpoint issues several.
        RequestConflicts: the certificate could not be issued; the record is to be changed first, or the request rejected.
    """
    return [_approve(session, house, number, order) for number in _distinct(numbers)]


def reject(session: Session, house: House, numbers: Sequence[int], words: str) -> list[Decided]:
    """Reject requests, all or none, in the session's transaction. Raises as ``pending_decisions.reject``."""
    decided = []
    for number in _distinct(numbers):
        changed = pending_decisions.reject(session, number, words, actor=house.actor, now=house.clock.now())
        decided.append(Decided(show(session, house, number), changed))
    return decided


def _approve(session: Session, house: House, number: int, order: ApprovalOrder) -> Decided:
    now = house.clock.now()
    row = pending_decisions.get(session, number, now=now)
    endpoint = EVERYTHING.endpoint(house, row.endpoint)
    if endpoint.challenge is not ChallengeKind.APPROVAL:
        raise RefusedByPolicy(f"at endpoint {endpoint.name} nothing is approved any more: its policy is {endpoint.challenge}")
    profile = order.profile or _only_profile(endpoint)
    whose = holder(session, endpoint, profile, order.person, order.device)
    _require_issuable(row, endpoint, profile, whose, house)
    approval = Approval(whose.person_id, whose.device_id, ProfileName(profile))
    changed = pending_decisions.approve(session, number, approval, actor=house.actor, now=now)
    return Decided(show(session, house, number), changed)


def _only_profile(endpoint: Endpoint) -> str:
    if len(endpoint.profiles) != 1:
        raise ProfileMissing(f"profile: endpoint {endpoint.name} issues {', '.join(sorted(endpoint.profiles))}; say which")
    return next(iter(endpoint.profiles))


def _require_issuable(row: PendingRequest, endpoint: Endpoint, profile: str, whose: Holder, house: House) -> None:
    """Return if the client would get its certificate, as things are now: it asks for it only when it comes back."""
    names, wanted = names_of(whose.person, whose.device), profile_named(profile)
    requested = pending.requested_in(row)
    try:
        check_request(requested, names)
        subject_name(wanted, names, house.organisation, units_of(requested, endpoint))
        alternative_names(wanted, names)
        check_public_key(serialization.load_der_public_key(row.spki), wanted.key_usage)
    except NamesNotAuthorised as error:
        on_record = " and ".join(each for each in (_upn(whose), _device_name(whose)) if each)
        raise RequestConflicts(
            f"request {row.id}: {error}, as the record of {on_record} does not hold it: change the record, or reject the request"
        ) from error
    except (NamesMissing, WeakKey) as error:
        raise RequestConflicts(f"request {row.id}: {error}") from error


def _upn(whose: Holder) -> str | None:
    return whose.person.upn if whose.person else None


def _device_name(whose: Holder) -> str | None:
    return whose.device.name if whose.device else None


def _distinct(numbers: Sequence[int]) -> list[int]:
    """Return the numbers in the order in which rows are locked: two who decide on the same ones do not block each other."""
    if not 0 < len(set(numbers)) <= DECIDED_AT_ONCE:
        raise BadRequest(f"decide on 1 to {DECIDED_AT_ONCE} requests at once")
    return sorted(set(numbers))


# --- views ---


def _views(session: Session, rows: Sequence[PendingRequest]) -> list[RequestView]:
    upns = upns_of(session, {row.person_id for row in rows if row.person_id is not None})
    names = device_names(session, {row.device_id for row in rows if row.device_id is not None})
    granted = {row.certificate_id for row in rows if row.certificate_id is not None}
    found = session.exec(select(Certificate.id, Certificate.serial).where(col(Certificate.id).in_(granted)))
    serials = dict(found.all())
    return [
        RequestView(
            id=row.id or 0,
            state=State(row.state),
            endpoint=row.endpoint,
            subject=row.subject,
            asked_for=_asked_for(pending.requested_in(row)),
            key=public_key_text(serialization.load_der_public_key(row.spki)),
            key_sha256=row.spki_sha256,
            transaction_id=printable(row.transaction_id),
            origin=row.origin,
            created_at=row.created_at,
            expires_at=row.expires_at,
            decided_at=row.decided_at,
            decided_by=row.decided_by,
            person=upns.get(row.person_id or 0),
            device=names.get(row.device_id or 0),
            profile=row.profile,
            rejection=row.rejection,
            serial=serials.get(row.certificate_id) if row.certificate_id is not None else None,
        )
        for row in rows
    ]


def _asked_for(requested: RequestedNames) -> AskedFor:
    return AskedFor(
        common_name=printable(requested.common_name),
        emails=_printable(requested.emails),
        upns=_printable(requested.upns),
        dns_names=_printable(requested.dns_names),
        uris=_printable(requested.uris),
        sids=_printable(requested.sids),
        other=_printable(requested.other),
        organisational_units=_printable(requested.organisational_units),
    )


def _compared(row: PendingRequest, names: SubjectNames) -> tuple[Compared, ...]:
    """Hold what a request asks for against ``names``, kind by kind, by the rule that issuing goes by."""
    requested = pending.requested_in(row)
    kinds = (
        ("common name", _several(requested.common_name), _several(names.display_name, names.device_name), "common_name"),
        ("mail addresses", requested.emails, names.emails, "emails"),
        ("UPN", requested.upns, _several(names.upn), "upns"),
        ("DNS names", requested.dns_names, names.dns_names, "dns_names"),
        ("URIs", requested.uris, names.uris, "uris"),
        ("SID", requested.sids, _several(names.sid), "sids"),
        ("other", requested.other, (), "other"),
    )
    return tuple(
        Compared(kind, _printable(wanted), recorded, _is_covered(RequestedNames(**{field: getattr(requested, field)}), names))
        for kind, wanted, recorded, field in kinds
        if wanted or recorded
    )


def _is_covered(requested: RequestedNames, names: SubjectNames) -> bool:
    try:
        check_request(requested, names)
    except NamesNotAuthorised:
        return False
    return True


def _several(*names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name)


def _printable(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(printable, names))
