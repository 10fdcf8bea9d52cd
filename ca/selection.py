"""Which certificates are meant: one by its serial number, those of a person or a device, or a page of the list."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select
from sqlmodel import Session, col

from ca.errors import BadSerial, UnknownCertificate
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason

_HEXADECIMAL = re.compile(r"[0-9a-f]+")
# RFC 5280 section 4.1.2.2: at most 20 octets. Ours have 16.
_MAX_DIGITS = 40
_OUR_DIGITS = 32


class Status(StrEnum):
    """What a certificate is worth at a given time."""

    GOOD = "good"
    EXPIRED = "expired"
    ON_HOLD = "on-hold"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class CertificateSummary:
    """A certificate as lists and reports show it; ``status`` as of the time that was asked for."""

    id: int
    serial: str
    authority_id: int
    authority: str
    profile: str
    subject: str
    person_id: int | None
    device_id: int | None
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    status: Status
    revoked_at: datetime | None
    reason: RevocationReason | None
    invalidity_date: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class Holders:
    """Whose certificates exist for the asker: each field is a query for numbers.

    A person's certificate is theirs on whatever device it is: with a phone that is passed on, its former user's certificates
    do not come into view. A device's are those that name no person.
    """

    persons: Select[tuple[int]]
    devices: Select[tuple[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Criteria:
    """What a certificate must be to be listed; what is None does not matter. ``expiring_before`` leaves out the expired."""

    person_id: int | None = None
    device_id: int | None = None
    profile: str | None = None
    status: Status | None = None
    expiring_before: datetime | None = None
    profiles: frozenset[str] | None = None
    holders: Holders | None = None


def parse_serial(text: str) -> str:
    """Return a serial number as stored: lower-case hexadecimal without leading zeros.

    Takes what people copy: ``4F:02:…``, ``0x4f02…``, upper case, blanks.

    Raises:
        BadSerial: no hexadecimal number of at most 20 octets, or one that can only be decimal.
    """
    given = text.strip().lower()
    digits = given.removeprefix("0x").replace(":", "").replace(" ", "")
    if not _HEXADECIMAL.fullmatch(digits):
        raise BadSerial("a serial number is given in hexadecimal, with or without colons")
    # A decimal one of ours has 37 to 39 digits, more than its 32 in hexadecimal: taken for those, it would name nothing.
    if digits == given and digits.isdecimal() and len(digits) > _OUR_DIGITS:
        raise BadSerial("this looks like a decimal serial number; give it in hexadecimal")
    digits = digits.lstrip("0")
    if not 0 < len(digits) <= _MAX_DIGITS:
        raise BadSerial("a serial number is above zero and has at most 40 hexadecimal digits")
    return digits


def by_serial(session: Session, serial: str, *, now: datetime, holders: Holders | None = None) -> CertificateSummary:
    """Return the certificate with this serial number, which is spelt as ``parse_serial`` takes it; one of ``holders``, if given.

    Raises:
        BadSerial: as ``parse_serial``.
        UnknownCertificate: none of ours has it.
    """
    digits = parse_serial(serial)
    spellings = {digits, digits.zfill(len(digits) + len(digits) % 2), digits.zfill(_OUR_DIGITS)}
    held = [] if holders is None else [_held_by(holders)]
    row = session.execute(_summaries().where(col(Certificate.serial).in_(spellings), *held)).first()
    if row is None:
        raise UnknownCertificate(f"no certificate has the serial number {digits} (hexadecimal)")
    return _summary(row, now)


def matching(
    session: Session,
    criteria: Criteria,
    *,
    now: datetime,
    limit: int | None = None,
    offset: int = 0,
    before: int | None = None,
) -> Sequence[CertificateSummary]:
    """Return the certificates that meet ``criteria``, the newest first; ``before`` is the number of one, to go on behind it."""
    query = _summaries().where(*_conditions(criteria, now)).order_by(col(Certificate.id).desc()).offset(offset)
    if before is not None:
        query = query.where(col(Certificate.id) < before)
    return [_summary(row, now) for row in session.execute(query if limit is None else query.limit(limit))]


def revocable(session: Session, criteria: Criteria, *, now: datetime) -> Sequence[CertificateSummary]:
    """Return those that meet ``criteria`` and are good or on hold: what revoking a person's or a device's means."""
    return [item for item in matching(session, criteria, now=now) if item.status in (Status.GOOD, Status.ON_HOLD)]


def encoded(session: Session, certificate_id: int) -> bytes:
    """Return a certificate's DER.

    Raises:
        UnknownCertificate: no such certificate.
    """
    der: bytes | None = session.execute(
        select(col(Certificate.der)).where(col(Certificate.id) == certificate_id)
    ).scalar_one_or_none()
    if der is None:
        raise UnknownCertificate(f"there is no certificate number {certificate_id}")
    return der


def _conditions(criteria: Criteria, now: datetime) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if criteria.person_id is not None:
        conditions.append(col(Certificate.person_id) == criteria.person_id)
    if criteria.device_id is not None:
        conditions.append(col(Certificate.device_id) == criteria.device_id)
    if criteria.profile is not None:
        conditions.append(col(Certificate.profile) == criteria.profile)
    if criteria.profiles is not None:
        conditions.append(col(Certificate.profile).in_(criteria.profiles))
    if criteria.holders is not None:
        conditions.append(_held_by(criteria.holders))
    if criteria.expiring_before is not None:
        conditions.append(and_(col(Certificate.not_after) >= now, col(Certificate.not_after) < criteria.expiring_before))
    return conditions + _in_state(criteria.status, now)


def _in_state(status: Status | None, now: datetime) -> list[ColumnElement[bool]]:
    revoked, reason = col(Certificate.revoked_at), col(Certificate.revocation_reason)
    match status:
        case Status.GOOD:
            return [revoked.is_(None), col(Certificate.not_after) >= now]
        case Status.EXPIRED:
            return [revoked.is_(None), col(Certificate.not_after) < now]
        case Status.ON_HOLD:
            return [revoked.is_not(None), reason == RevocationReason.CERTIFICATE_HOLD]
        case Status.REVOKED:
            return [revoked.is_not(None), reason != RevocationReason.CERTIFICATE_HOLD]
        case None:
            return []


def _held_by(holders: Holders) -> ColumnElement[bool]:
    person, device = col(Certificate.person_id), col(Certificate.device_id)
    return or_(person.in_(holders.persons), and_(person.is_(None), device.in_(holders.devices)))


def _summaries() -> Select[*tuple[Any, ...]]:
    return select(
        col(Certificate.id),
        col(Certificate.serial),
        col(Certificate.authority_id),
        col(CertificationAuthority.name).label("authority"),
        col(Certificate.profile),
        col(Certificate.subject),
        col(Certificate.person_id),
        col(Certificate.device_id),
        col(Certificate.not_before),
        col(Certificate.not_after),
        col(Certificate.issued_at),
        col(Certificate.revoked_at),
        col(Certificate.revocation_reason),
        col(Certificate.invalidity_date),
    ).join(CertificationAuthority, col(CertificationAuthority.id) == col(Certificate.authority_id))


def _summary(row: Row[*tuple[Any, ...]], now: datetime) -> CertificateSummary:
    fields = row._asdict()
    reason = fields.pop("revocation_reason")
    if reason is not None:
        status = Status.ON_HOLD if reason == RevocationReason.CERTIFICATE_HOLD else Status.REVOKED
    else:
        status = Status.EXPIRED if row.not_after < now else Status.GOOD
    return CertificateSummary(**fields, status=status, reason=None if reason is None else RevocationReason(reason))
