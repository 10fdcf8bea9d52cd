"""Mails to persons, as the installation is configured to send them: owed here, sent by the worker.

With no mail server configured nobody is told of anything: ``owe`` then leaves a word in the audit record instead, and what
consists in a mail (a delivery by mail) is to ask ``require`` first.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlmodel import Session

from audit.log import Actor, Event, record
from foundation.clock import Clock
from foundation.transactions import Transactions
from notices import listing, outbox
from notices.errors import NoticesNotConfigured
from notices.outbox import Notice
from notices.outcome import OutcomeListener
from notices.server import MailServer
from notices.smtp import SmtpClient
from people.persons import get_person
from signetry.files import read_secret
from signetry.jobs import Job
from signetry.notice_settings import NoticeSettings

if TYPE_CHECKING:
    # Jinja takes longer to import than a command takes to run, and hardly any command writes mails.
    from notices.message import Letterhead
    from notices.rendering import Templates
    from notices.sending import Sender

_SWEPT_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class Notices:
    """The mails of an installation.

    ``public_url`` says by what name mail servers may know this machine. ``listeners`` are told what became of mails with a
    reference, in the transaction that notes it.
    """

    settings: NoticeSettings
    transactions: Transactions
    clock: Clock
    actor: Actor
    public_url: str
    listeners: tuple[OutcomeListener, ...] = ()

    @property
    def is_configured(self) -> bool:
        """Whether there is a mail server."""
        return self.settings.is_configured

    def require(self) -> None:
        """Return if mails can be sent.

        Raises:
            NoticesNotConfigured: no mail server is configured.
        """
        if not self.is_configured:
            raise NoticesNotConfigured("no mail server is configured: see the section notices of the settings")

    def owe(
        self,
        session: Session,
        person_id: int,
        template: str,
        values: Mapping[str, str | datetime | int],
        *,
        attachment: bytes | None = None,
        attachment_name: str = "",
        good_until: datetime | None = None,
        reference: str = "",
    ) -> bool:
        """Owe a person a mail, in the transaction of what it tells of; return whether one is owed.

        The mail goes to the person's primary address, in the person's language where there are words in it. Where no mail server
        is configured nothing is owed, and the audit record says so (``notice.not-owed``).

        Args:
            session: a writing transaction.
            person_id: to whom.
            template: which mail (``notices.kinds``).
            values: what it is made of, the kind's values, ``file`` excepted; points in time as they are.
            attachment: the file that goes with it, of a kind that has one.
            attachment_name: what that is called, letters, digits, dot, hyphen and underscore.
            good_until: when the mail would be of no use any more, and is not sent.
            reference: what it belongs to, for the listeners; 60 characters at most.

        Raises:
            UnknownPerson: there is no person of this number.
            UnknownTemplate, BadNotice: the caller's mistake.
        """
        person = get_person(session, person_id)
        now = self.clock.now()
        if not self.is_configured:
            details = {"template": template, "reason": "no mail server is configured"}
            event = Event(self.actor, "notice.not-owed", f"person:{person_id}", outcome="failed", details=details)
            record(session, event, now=now)
            return False
        given = {name: value.isoformat() if isinstance(value, datetime) else str(value) for name, value in values.items()}
        notice = Notice(
            template=template,
            address=person.email,
            language=person.language,
            values=given,
            person=person_id,
            attachment=attachment,
            attachment_name=attachment_name,
            good_until=good_until,
            reference=reference,
        )
        outbox.owe(session, notice, now=now)
        return True

    @cached_property
    def templates(self) -> "Templates":
        """The words of mails."""
        from notices.rendering import Templates  # noqa: PLC0415 - as above

        settings = self.settings
        return Templates(settings.templates, ZoneInfo(settings.time_zone), settings.sender_name, settings.contact)

    @property
    def letterhead(self) -> "Letterhead":
        """Who writes."""
        from notices.message import Letterhead  # noqa: PLC0415 - as above

        return Letterhead(self.settings.sender, self.settings.sender_name, self.settings.reply_to)

    @property
    def server(self) -> MailServer:
        """The mail server; its password is read whenever somebody logs on, not before."""
        settings = self.settings
        return MailServer(
            host=settings.host,
            port=settings.server_port,
            security=settings.security,
            hello=_hello(self.public_url),
            user=settings.user,
            password=self._password,
            ca_file=settings.ca_file,
            timeout_seconds=settings.timeout_seconds,
        )

    def client(self) -> SmtpClient:
        """Return what hands mails to the server, for the caller to close."""
        return SmtpClient(self.server)

    def sender(self) -> "Sender":
        """Return what sends the mails that are owed. Raises NoticesNotConfigured."""
        from notices.sending import Sender  # noqa: PLC0415 - as above

        self.require()
        return Sender(
            self.client,
            self.transactions,
            self.clock,
            self.actor,
            head=self.letterhead,
            templates=self.templates,
            give_up_after=timedelta(hours=self.settings.give_up_after_hours),
            listeners=self.listeners,
        )

    def jobs(self) -> list[Job]:
        """Return what the worker does: it sends where there is a mail server, and forgets in any case."""
        jobs = [Job("notices-swept", run=self.sweep, every=_SWEPT_EVERY)]
        if self.is_configured:
            sender = self.sender()
            jobs.append(Job("notices", run=lambda: sender.run().settled, next_due=sender.next_due))
        return jobs

    def sweep(self) -> int:
        """Forget mails whose time is up; return how many."""
        now = self.clock.now()
        # Counted from the end of the time in which a mail may be tried.
        kept = timedelta(days=self.settings.keep_days, hours=self.settings.give_up_after_hours)
        return self.transactions.write(lambda session: listing.sweep(session, ended_before=now - kept, now=now))

    def _password(self) -> str:
        path = self.settings.password_file
        return "" if path is None else read_secret(path, "notices.password_file").decode()


def _hello(public_url: str) -> str:
    """Return what this machine calls itself before mail servers: the host of ``public_url``, an address in brackets."""
    host = urlsplit(public_url).hostname or "localhost"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    # RFC 5321 section 4.1.3.
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004 - the version of the protocol
