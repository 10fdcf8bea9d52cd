"""``Idempotency-Key``: what is asked for twice is made once, and nobody else reads the answer."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from audit.log import Actor
from audit.records import AuditEvent
from ca.keys import FileKeyStore
from foundation.errors import Unavailable
from scep.challenge import digest
from scep.records import Challenge
from signetry.access import answers, tokens
from signetry.access.records import StoredAnswer
from signetry.access.roles import Role
from signetry.assembly import jobs
from signetry.database import Database
from signetry.house import House
from signetry.settings import load_settings
from tests.clocks import ManualClock
from tests.signetry.api.conftest import Api, opened_api

ALICE = {"endpoint": "default", "profile": "identity", "person": "alice@example.com"}
KEY = {"Idempotency-Key": "order-4711"}
AUDITOR = {"name": "made once", "role": "auditor"}


def mint(api: Api, role: Role = Role.ADMIN, **more: Any) -> Any:  # noqa: ANN401 - httpx's
    return api.call("POST", "/challenges", role, **{"json": ALICE, "headers": KEY} | more)


def test_a_repeated_request_gets_the_same_challenge(api: Api) -> None:
    first, second = mint(api), mint(api)
    assert first.status_code == second.status_code == 201, first.text
    assert first.content == second.content
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    with api.house.transactions.reading() as session:
        assert len(session.exec(select(Challenge)).all()) == 1
        assert len(session.exec(select(AuditEvent).where(AuditEvent.action == "challenge.minted")).all()) == 1


def test_without_a_key_every_request_makes_something_new(api: Api) -> None:
    assert mint(api, headers={}).content != mint(api, headers={}).content


def test_the_same_key_with_another_request_is_refused(api: Api) -> None:
    mint(api)
    for other in (
        mint(api, json={**ALICE, "profile": "smime-signing"}),
        api.call("POST", "/tokens", json=AUDITOR, headers=KEY),
    ):
        assert other.status_code == 422
        assert other.json()["type"] == "/api/problems#idempotency-key-reused"


def test_the_key_is_the_tokens_own(api: Api) -> None:
    assert mint(api).content != mint(api, Role.OFFICER).content


def test_a_refused_request_may_be_corrected_under_its_key(api: Api) -> None:
    assert mint(api, json={**ALICE, "person": "nobody@example.com"}).status_code == 404
    assert mint(api).status_code == 201


def test_a_revoked_token_gets_nothing_again(api: Api) -> None:
    mint(api, Role.OFFICER)
    api.call("POST", "/tokens/2/revoke")
    assert mint(api, Role.OFFICER).status_code == 401


def test_after_a_day_the_key_is_free_and_the_worker_sweeps(api: Api) -> None:
    first = mint(api)
    (job,) = [job for job in jobs(api.house) if job.name == "stored-answers"]
    assert job.every == timedelta(hours=1)
    assert not job.run()
    api.clock.advance(timedelta(hours=24))
    assert job.run() == 1
    assert not job.run()
    assert mint(api).content != first.content


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "ä"])
def test_a_key_is_short_and_visible(api: Api, key: str) -> None:
    answer = mint(api, headers={"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 400


def test_the_answer_is_sealed_where_it_is_kept(api: Api) -> None:
    challenge = mint(api).json()["challenges"][0]
    token = api.call("POST", "/tokens", json=AUDITOR, headers={"Idempotency-Key": "b"}).json()["token"]
    home = api.house.settings.home
    with api.house.transactions.reading() as session:
        assert session.exec(select(Challenge)).one().digest == digest(challenge)
        assert len(session.exec(select(StoredAnswer)).all()) == 2
    stored = b"".join(path.read_bytes() for path in home.glob("signetry.db*"))
    for secret in (challenge, token.split("_", 2)[2], KEY["Idempotency-Key"]):
        assert secret.encode() not in stored


def test_an_act_that_fails_at_its_end_leaves_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made and what is answered are one transaction: no crash comes between them."""

    def fail(*_: object, **__: object) -> bytes:
        raise Unavailable("the machine stopped")

    with monkeypatch.context() as patch:
        patch.setattr(answers.RepeatableRequest, "seal", fail)
        assert mint(api).status_code == 503
    with api.house.transactions.reading() as session:
        assert session.exec(select(Challenge)).all() == []
        assert session.exec(select(StoredAnswer)).all() == []
    assert "idempotency-replayed" not in mint(api).headers


@pytest.fixture
def on_either(store: Database, tmp_path: Path, empty_home: Path, clock: ManualClock) -> Iterator[Api]:  # noqa: ARG001 - no settings from outside
    """The API over either kind of database, as a web process has it: with commits that are shared."""
    grouped = Database(store.engine.url, grouped=True)
    keystore = FileKeyStore(tmp_path / "keys", b"passphrase")
    house = House(load_settings(), clock, grouped, keystore, Actor("test"))
    yield opened_api(house, clock)
    grouped.close()


def test_of_requests_at_the_same_moment_one_makes_something(on_either: Api) -> None:
    api, count = on_either, 8
    got: list[Any] = []
    gate = threading.Barrier(count)

    def attempt() -> None:
        gate.wait()
        got.append(api.call("POST", "/tokens", json=AUDITOR, headers=KEY))

    threads = [threading.Thread(target=attempt) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in got} == {201}
    assert len({answer.content for answer in got}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in got) == count - 1
    with api.house.transactions.reading() as session:
        made = [token for token in tokens.list_tokens(session, now=api.clock.now()) if token.name == AUDITOR["name"]]
    assert len(made) == 1
