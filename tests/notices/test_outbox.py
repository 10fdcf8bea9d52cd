"""What may be owed, and who may claim it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from foundation.due import LEASE
from notices import outbox
from notices.errors import BadNotice, UnknownTemplate
from notices.outbox import MAX_ATTACHMENT, MAX_REFERENCE, MAX_VALUE, Notice
from signetry.database import Database
from tests.clocks import ManualClock
from tests.notices.sending import LINK, PROBE, WITH_FILE, owed, row
from tests.people.samples import TARO, added


@pytest.mark.parametrize(
    ("notice", "complaint"),
    [
        (replace(LINK, values={}), "see device"),
        (replace(LINK, values={**LINK.values, "extra": "x"}), "see extra"),
        (replace(LINK, values={**LINK.values, "link": "x" * (MAX_VALUE + 1)}), "longer than"),
        (replace(LINK, attachment=b"x", attachment_name="x.p12"), "goes without a file"),
        (replace(PROBE, reference="x" * (MAX_REFERENCE + 1)), "60 characters at most"),
        (replace(WITH_FILE, attachment=None), "goes with a file"),
        (replace(WITH_FILE, attachment=b""), "goes with a file"),
        (replace(WITH_FILE, attachment=b"x" * (MAX_ATTACHMENT + 1)), "bytes at most"),
        *((replace(WITH_FILE, attachment_name=name), "letters") for name in ("", "../x", "a\r\nb", "x" * 101, "鍵.p12", ".p12")),
    ],
)
def test_a_mail_that_cannot_be_sent_cannot_be_owed(
    sqlite_store: Database, clock: ManualClock, notice: Notice, complaint: str
) -> None:
    with pytest.raises(BadNotice, match=complaint):
        owed(sqlite_store, clock, notice)


def test_a_mail_that_there_is_not_cannot_be_owed(sqlite_store: Database, clock: ManualClock) -> None:
    with pytest.raises(UnknownTemplate, match="key-archived"):
        owed(sqlite_store, clock, replace(PROBE, template="nonsense"))


def test_the_largest_file_may_be_owed(store: Database, clock: ManualClock) -> None:
    number = owed(store, clock, replace(WITH_FILE, attachment=b"x" * MAX_ATTACHMENT))
    assert len(row(store, number).attachment or b"") == MAX_ATTACHMENT


def test_what_is_owed_does_not_show_what_it_says() -> None:
    assert LINK.values["link"] not in repr(LINK)
    assert "file" not in repr(WITH_FILE)


def test_one_worker_at_a_time_has_a_mail(store: Database, clock: ManualClock) -> None:
    first, second = owed(store, clock), owed(store, clock)
    (claimed,) = store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=1))
    assert claimed.row_id == first
    (other,) = store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=10))
    assert other.row_id == second
    assert store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=10)) == []
    with store.reading() as session:
        assert outbox.next_due(session, clock.now()) == clock.now() + LEASE
    clock.advance(LEASE)
    again = store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=10, only=[first]))
    assert [each.row_id for each in again] == [first]
    assert not store.write(lambda session: outbox.settle_sent(session, claimed, now=clock.now()))
    assert store.write(lambda session: outbox.settle_sent(session, again[0], now=clock.now()))


def test_what_is_given_back_is_due_again(store: Database, clock: ManualClock) -> None:
    owed(store, clock)
    claims = store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=10))
    store.write(lambda session: outbox.release(session, claims))
    with store.reading() as session:
        assert outbox.next_due(session, clock.now()) == clock.now()


def test_a_persons_mail_goes_where_the_person_is_reached_now(store: Database, clock: ManualClock) -> None:
    person = added(store, TARO)
    owed(store, clock, replace(LINK, person=person.id, address="old@example.com", language="en"))
    (claimed,) = store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=1))
    assert (claimed.address, claimed.language, claimed.name) == (TARO.email, "ja", "山田 太郎")
    assert not claimed.is_gone


def test_a_mail_of_nobodys_goes_to_its_address(store: Database, clock: ManualClock) -> None:
    owed(store, clock)
    owed(store, clock, replace(PROBE, person=4711))
    mine, lost = store.write(lambda session: outbox.claim_due(session, now=clock.now(), limit=2))
    assert (mine.address, mine.name, mine.is_gone) == ("taro@example.com", "taro@example.com", False)
    assert lost.is_gone


def test_waits_double_from_a_minute_to_an_hour() -> None:
    waits = [outbox.wait_after(failures) for failures in range(100)]
    assert waits[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert waits[-1] == timedelta(hours=1)


def test_nothing_is_due_where_nothing_is_owed(store: Database, clock: ManualClock) -> None:
    with store.reading() as session:
        assert outbox.next_due(session, clock.now()) is None
