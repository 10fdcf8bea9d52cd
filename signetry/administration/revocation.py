"""Choosing certificates, and revoking, holding and releasing them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import Session

from ca import revocation, selection
from ca.revocation import RevocationReason, RevokedCertificate
from ca.selection import CertificateSummary, Criteria
from foundation.errors import BadRequest, NotAuthorised
from people.devices import device_named
from people.persons import person_named
from signetry.administration.reach import EVERYTHING, Reach
from signetry.house import House

# removeFromCRL is what a release leaves in a delta CRL: nobody gives it as a reason.
REASONS = tuple(reason for reason in RevocationReason if reason is not RevocationReason.REMOVE_FROM_CRL)


class BeyondReach(NotAuthorised):
    """The certificate may be read, and is of a profile that the actor has no say in."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which certificates: those of serial numbers, or all that a person or a device holds (of both, what both hold)."""

    serials: tuple[str, ...] = ()
    person: str = ""
    device: str = ""

    def __post_init__(self) -> None:
        if bool(self.serials) == bool(self.person or self.device):
            raise BadRequest("give serial numbers, or a person or a device")


@dataclass(frozen=True, slots=True)
class RevocationOrder:
    """Why certificates are revoked, and since when their keys are not to be trusted."""

    reason: RevocationReason = RevocationReason.UNSPECIFIED
    invalidity_date: datetime | None = None


def parse_date(text: str) -> datetime:
    """Return the time that ISO 8601 ``text`` stands for; without a zone it is UTC, without a time midnight.

    Raises:
        BadRequest: it is no ISO 8601 date.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadRequest(f"{text!r} is no date: write 2026-05-31, or 2026-05-31T14:00:00Z") from None


def parse_reason(text: str) -> RevocationReason:
    """Return the reason called ``text`` in RFC 5280, in capitals or not.

    Raises:
        BadRequest: there is none of this name.
    """
    for reason in RevocationReason:
        if reason.lower() == text.strip().lower():
            return reason
    raise BadRequest(f"{text!r} is no reason to revoke: {', '.join(REASONS)}")


def chosen(session: Session, house: House, choice: Choice, reach: Reach = EVERYTHING) -> Sequence[CertificateSummary]:
    """Return the certificates of ``choice``; of a person's or a device's, those that are good or on hold.

    Raises:
        UnknownCertificate, BadSerial: a serial number names none that exists for the actor.
        UnknownPerson, UnknownDevice: there is none, or it is beyond ``reach``.
        BeyondReach: a certificate is of a profile that is beyond ``reach``.
    """
    now = house.clock.now()
    if not choice.serials:
        criteria = Criteria(
            person_id=person_named(session, choice.person, within=reach.group).id if choice.person else None,
            device_id=device_named(session, choice.device, within=reach.group).id if choice.device else None,
            profiles=reach.profiles,
            holders=reach.holders,
        )
        return selection.revocable(session, criteria, now=now)
    found = [selection.by_serial(session, serial, now=now, holders=reach.holders) for serial in choice.serials]
    for certificate in found:
        if not reach.includes_profile(certificate.profile):
            raise BeyondReach(f"certificates of profile {certificate.profile} are beyond what this token may change")
    return found


def revoke(
    session: Session, house: House, choice: Choice, order: RevocationOrder, reach: Reach = EVERYTHING
) -> list[RevokedCertificate]:
    """Revoke the certificates of ``choice``, all or none. Raises as ``chosen`` and ``ca.revocation.revoke`` do."""
    return revocation.revoke(
        session,
        _numbers(chosen(session, house, choice, reach)),
        order.reason,
        invalidity_date=order.invalidity_date,
        actor=house.actor,
        now=house.clock.now(),
        listeners=house.revocation_listeners,
    )


def hold(session: Session, house: House, choice: Choice, reach: Reach = EVERYTHING) -> list[RevokedCertificate]:
    """Put the certificates of ``choice`` on hold, all or none. Raises as ``revoke``."""
    return _switch(revocation.hold, session, house, choice, reach)


def release(session: Session, house: House, choice: Choice, reach: Reach = EVERYTHING) -> list[RevokedCertificate]:
    """Take the certificates of ``choice`` off hold, all or none. Raises as ``chosen``, and NotOnHold."""
    return _switch(revocation.release, session, house, choice, reach)


def outcome_of(state: RevokedCertificate) -> str:
    """Say in a word what an act did."""
    if not state.changed:
        return "unchanged"
    if state.reason is None:
        return "released"
    return "held" if state.reason is RevocationReason.CERTIFICATE_HOLD else "revoked"


def _switch(
    act: Callable[..., list[RevokedCertificate]], session: Session, house: House, choice: Choice, reach: Reach
) -> list[RevokedCertificate]:
    numbers = _numbers(chosen(session, house, choice, reach))
    return act(session, numbers, actor=house.actor, now=house.clock.now(), listeners=house.revocation_listeners)


def _numbers(certificates: Sequence[CertificateSummary]) -> list[int]:
    return [certificate.id for certificate in certificates]
