"""What became of mails: listed without what they say, tried again, forgotten in time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from notices import listing
from notices.errors import MailDeferred, MailRefused, NothingToSend, UnknownNotice
from notices.listing import Backlog, State
from notices.sending import Batch
from signetry.database import Database
from tests.clocks import ManualClock
from tests.notices.sending import LINK, PROBE, WITH_FILE, FakeServer, owed, row, sender_to
from tests.people.samples import TARO, added


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def one_of_each(store: Database, clock: ManualClock, server: FakeServer) -> dict[State, int]:
    """Make a mail in each state, in this order."""

    def instead(mail: object) -> None:
        if "deferred" in str(mail):
            raise MailDeferred("later")
        if "refused" in str(mail):
            raise MailRefused("never")

    server.instead = instead
    numbers = {
        State.SENT: owed(store, clock, WITH_FILE),
        State.DEFERRED: owed(store, clock, replace(PROBE, address="deferred@example.com")),
        State.GIVEN_UP: owed(store, clock, replace(LINK, address="refused@example.com")),
    }
    assert sender_to(server, store, clock).run() == Batch(1, 1, 1)
    clock.advance(seconds=10)
    numbers[State.WAITING] = owed(store, clock)
    return numbers


def test_mails_are_listed_the_newest_first_and_by_state(store: Database, clock: ManualClock, server: FakeServer) -> None:
    numbers = one_of_each(store, clock, server)
    with store.reading() as session:
        assert [mail.id for mail in listing.listed(session)] == sorted(numbers.values(), reverse=True)
        for state, number in numbers.items():
            (mail,) = listing.listed(session, state=state)
            assert (mail.id, mail.state) == (number, state)
            assert LINK.values["link"] not in repr(mail)
        assert [mail.id for mail in listing.listed(session, before=numbers[State.WAITING], limit=1)] == [numbers[State.GIVEN_UP]]
        assert listing.unsent(session) == [numbers[State.DEFERRED], numbers[State.WAITING]]
        assert listing.backlog(session) == Backlog(waiting=2, deferred=1, given_up=1, oldest=clock.now() - timedelta(seconds=10))


def test_a_persons_mails_are_found(store: Database, clock: ManualClock) -> None:
    person = added(store, TARO)
    number = owed(store, clock, replace(LINK, person=person.id))
    owed(store, clock)
    with store.reading() as session:
        (mail,) = listing.listed(session, person=person.id)
    assert (mail.id, mail.person) == (number, TARO.upn)


def test_there_is_no_backlog_where_nothing_is_owed(store: Database) -> None:
    with store.reading() as session:
        assert listing.backlog(session) == Backlog(0, 0, 0, None)


def test_what_was_given_up_is_tried_again_as_if_it_were_new(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = one_of_each(store, clock, server)[State.GIVEN_UP]
    server.instead = lambda _mail: None
    clock.advance(days=10)
    (mail,) = store.write(lambda session: listing.owe_again(session, [number], now=clock.now()))
    assert (mail.state, mail.owed_at, mail.failures) == (State.WAITING, clock.now(), 0)
    assert sender_to(server, store, clock).run(only=[number]) == Batch(sent=1)


def test_what_waits_is_tried_at_once(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = one_of_each(store, clock, server)[State.DEFERRED]
    (mail,) = store.write(lambda session: listing.owe_again(session, [number], now=clock.now()))
    assert mail.next_attempt == clock.now()
    assert mail.failures == 1


def test_what_is_sent_or_of_no_use_is_not_tried_again(store: Database, clock: ManualClock, server: FakeServer) -> None:
    numbers = one_of_each(store, clock, server)
    over = owed(store, clock, replace(LINK, good_until=clock.now()))
    sender_to(server, store, clock).run(only=[over])
    for number, complaint in ((numbers[State.SENT], "has been sent"), (over, "its words are gone")):
        with pytest.raises(NothingToSend, match=complaint):
            store.write(lambda session, number=number: listing.owe_again(session, [number], now=clock.now()))  # type: ignore[misc]
    with pytest.raises(UnknownNotice):
        store.write(lambda session: listing.owe_again(session, [numbers[State.WAITING], 4711], now=clock.now()))


def test_what_has_ended_is_forgotten_and_what_is_owed_is_not(store: Database, clock: ManualClock, server: FakeServer) -> None:
    numbers = one_of_each(store, clock, server)
    clock.advance(days=33)
    before = clock.now() - timedelta(days=33)
    assert store.write(lambda session: listing.sweep(session, ended_before=before, now=clock.now())) == 2
    with store.reading() as session:
        assert {mail.id for mail in listing.listed(session)} == {numbers[State.DEFERRED], numbers[State.WAITING]}


def test_a_link_that_has_expired_does_not_lie_about(store: Database, clock: ManualClock, server: FakeServer) -> None:
    number = owed(store, clock, replace(LINK, good_until=clock.now() + timedelta(hours=24)))

    def refused(_mail: object) -> None:
        raise MailRefused("never")

    server.instead = refused
    sender_to(server, store, clock).run()
    for hours, values in ((23, LINK.values), (1, {})):
        clock.advance(hours=hours)
        now = clock.now()
        assert store.write(lambda session, now=now: listing.sweep(session, ended_before=now - timedelta(days=30), now=now)) == 0  # type: ignore[misc]
        assert row(store, number).values == values
