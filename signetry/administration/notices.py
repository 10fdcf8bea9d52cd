"""Mails to persons: what became of them, sending them at once, trying the mail server."""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass

from sqlmodel import Session

from audit.log import Event, record
from foundation.errors import BadRequest
from notices import listing
from notices.kinds import TEST, kind_named
from notices.listing import MailView, State
from people.addresses import normalise_email
from people.persons import person_named
from signetry.house import House

Progress = Callable[[int, int], None]

SENT_AT_ONCE = 1000
# How long to wait for what another worker has claimed; its lease lapses sooner.
_PATIENCE_SECONDS = 40.0
_LOOK_EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of mails that were to be sent at once; ``unavailable`` says why the server itself cannot be used."""

    mails: list[MailView]
    unavailable: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether all of them are sent."""
        return all(mail.state is State.SENT for mail in self.mails)


@dataclass(frozen=True, slots=True)
class TrialMail:
    """A mail that tries the mail server, and whether it has been handed over."""

    address: str
    language: str
    subject: str
    text: str
    sent: bool


def listed(session: Session, *, state: State | None, person: str | None, before: int | None = None, limit: int) -> list[MailView]:
    """Return mails, the newest first. Raises UnknownPerson, InvalidField."""
    number = None if person is None else person_named(session, person).id
    return listing.listed(session, state=state, person=number, before=before, limit=limit)


def wanted(house: House, numbers: Collection[int]) -> list[MailView]:
    """Return the mails that ``send`` would try: those with these numbers or, without any, all that are owed.

    Raises:
        UnknownNotice: there is none of a number.
    """
    with house.transactions.reading() as session:
        return _wanted(session, numbers)


def owe_again(session: Session, house: House, numbers: Collection[int]) -> list[MailView]:
    """Let mails be tried at once, in the session's transaction; the worker of a running service does it.

    Raises:
        NoticesNotConfigured: there is no mail server.
        UnknownNotice, NothingToSend: as ``listing.owe_again``.
    """
    house.notices.require()
    now = house.clock.now()
    if not numbers:
        mails = _wanted(session, numbers)
        listing.hasten(session, now=now)
        return mails
    if len(set(numbers)) > SENT_AT_ONCE:
        raise BadRequest(f"name {SENT_AT_ONCE} mails at most")
    mails = listing.owe_again(session, sorted(set(numbers)), now=now)
    for mail in mails:
        record(
            session, Event(house.actor, "notice.owed-again", f"notice:{mail.id}", details={"template": mail.template}), now=now
        )
    return mails


def send(house: House, numbers: Collection[int], progress: Progress | None = None) -> Tried:
    """Send mails now, and wait for what another worker has in hand. Raises as ``owe_again``.

    ``progress`` gets the mails done and those there are.
    """
    sender = house.notices.sender()
    mine = [mail.id for mail in house.transactions.write(lambda session: owe_again(session, house, numbers))]
    unavailable = ""
    until = time.monotonic() + _PATIENCE_SECONDS
    while (due := _due(house, mine)) and not unavailable and time.monotonic() < until:
        if progress is not None:
            progress(len(mine) - len(due), len(mine))
        batch = sender.run(due[:SENT_AT_ONCE])
        unavailable = batch.unavailable
        if batch.settled:
            until = time.monotonic() + _PATIENCE_SECONDS
        else:
            time.sleep(_LOOK_EVERY_SECONDS)
    return Tried(_views(house, mine), unavailable)


def try_out(house: House, address: str, *, template: str = TEST, language: str = "en", dry_run: bool = False) -> TrialMail:
    """Send a mail with made-up values straight to ``address``, past what is owed; a dry run only shows it.

    Raises:
        InvalidField, UnknownTemplate, BadTemplate: it cannot be written.
        NoticesNotConfigured, MailServerUnavailable, MailDeferred, MailRefused: it cannot be sent.
    """
    from notices.message import Letter, build  # noqa: PLC0415 - Jinja, which no other command needs

    recipient = normalise_email(address, field="address")
    kind = kind_named(template)
    words = house.notices.templates.render(kind, language, recipient, kind.values)
    written = TrialMail(recipient, words.language, words.subject, words.text, sent=not dry_run)
    if dry_run:
        return written
    house.notices.require()
    now = house.clock.now()
    letter = Letter(
        number=0,
        owed_at=now,
        address=recipient,
        name="",
        words=words,
        attachment=b"only a test\n" if kind.attached else None,
        attachment_name=kind.values.get("file", ""),
    )
    with closing(house.notices.client()) as client:
        client.send(build(house.notices.letterhead, letter))
    event = Event(house.actor, "notice.tested", "notice:0", details={"template": template, "address": recipient})
    house.transactions.write(lambda session: record(session, event, now=now))
    return written


def _wanted(session: Session, numbers: Collection[int]) -> list[MailView]:
    if not numbers:
        return listing.listed(session, only=listing.unsent(session)[:SENT_AT_ONCE], limit=SENT_AT_ONCE)
    return [listing.get(session, number) for number in sorted(set(numbers))]


def _due(house: House, numbers: Sequence[int]) -> list[int]:
    now = house.clock.now()
    return [mail.id for mail in _views(house, numbers) if mail.next_attempt is not None and mail.next_attempt <= now]


def _views(house: House, numbers: Sequence[int]) -> list[MailView]:
    with house.transactions.reading() as session:
        return listing.listed(session, only=numbers, limit=len(numbers))
