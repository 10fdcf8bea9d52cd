"""Answers kept for repeated requests: once only, sealed, for a day."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.exceptions import InvalidTag
from sqlmodel import Session, select

from audit.log import Actor
from signetry.access import answers, tokens
from signetry.access.answers import Answer, RepeatableRequest
from signetry.access.errors import InvalidKey, KeyReused
from signetry.access.records import StoredAnswer
from signetry.access.roles import Role
from signetry.access.tokens import TokenOrder
from signetry.database import Database
from tests.clocks import ManualClock

ACTOR = Actor("cli:root")
CHALLENGE = b'{"challenge":"CANARYCANARYCANARYCANARY"}'


@pytest.fixture
def request_(store: Database, clock: ManualClock) -> RepeatableRequest:
    """A repeatable request of a token in the store."""
    order = TokenOrder("a", Role.ADMIN)
    made, text = store.write(
        lambda session: tokens.create(session, order, administrator="cli:root", actor=ACTOR, now=clock.now())
    )
    return RepeatableRequest(made.id, text.split("_", 2)[2], "key 1".replace(" ", "-"), "ab" * 32)


class Acting:
    """An act that counts how often it ran."""

    def __init__(self, body: bytes = CHALLENGE) -> None:
        self.runs = 0
        self._body = body

    def __call__(self, _session: Session) -> Answer:
        """Act."""
        self.runs += 1
        return Answer(201, self._body)


def ask(store: Database, clock: ManualClock, request: RepeatableRequest, act: Callable[[Session], Answer]) -> Answer:
    return store.write(lambda session: answers.answer_once(session, request, act, now=clock.now()))


def test_a_repeated_request_gets_the_same_answer(store: Database, clock: ManualClock, request_: RepeatableRequest) -> None:
    act = Acting()
    assert ask(store, clock, request_, act) == Answer(201, CHALLENGE)
    clock.advance(timedelta(hours=23))
    assert ask(store, clock, request_, act) == Answer(201, CHALLENGE, replayed=True)
    assert act.runs == 1


def test_another_key_or_another_token_is_another_request(
    store: Database, clock: ManualClock, request_: RepeatableRequest
) -> None:
    order = TokenOrder("b", Role.ADMIN)
    other, text = store.write(
        lambda session: tokens.create(session, order, administrator="cli:root", actor=ACTOR, now=clock.now())
    )
    act = Acting()
    for request in (request_, replace(request_, key="key-2"), replace(request_, token_id=other.id, secret=text[-43:])):
        assert not ask(store, clock, request, act).replayed
    assert act.runs == 3


def test_the_key_with_another_request_is_refused(store: Database, clock: ManualClock, request_: RepeatableRequest) -> None:
    act = Acting()
    ask(store, clock, request_, act)
    with pytest.raises(KeyReused):
        ask(store, clock, replace(request_, digest="cd" * 32), act)
    assert act.runs == 1


def test_after_a_day_the_key_is_free(store: Database, clock: ManualClock, request_: RepeatableRequest) -> None:
    act = Acting()
    ask(store, clock, request_, act)
    clock.advance(timedelta(hours=24))
    assert not ask(store, clock, replace(request_, digest="cd" * 32), act).replayed
    assert act.runs == 2


def test_nothing_is_kept_of_what_fails(store: Database, clock: ManualClock, request_: RepeatableRequest) -> None:
    def fail(_session: Session) -> Answer:
        raise LookupError("a defect")

    with pytest.raises(LookupError):
        ask(store, clock, request_, fail)
    with store.reading() as session:
        assert session.exec(select(StoredAnswer)).all() == []
    assert not ask(store, clock, request_, Acting()).replayed


def test_the_answer_and_the_act_are_one_transaction(store: Database, clock: ManualClock, request_: RepeatableRequest) -> None:
    """A process that dies after both were written, and before the commit, leaves neither."""

    def die(session: Session) -> None:
        answers.answer_once(session, request_, Acting(), now=clock.now())
        session.flush()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(die)
    with store.reading() as session:
        assert session.exec(select(StoredAnswer)).all() == []


def test_a_stored_answer_opens_with_token_and_key_only(store: Database, clock: ManualClock, request_: RepeatableRequest) -> None:
    ask(store, clock, request_, Acting())
    with store.reading() as session:
        row = session.exec(select(StoredAnswer)).one()
    assert CHALLENGE not in row.sealed
    assert request_.opened(row.sealed, row.status).body == CHALLENGE
    changed = (
        replace(request_, secret="A" * 43),
        replace(request_, key="key-2"),
        replace(request_, digest="cd" * 32),
        replace(request_, token_id=17),
    )
    for other in changed:
        with pytest.raises(InvalidTag):
            other.opened(row.sealed, row.status)
    with pytest.raises(InvalidTag):
        request_.opened(row.sealed, 200)


def test_of_requests_at_the_same_moment_one_acts(store: Database, clock: ManualClock, request_: RepeatableRequest) -> None:
    count = 8
    got: list[Answer] = []
    ran: list[int] = []
    gate = threading.Barrier(count)

    def act(session: Session) -> Answer:
        made, text = tokens.create(
            session, TokenOrder("made", Role.AUDITOR), administrator="cli:root", actor=ACTOR, now=clock.now()
        )
        ran.append(made.id)
        return Answer(201, text.encode())

    def attempt() -> None:
        gate.wait()
        got.append(ask(store, clock, request_, act))

    threads = [threading.Thread(target=attempt) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer.body for answer in got}) == 1
    assert sorted(answer.replayed for answer in got) == [False] + [True] * (count - 1)
    with store.reading() as session:
        assert [token.name for token in tokens.list_tokens(session, now=clock.now())] == ["a", "made"]


@pytest.mark.parametrize("key", ["", "a" * 256, "a b", "ä", "a\n"])
def test_a_key_is_short_and_visible(key: str) -> None:
    with pytest.raises(InvalidKey):
        RepeatableRequest(1, "secret", key, "ab" * 32)


def test_a_request_shows_neither_its_key_nor_its_secret(request_: RepeatableRequest) -> None:
    assert request_.secret not in repr(request_)
    assert request_.key not in repr(request_)
    assert "CANARY" not in repr(Answer(201, CHALLENGE))


def test_answers_are_swept_when_their_time_is_up(
    store: Database, clock: ManualClock, request_: RepeatableRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_SWEPT_AT_ONCE", 2)
    for number in range(5):
        ask(store, clock, replace(request_, key=f"old-{number}"), Acting())
    clock.advance(timedelta(hours=1))
    ask(store, clock, replace(request_, key="newer"), Acting())
    assert answers.sweep(store, clock) == 0
    clock.advance(timedelta(hours=23))
    assert answers.sweep(store, clock) == 5
    with store.reading() as session:
        assert len(session.exec(select(StoredAnswer)).all()) == 1
