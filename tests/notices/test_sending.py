"""Sending what is owed: each mail once it can be, none lost, none twice but after a crash, and then as the same mail."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from notices.errors import MailDeferred, MailRefused, MailServerUnavailable
from notices.listing import State, get
from notices.sending import Batch
from notices.server import OutgoingMail
from people.persons import deactivate_person
from signetry.database import Database
from tests.clocks import ManualClock
from tests.notices.sending import LINK, PROBE, WITH_FILE, FakeServer, events, owed, row, sender_to
from tests.people.samples import ACTOR, ALICE, TARO, added


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def refusing(error: Exception, address: str = "") -> Callable[[OutgoingMail], None]:
    def instead(mail: OutgoingMail) -> None:
        if address in mail.recipient:
            raise error

    return instead


def state_of(store: Database, number: int) -> State:
    with store.reading() as session:
        return get(session, number).state


def test_a_mail_is_sent_recorded_and_forgotten(store: Database, clock: ManualClock, server: FakeServer) -> None:
    person = added(store, TARO)
    number = owed(store, clock, replace(LINK, person=person.id))
    sender = sender_to(server, store, clock)
    assert sender.run() == Batch(sent=1)
    assert sender.run() == Batch()
    (message,) = server.messages
    assert message["To"].addresses[0].addr_spec == TARO.email
    assert LINK.values["link"] in message.get_content()
    assert "山田 太郎 様" in message.get_content()
    kept = row(store, number)
    assert (kept.sent_at, kept.due_at, kept.values, kept.error) == (clock.now(), None, {}, "")
    assert kept.lease_token is None
    (event,) = events(store)
    assert (event.action, event.subject, event.actor) == ("notice.sent", f"person:{person.id}", "worker")
    assert event.details == {"notice": number, "template": "delivery-link", "address": TARO.email}
    assert server.closed == 1


def test_a_file_is_forgotten_once_it_is_sent(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, WITH_FILE)
    assert row(store, number).attachment == WITH_FILE.attachment
    sender_to(server, store, clock).run()
    (attachment,) = server.messages[0].iter_attachments()
    assert attachment.get_content() == WITH_FILE.attachment
    assert row(store, number).attachment is None


def test_greylisting_delays_one_mail_and_no_other(store: Database, clock: ManualClock, server: FakeServer) -> None:
    first, second = owed(store, clock), owed(store, clock, replace(PROBE, address="hanako@example.com"))
    sender = sender_to(server, store, clock)
    server.instead = refusing(MailDeferred("it answers 451 greylisted"), "taro")
    assert sender.run() == Batch(sent=1, deferred=1)
    assert (state_of(store, first), state_of(store, second)) == (State.DEFERRED, State.SENT)
    assert row(store, first).error == "it answers 451 greylisted"
    with store.reading() as session:
        assert sender.next_due(session) == clock.now() + timedelta(minutes=1)
    assert sender.run() == Batch()
    clock.advance(minutes=1)
    server.instead = lambda _mail: None
    assert sender.run() == Batch(sent=1)
    assert row(store, first).error == ""


def test_what_is_refused_for_good_is_given_up_and_can_be_looked_up(
    store: Database, clock: ManualClock, server: FakeServer
) -> None:
    number = owed(store, clock, LINK)
    server.instead = refusing(MailRefused("it answers 550 5.1.1 no such user"))
    with capture_logs() as logged:
        assert sender_to(server, store, clock).run() == Batch(given_up=1)
    assert state_of(store, number) is State.GIVEN_UP
    assert row(store, number).values == LINK.values
    (event,) = events(store)
    assert (event.action, event.outcome, event.subject) == ("notice.given-up", "failed", f"notice:{number}")
    assert "550 5.1.1" in event.details["error"]
    assert LINK.values["link"] not in repr(logged)


def test_a_mail_is_tried_for_three_days(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock)
    begun = clock.now()
    sender = sender_to(server, store, clock)
    server.instead = refusing(MailDeferred("later"))
    attempts = 0
    while state_of(store, number) is not State.GIVEN_UP:
        due = row(store, number).due_at
        assert due is not None
        clock.set(due)
        attempts += sender.run().settled
        assert attempts < 100
    assert timedelta(hours=72) < clock.now() - begun < timedelta(hours=74)


def test_a_server_that_is_down_postpones_everything_with_one_attempt(
    store: Database, clock: ManualClock, server: FakeServer
) -> None:
    numbers = [owed(store, clock, replace(PROBE, address=f"p{number}@example.com")) for number in range(30)]
    tried: list[OutgoingMail] = []

    def down(mail: OutgoingMail) -> None:
        tried.append(mail)
        raise MailServerUnavailable("the mail server mx:587: connection refused")

    server.instead = down
    sender = sender_to(server, store, clock)
    batch = sender.run()
    assert batch == Batch(unavailable="the mail server mx:587: connection refused")
    assert len(tried) == 1
    assert {state_of(store, number) for number in numbers} == {State.DEFERRED}
    with store.reading() as session:
        assert sender.next_due(session) == clock.now() + timedelta(minutes=1)
    clock.advance(minutes=1)
    assert sender.run().unavailable
    with store.reading() as session:
        assert sender.next_due(session) == clock.now() + timedelta(minutes=2)
    server.instead = lambda _mail: None
    clock.advance(minutes=2)
    while sender.run().settled:
        pass
    assert len(server.taken) == 30


def test_a_server_that_goes_down_in_between_keeps_what_it_took(store: Database, clock: ManualClock, server: FakeServer) -> None:
    first, second = owed(store, clock), owed(store, clock, replace(PROBE, address="hanako@example.com"))
    server.instead = refusing(MailServerUnavailable("421 closing"), "hanako")
    assert sender_to(server, store, clock).run() == Batch(sent=1, unavailable="421 closing")
    assert (state_of(store, first), state_of(store, second)) == (State.SENT, State.DEFERRED)


def test_a_server_that_stays_down_is_waited_for_three_days(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock)
    clock.advance(hours=73)
    server.instead = refusing(MailServerUnavailable("down"))
    sender_to(server, store, clock).run()
    assert state_of(store, number) is State.GIVEN_UP


def test_what_is_of_no_use_any_more_is_not_sent(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, replace(LINK, good_until=clock.now() + timedelta(hours=1)))
    clock.advance(hours=1)
    assert sender_to(server, store, clock).run() == Batch(given_up=1)
    assert server.taken == []
    assert row(store, number).values == {}


def test_who_has_left_gets_no_mail(store: Database, clock: ManualClock, server: FakeServer) -> None:
    person = added(store, ALICE)
    number = owed(store, clock, replace(WITH_FILE, person=person.id))
    store.write(lambda session: deactivate_person(session, person.id, actor=ACTOR, now=clock.now()))
    assert sender_to(server, store, clock).run() == Batch(given_up=1)
    assert server.taken == []
    assert row(store, number).attachment is None
    assert row(store, number).error == "the person has left"


def test_a_defect_of_ours_stops_one_mail_and_no_other(store: Database, clock: ManualClock, server: FakeServer) -> None:
    first, second = owed(store, clock), owed(store, clock, replace(PROBE, address="hanako@example.com"))
    server.instead = refusing(ZeroDivisionError("oops"), "taro")
    with capture_logs():
        assert sender_to(server, store, clock).run() == Batch(sent=1, given_up=1)
    assert (state_of(store, first), state_of(store, second)) == (State.GIVEN_UP, State.SENT)
    assert "ZeroDivisionError" in row(store, first).error


class _KilledError(BaseException):
    """As if the process ended here."""


def test_after_a_crash_it_is_the_same_mail_that_is_sent_again(store: Database, clock: ManualClock, server: FakeServer) -> None:
    """The server has taken it, and nobody lived to write that down."""
    owed(store, clock, WITH_FILE)
    sender = sender_to(server, store, clock)

    def killed(mail: OutgoingMail) -> None:
        server.taken.append(mail)
        raise _KilledError

    server.instead = killed
    with pytest.raises(_KilledError):
        sender.run()
    server.instead = lambda _mail: None
    clock.advance(minutes=3)
    assert sender.run() == Batch(sent=1)
    first, second = server.taken
    assert first == second
    assert sender.run() == Batch()


def test_what_another_worker_took_over_meanwhile_is_that_ones(store: Database, clock: ManualClock, server: FakeServer) -> None:
    """The process was stopped for longer than a lease while the server answered."""
    number = owed(store, clock)
    other = FakeServer()

    def stopped(_mail: OutgoingMail) -> None:
        server.instead = lambda _mail: None
        clock.advance(minutes=5)
        assert sender_to(other, store, clock).run() == Batch(sent=1)

    server.instead = stopped
    assert sender_to(server, store, clock).run() == Batch()
    assert state_of(store, number) is State.SENT
    assert [event.action for event in events(store)] == ["notice.sent"]
    assert server.taken == other.taken


def test_only_what_is_wanted_is_sent(store: Database, clock: ManualClock, server: FakeServer) -> None:
    first, second = owed(store, clock), owed(store, clock)
    assert sender_to(server, store, clock).run(only=[second]) == Batch(sent=1)
    assert (state_of(store, first), state_of(store, second)) == (State.WAITING, State.SENT)
