"""Sending what is owed: a batch of mails at a time, each settled as soon as the mail server has answered.

Between the server's answer and the settlement anything may be killed. So a mail is sent at least once, and in rare cases twice:
then under the same Message-ID and with the same bytes, by which servers and mailboxes know it.

A failure of the server itself postpones everything that is owed; a failure of one mail postpones that mail.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import Session

from audit.log import Actor, Event, record
from foundation.clock import Clock
from foundation.due import held
from foundation.errors import SignetryError
from foundation.transactions import Transactions
from notices import outbox
from notices.errors import MailDeferred, MailServerUnavailable
from notices.kinds import kind_named
from notices.message import Letter, Letterhead, build
from notices.outbox import Claim
from notices.outcome import Outcome, OutcomeListener
from notices.records import OwedNotice
from notices.rendering import Templates
from notices.server import MailClient

_log = structlog.get_logger("notices")

# Rows of one batch; each may carry a file.
_BATCH = 20
# What is left over is left to the next batch, so that a worker that is to stop is not held up.
_SEND_FOR = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of a batch: mails that were sent, that are tried again, and that are not."""

    sent: int = 0
    deferred: int = 0
    given_up: int = 0
    # Why the server cannot be used, where that ended the batch.
    unavailable: str = ""

    @property
    def settled(self) -> int:
        """How many rows were worked off."""
        return self.sent + self.deferred + self.given_up

    def __add__(self, other: "Batch") -> "Batch":
        return Batch(
            self.sent + other.sent,
            self.deferred + other.deferred,
            self.given_up + other.given_up,
            self.unavailable or other.unavailable,
        )


_SENT, _DEFERRED, _GIVEN_UP, _NOT_OURS = Batch(sent=1), Batch(deferred=1), Batch(given_up=1), Batch()


class Sender:
    """Sends what is owed; one thread at a time runs it.

    Args:
        connect: makes a client, which connects when it is used.
        transactions, clock, actor: what it works with, and in whose name.
        head: who writes.
        templates: makes the words of mails; it is asked for once there is something to send.
        give_up_after: for how long a mail is tried.
        listeners: told of every mail with a reference that is sent or given up, in the transaction that notes it.
    """

    def __init__(
        self,
        connect: Callable[[], MailClient],
        transactions: Transactions,
        clock: Clock,
        actor: Actor,
        *,
        head: Letterhead,
        templates: Templates,
        give_up_after: timedelta,
        listeners: Sequence[OutcomeListener] = (),
    ) -> None:
        self._connect = connect
        self._transactions = transactions
        self._clock = clock
        self._actor = actor
        self._head = head
        self._templates = templates
        self._give_up_after = give_up_after
        self._listeners = listeners

    def next_due(self, session: Session) -> datetime | None:
        """Return when ``run`` will next find something to do, which may be past; None when nothing is owed."""
        return outbox.next_due(session, self._clock.now())

    def run(self, only: Collection[int] | None = None) -> Batch:
        """Work off a batch of what is due; ``only`` names the mails that are wanted."""
        now = self._clock.now()
        claims = self._transactions.write(lambda session: outbox.claim_due(session, now=now, limit=_BATCH, only=only))
        if not claims:
            return Batch()
        client = self._connect()
        left = list(claims)
        batch = Batch()
        try:
            with held(self._transactions, self._clock, OwedNotice, claims[0].token):
                while left and self._clock.now() < now + _SEND_FOR:
                    batch += self._work_off(left[0], client)
                    left.pop(0)
        except MailServerUnavailable as error:
            self._postpone(left, str(error))
            return Batch(batch.sent, batch.deferred, batch.given_up, str(error))
        finally:
            client.close()
            self._transactions.write(lambda session: outbox.release(session, left))
        return batch

    def _work_off(self, claimed: Claim, client: MailClient) -> Batch:
        reason = self._needless(claimed)
        if reason:
            return self._give_up(claimed, reason, forget=True)
        try:
            client.send(build(self._head, self._letter(claimed)))
        except MailServerUnavailable:
            raise
        except MailDeferred as error:
            return self._defer(claimed, str(error))
        except SignetryError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a defect that one mail brings out must not keep the others waiting
            _log.error("mail not sent", notice=claimed.row_id, template=claimed.template, exc_info=error)
            reason = f"something unexpected happened ({type(error).__name__}); the log of the time says more"
        else:
            return self._sent(claimed)
        return self._give_up(claimed, reason, forget=False)

    def _needless(self, claimed: Claim) -> str:
        """Return why a mail is of no use any more; nothing where it is."""
        if claimed.is_gone:
            return "the person has left"
        with self._transactions.reading() as session:
            until = outbox.good_until(session, claimed)
        if until is not None and until <= self._clock.now():
            return "it could not be sent while it was of use"
        return ""

    def _letter(self, claimed: Claim) -> Letter:
        words = self._templates.render(kind_named(claimed.template), claimed.language, claimed.name, claimed.values)
        return Letter(
            number=claimed.row_id,
            owed_at=claimed.owed_at,
            address=claimed.address,
            name="" if claimed.name == claimed.address else claimed.name,
            words=words,
            attachment=claimed.attachment,
            attachment_name=claimed.attachment_name,
        )

    def _sent(self, claimed: Claim) -> Batch:
        def settle(session: Session) -> bool:
            now = self._clock.now()
            if claimed.reference:
                outbox.hold(session, claimed.reference)
            settled = outbox.settle_sent(session, claimed, now=now)
            if settled:
                record(session, self._event(claimed, "notice.sent"), now=now)
                self._tell(session, claimed, is_sent=True)
            return settled

        return _SENT if self._transactions.write(settle) else _NOT_OURS

    def _defer(self, claimed: Claim, error: str) -> Batch:
        now = self._clock.now()
        if now - claimed.owed_at > self._give_up_after:
            return self._give_up(claimed, error, forget=False)
        settled = self._transactions.write(lambda session: outbox.settle_deferred(session, claimed, error, now=now))
        return _DEFERRED if settled else _NOT_OURS

    def _give_up(self, claimed: Claim, error: str, *, forget: bool) -> Batch:
        def settle(session: Session) -> bool:
            if claimed.reference:
                outbox.hold(session, claimed.reference)
            # Whoever is told draws conclusions, and the mail must not go out after all.
            settled = outbox.settle_given_up(session, claimed, error, forget=forget or bool(claimed.reference))
            if settled:
                record(session, self._event(claimed, "notice.given-up", error), now=self._clock.now())
                self._tell(session, claimed, is_sent=False)
            return settled

        if not self._transactions.write(settle):
            return _NOT_OURS
        _log.warning("mail given up", notice=claimed.row_id, template=claimed.template, reason=error)
        return _GIVEN_UP

    def _tell(self, session: Session, claimed: Claim, *, is_sent: bool) -> None:
        if not claimed.reference:
            return
        unsent = outbox.unsent_of(session, claimed.reference)
        for listener in self._listeners:
            listener(session, Outcome(claimed.row_id, claimed.reference, is_sent, unsent))

    def _postpone(self, left: list[Claim], error: str) -> None:
        """Let what is owed wait for the server; what has waited too long is given up."""
        now = self._clock.now()
        over = [claimed for claimed in left if now - claimed.owed_at > self._give_up_after]
        for claimed in over:
            self._give_up(claimed, error, forget=False)
            left.remove(claimed)
        until = self._transactions.write(lambda session: outbox.postpone_all(session, left, error, now=now))
        left.clear()
        _log.error("mails cannot be sent", reason=error, again_at=until.isoformat())

    def _event(self, claimed: Claim, action: str, error: str = "") -> Event:
        details = {"notice": claimed.row_id, "template": claimed.template, "address": claimed.address}
        if claimed.reference:
            details["reference"] = claimed.reference
        subject = f"notice:{claimed.row_id}" if claimed.person is None else f"person:{claimed.person}"
        if error:
            return Event(self._actor, action, subject, outcome="failed", details={**details, "error": error})
        return Event(self._actor, action, subject, details=details)
