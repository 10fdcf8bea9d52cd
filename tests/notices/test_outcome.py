"""Those whose affair a mail is are told what became of it: once, and with it or not at all."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import Session

from foundation.errors import SignetryError
from notices import listing, outbox
from notices.errors import MailRefused, NothingToSend
from notices.listing import State
from notices.outbox import Notice
from notices.outcome import Outcome
from notices.sending import Batch
from notices.server import OutgoingMail
from signetry.database import Database
from tests.clocks import ManualClock
from tests.notices.sending import PROBE, WITH_FILE, FakeServer, events, owed, row, sender_to

AFFAIR = replace(WITH_FILE, reference="affair:7")
OTHER = replace(WITH_FILE, reference="affair:70")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


class Told:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def __call__(self, _session: Session, outcome: Outcome) -> None:
        """Remember."""
        self.outcomes.append(outcome)


def owed_later(store: Database, clock: ManualClock, notice: Notice) -> int:
    """Owe a mail a second after all others: they are sent in that order."""
    clock.advance(seconds=1)
    return owed(store, clock, notice)


def refuse(_mail: OutgoingMail) -> None:
    raise MailRefused("550 no such user")


def state_of(store: Database, number: int) -> State:
    with store.reading() as session:
        return listing.get(session, number).state


def test_they_are_told_of_each_mail_and_how_many_are_left(store: Database, clock: ManualClock, server: FakeServer) -> None:
    first, second, _, _ = (owed_later(store, clock, notice) for notice in (AFFAIR, AFFAIR, OTHER, PROBE))
    told = Told()
    assert sender_to(server, store, clock, told).run() == Batch(sent=4)
    assert [each for each in told.outcomes if each.reference == "affair:7"] == [
        Outcome(first, "affair:7", is_sent=True, unsent=1),
        Outcome(second, "affair:7", is_sent=True, unsent=0),
    ]
    assert {each.reference for each in told.outcomes} == {"affair:7", "affair:70"}
    assert [event.details.get("reference") for event in events(store)] == ["affair:7", "affair:7", "affair:70", None]


def test_what_somebody_was_told_is_given_up_is_gone_for_good(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, AFFAIR)
    server.instead = refuse
    told = Told()
    assert sender_to(server, store, clock, told).run() == Batch(given_up=1)
    assert told.outcomes == [Outcome(number, "affair:7", is_sent=False, unsent=1)]
    assert (row(store, number).values, row(store, number).attachment) == ({}, None)
    with pytest.raises(NothingToSend, match="its words are gone"):
        store.write(lambda session: listing.owe_again(session, [number], now=clock.now()))


def test_they_are_told_of_what_could_not_be_sent_in_time(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, replace(AFFAIR, good_until=clock.now() + timedelta(hours=1)))
    clock.advance(hours=1)
    told = Told()
    assert sender_to(server, store, clock, told).run() == Batch(given_up=1)
    assert told.outcomes == [Outcome(number, "affair:7", is_sent=False, unsent=1)]
    assert server.taken == []


def test_what_they_do_is_done_with_the_mails_note_or_not_at_all(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, AFFAIR)

    def fail(session: Session, _outcome: Outcome) -> None:
        outbox.owe(session, PROBE, now=clock.now())
        raise SignetryError("and then it fails")

    with pytest.raises(SignetryError, match="then it fails"):
        sender_to(server, store, clock, fail).run()
    assert state_of(store, number) is State.WAITING
    with store.reading() as session:
        assert len(listing.listed(session)) == 1


class _KilledError(BaseException):
    """As if the process ended here."""


def test_of_a_mail_that_is_sent_twice_after_a_crash_they_are_told_once(
    store: Database, clock: ManualClock, server: FakeServer
) -> None:
    owed(store, clock, AFFAIR)

    def killed(mail: OutgoingMail) -> None:
        server.taken.append(mail)
        raise _KilledError

    server.instead = killed
    told = Told()
    sender = sender_to(server, store, clock, told)
    with pytest.raises(_KilledError):
        sender.run()
    assert told.outcomes == []
    server.instead = lambda _mail: None
    clock.advance(minutes=3)
    assert sender.run() == Batch(sent=1)
    assert len(server.taken) == 2
    assert len(told.outcomes) == 1


def test_what_is_called_off_is_not_sent_and_its_file_is_gone(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number, other = owed(store, clock, AFFAIR), owed(store, clock, OTHER)
    store.write(lambda session: outbox.call_off(session, ["affair:7"], now=clock.now()))
    assert sender_to(server, store, clock).run() == Batch(sent=1, given_up=1)
    assert (state_of(store, number), state_of(store, other)) == (State.GIVEN_UP, State.SENT)
    assert row(store, number).attachment is None


def test_what_waits_for_another_attempt_is_called_off_at_once(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, AFFAIR)
    (claimed,) = store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=1))
    store.write(lambda session: outbox.settle_deferred(session, claimed, "later", now=clock.now()))
    store.write(lambda session: outbox.call_off(session, ["affair:7"], now=clock.now()))
    assert sender_to(server, store, clock).run() == Batch(given_up=1)
    assert state_of(store, number) is State.GIVEN_UP


def test_what_is_called_off_after_it_was_claimed_is_not_sent_either(
    store: Database, clock: ManualClock, server: FakeServer
) -> None:
    first, second = owed_later(store, clock, OTHER), owed_later(store, clock, AFFAIR)

    def meanwhile(_mail: OutgoingMail) -> None:
        store.write(lambda session: outbox.call_off(session, ["affair:7"], now=clock.now()))

    server.instead = meanwhile
    assert sender_to(server, store, clock).run() == Batch(sent=1, given_up=1)
    assert (state_of(store, first), state_of(store, second)) == (State.SENT, State.GIVEN_UP)
    assert len(server.taken) == 1


def test_what_has_been_sent_is_not_called_off(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, AFFAIR)
    sender = sender_to(server, store, clock)
    sender.run()
    store.write(lambda session: outbox.call_off(session, ["affair:7"], now=clock.now()))
    assert sender.run() == Batch()
    assert (state_of(store, number), row(store, number).good_until) == (State.SENT, None)


def test_of_two_that_are_sent_at_once_one_is_the_last(store: Database, clock: ManualClock) -> None:
    """Two workers, each with a mail of its own in the hands of the server until the other is as far."""
    numbers = [owed(store, clock, AFFAIR), owed(store, clock, AFFAIR)]
    both = threading.Barrier(2, timeout=20)
    told = Told()

    def wait(_mail: OutgoingMail) -> None:
        both.wait()

    def work(number: int) -> None:
        server = FakeServer()
        server.instead = wait
        sender_to(server, store, clock, told).run(only=[number])

    workers = [threading.Thread(target=work, args=(number,)) for number in numbers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(each.unsent for each in told.outcomes) == [0, 1]
