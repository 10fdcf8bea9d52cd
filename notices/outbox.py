"""The outbox: the mails that are owed, and what became of them.

``owe`` notes a mail in the transaction of what it tells of. The worker claims rows with a lease (``foundation.due``), hands them
to the mail server, and settles each as soon as the server has answered. Once a mail is sent, or can be of no use any more, its
values and its attachment are removed: a link or a file of keys is nobody's business then.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, insert, null, or_, select, update
from sqlmodel import Session, col
from sqlmodel import select as sqlmodel_select

from foundation import due
from foundation.tables import table_of
from notices.errors import BadNotice
from notices.kinds import kind_named
from notices.records import OwedNotice
from people.records import Person

MAX_ATTACHMENT = 1024 * 1024
MAX_VALUE = 2000
MAX_REFERENCE = 60
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_OWED = table_of(OwedNotice)
_FIRST_RETRY = timedelta(minutes=1)
_LAST_RETRY = timedelta(hours=1)
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A mail to be owed.

    Attributes:
        template: which (``notices.kinds``).
        address: where to, as ``people.addresses`` has it.
        language: the recipient's (RFC 5646).
        values: what its words are made of.
        person: whose mail it is; None where it is nobody's.
        attachment: the file that goes with it, where its kind has one.
        attachment_name: what that is called.
        good_until: when it would be of no use any more.
        reference: what it belongs to, in the words of whoever owes it: several mails may belong to one thing. Listeners are told
            what becomes of such a mail (``notices.outcome``); once it is given up, it cannot be owed again.
    """

    template: str
    address: str
    language: str = "en"
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    person: int | None = None
    attachment: bytes | None = field(default=None, repr=False)
    attachment_name: str = ""
    good_until: datetime | None = None
    reference: str = ""


def owe(session: Session, notice: Notice, *, now: datetime) -> int:
    """Note, in the caller's transaction, that ``notice`` is to be sent from ``now`` on; return its number.

    Raises:
        UnknownTemplate: there is no such mail.
        BadNotice: it is not made of what its kind is made of, or too large.
    """
    kind = kind_named(notice.template)
    if kind.attached != bool(notice.attachment):
        raise BadNotice(f"a mail {kind.name} goes {'with' if kind.attached else 'without'} a file")
    if kind.attached and not _SAFE_NAME.fullmatch(notice.attachment_name):
        raise BadNotice("the name of an attached file consists of letters, digits, dots, hyphens and underscores, 100 at most")
    if notice.attachment and len(notice.attachment) > MAX_ATTACHMENT:
        raise BadNotice(f"an attached file has {MAX_ATTACHMENT} bytes at most")
    values = {**notice.values, "file": notice.attachment_name} if kind.attached else dict(notice.values)
    kind.require(values)
    too_long = sorted(name for name, value in values.items() if len(value) > MAX_VALUE)
    if too_long:
        raise BadNotice(f"the value {too_long[0]} is longer than {MAX_VALUE} characters")
    if len(notice.reference) > MAX_REFERENCE:
        raise BadNotice(f"what a mail belongs to is said in {MAX_REFERENCE} characters at most")
    row = {
        "person_id": notice.person,
        "address": notice.address,
        "language": notice.language,
        "template": notice.template,
        "reference": notice.reference,
        "values": values,
        "attachment_name": notice.attachment_name if kind.attached else "",
        "attachment": notice.attachment,
        "owed_at": now,
        "good_until": notice.good_until,
        "due_at": now,
        "failures": 0,
        "error": "",
    }
    number: int = session.execute(insert(_OWED).returning(_OWED.c.id), row).scalar_one()
    return number


@dataclass(frozen=True, slots=True)
class Claim:
    """A mail as the worker claimed it, with what is known of its recipient now.

    Attributes:
        row_id, token: of the row, and of its lease.
        name: what the recipient is called; the address where nothing better is known.
        is_gone: whether the person it is for has left.
    """

    row_id: int
    token: str
    person: int | None
    address: str
    language: str
    template: str
    reference: str
    values: Mapping[str, str] = field(repr=False)
    attachment: bytes | None = field(repr=False)
    attachment_name: str
    owed_at: datetime
    good_until: datetime | None
    failures: int
    name: str
    is_gone: bool


def claim_due(session: Session, *, now: datetime, limit: int, only: Collection[int] | None = None) -> list[Claim]:
    """Lease mails that are due to the caller, the longest due first; ``only`` names those that are wanted.

    A person's mail goes where the person is reached now, in the language of now: what was wrong may have been mended.
    """
    where = () if only is None else (col(OwedNotice.id).in_(only),)
    rows = due.claim(session, OwedNotice, *where, now=now, limit=limit)
    wanted = {row.person_id for row in rows if row.person_id is not None}
    persons = {person.id: person for person in session.exec(sqlmodel_select(Person).where(col(Person.id).in_(wanted)))}
    return [_claimed(row, None if row.person_id is None else persons.get(row.person_id)) for row in rows]


def _claimed(row: OwedNotice, person: Person | None) -> Claim:
    address = person.email if person is not None else row.address
    return Claim(
        row_id=row.id or 0,
        token=row.lease_token or "",
        person=row.person_id,
        address=address,
        language=person.language if person is not None else row.language,
        template=row.template,
        reference=row.reference,
        values=dict(row.values),
        attachment=row.attachment,
        attachment_name=row.attachment_name,
        owed_at=row.owed_at,
        good_until=row.good_until,
        failures=row.failures,
        name=(person.display_name if person is not None else "") or address,
        is_gone=row.person_id is not None and (person is None or not person.active),
    )


def good_until(session: Session, claimed: Claim) -> datetime | None:
    """Return when a mail that was claimed would be of no use any more, as it is on record now: it may have been called off."""
    until: datetime | None = session.scalar(select(_OWED.c.good_until).where(_OWED.c.id == claimed.row_id))
    return until


def call_off(session: Session, references: Collection[str], *, now: datetime) -> None:
    """Let no mail go out that belongs to one of ``references``: whoever would send it finds it useless, and gives it up."""
    owed = _OWED.c.reference.in_(references) & _OWED.c.due_at.is_not(None)
    session.execute(update(_OWED).where(owed).values(due_at=now, good_until=now))


def hold(session: Session, reference: str) -> None:
    """Let nobody else settle a mail of this reference until the commit: of two at once, neither would be the last."""
    theirs = select(_OWED.c.id).where(_OWED.c.reference == reference)
    session.execute(theirs.order_by(_OWED.c.id).with_for_update()).all()


def unsent_of(session: Session, reference: str) -> int:
    """Return how many mails of a reference have not been sent, whether owed or given up."""
    theirs = (_OWED.c.reference == reference) & _OWED.c.sent_at.is_(None)
    count: int = session.execute(select(func.count()).select_from(_OWED).where(theirs)).scalar_one()
    return count


def settle_sent(session: Session, claimed: Claim, *, now: datetime) -> bool:
    """Note that the mail server has taken a mail, and forget what it said; return whether the lease held."""
    return _settle(session, claimed, due_at=None, sent_at=now, error="", address=claimed.address, **_FORGOTTEN)


def settle_given_up(session: Session, claimed: Claim, error: str, *, forget: bool) -> bool:
    """Note that a mail is not tried any more; return whether the lease held. ``forget``: nobody will want it again."""
    changes = _FORGOTTEN if forget else {}
    return _settle(session, claimed, due_at=None, error=error, failures=claimed.failures + 1, **changes)


def settle_deferred(session: Session, claimed: Claim, error: str, *, now: datetime) -> bool:
    """Note that a mail is tried again, after a minute, doubling to an hour; return whether the lease held."""
    return _settle(session, claimed, due_at=now + wait_after(claimed.failures), error=error, failures=claimed.failures + 1)


def postpone_all(session: Session, claims: Sequence[Claim], error: str, *, now: datetime) -> datetime:
    """Let everything that is due wait, as the mail server itself cannot be used; return until when.

    What another worker holds under a lease is that one's.
    """
    until = now + wait_after(max((claimed.failures for claimed in claims), default=0))
    mine = _OWED.c.id.in_([claimed.row_id for claimed in claims]) & (_OWED.c.lease_token == (claims[0].token if claims else ""))
    waiting = or_(mine, (_OWED.c.due_at <= now) & _free(now))
    session.execute(
        update(_OWED)
        .where(waiting)
        .values(due_at=until, error=error, failures=_OWED.c.failures + 1, lease_token=None, lease_until=None)
    )
    return until


def release(session: Session, claims: Sequence[Claim]) -> None:
    """Give back claims that nothing was done about."""
    if claims:
        ours = _OWED.c.id.in_([claimed.row_id for claimed in claims]) & (_OWED.c.lease_token == claims[0].token)
        session.execute(update(_OWED).where(ours).values(lease_token=None, lease_until=None))


def next_due(session: Session, now: datetime) -> datetime | None:
    """Return when there will be something to send, which may be past; None when nothing is owed."""
    free: datetime | None = session.scalar(select(func.min(_OWED.c.due_at)).where(_OWED.c.due_at.is_not(None), _free(now)))
    if free is not None and free <= now:
        return free
    # What is under a lease counts from the lease's end, when its worker is given up.
    given_up: datetime | None = session.scalar(select(func.min(_OWED.c.lease_until)).where(_OWED.c.due_at <= now))
    return min((each for each in (free, given_up) if each is not None), default=None)


def wait_after(failures: int) -> timedelta:
    """Return how long to wait after a failure that ``failures`` others came before."""
    return min(_FIRST_RETRY * (1 << min(failures, _DOUBLINGS)), _LAST_RETRY)


def _settle(session: Session, claimed: Claim, **changes: Any) -> bool:  # noqa: ANN401 - whatever the columns hold
    return due.settle(session, OwedNotice, claimed.row_id, claimed.token, **changes)


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(_OWED.c.lease_until.is_(None), _OWED.c.lease_until <= now)


_FORGOTTEN: Mapping[str, Any] = {"values": {}, "attachment": null()}
