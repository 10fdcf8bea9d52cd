"""A mail server in memory, and what sends to it."""

from datetime import UTC, timedelta
from email import message_from_string, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

from sqlmodel import Session, select

from audit.log import Actor
from audit.records import AuditEvent
from notices import outbox
from notices.kinds import DELIVERY_LINK, DELIVERY_MAIL, TEST, kind_named
from notices.message import Letterhead
from notices.outbox import Notice
from notices.outcome import OutcomeListener
from notices.records import OwedNotice
from notices.rendering import Templates
from notices.sending import Sender
from notices.server import OutgoingMail
from signetry.database import Database
from tests.clocks import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = Actor("worker")
HEAD = Letterhead("pki@example.com", "Example PKI")
GIVE_UP_AFTER = timedelta(hours=72)
LINK = Notice(template=DELIVERY_LINK, address="taro@example.com", language="ja", values=dict(kind_named(DELIVERY_LINK).values))
PROBE = Notice(template=TEST, address="taro@example.com")
WITH_FILE = Notice(
    template=DELIVERY_MAIL,
    address="taro@example.com",
    values={"device": "", "keys": "2"},
    attachment=b"\x30\x82file",
    attachment_name="taro.p12",
)


class FakeServer:
    """``notices.server.MailClient``: keeps what it is handed, or does what it is told instead."""

    def __init__(self) -> None:
        self.taken: list[OutgoingMail] = []
        self.closed = 0
        self.instead: Callable[[OutgoingMail], None] = lambda _mail: None

    def send(self, mail: OutgoingMail) -> None:
        """Keep the mail, unless something else is to be done."""
        self.instead(mail)
        self.taken.append(mail)

    def check(self) -> str:
        """Return a name."""
        return "fake"

    def close(self) -> None:
        """Count."""
        self.closed += 1

    @property
    def messages(self) -> list[EmailMessage]:
        """What it was handed, parsed."""
        return [message_from_string(mail.content.decode(), policy=policy.default) for mail in self.taken]


def sender_to(server: FakeServer, store: Database, clock: ManualClock, *listeners: OutcomeListener) -> Sender:
    return Sender(
        lambda: server,
        store,
        clock,
        WORKER,
        head=HEAD,
        templates=Templates(None, UTC, "Example PKI"),
        give_up_after=GIVE_UP_AFTER,
        listeners=listeners,
    )


def owed(store: Database, clock: ManualClock, notice: Notice = PROBE) -> int:
    return store.write(lambda session: outbox.owe(session, notice, now=clock.now()))


def row(store: Database, number: int) -> OwedNotice:
    def read(session: Session) -> OwedNotice:
        found = session.get_one(OwedNotice, number)
        session.expunge(found)
        return found

    with store.reading() as session:
        return read(session)


def events(store: Database) -> list[AuditEvent]:
    with store.reading() as session:
        found = [each for each in session.exec(select(AuditEvent)) if each.action.startswith("notice.")]
        session.expunge_all()
        return found
