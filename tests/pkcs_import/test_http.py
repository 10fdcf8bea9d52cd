"""The page behind a one-time link."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from foundation.errors import Unavailable
from people.persons import deactivate_person
from pkcs_import import delivery, delivery_ends, http
from pkcs_import.delivery_links import new_link
from signetry.database import Database
from tests.clocks import ManualClock
from tests.pkcs_import.delivering import ACTOR, DAY, PACKAGE, Deliveries, prepared


class Turnstile:
    """Says how long addresses are to wait, and who asked."""

    def __init__(self) -> None:
        self.wait = 0
        self.asked: list[str] = []

    def __call__(self, origin: str) -> int:
        """Admit, or not."""
        self.asked.append(origin)
        return self.wait


class Phone:
    """A browser before the page."""

    def __init__(self, world: Deliveries) -> None:
        self.world = world
        self.turnstile = Turnstile()
        self.told: list[int] = []
        routes = http.routes(
            world.store,
            world.clock,
            admit=self.turnstile,
            listeners=[lambda _session, handed: self.told.append(handed.delivery_id)],
        )
        self._client = TestClient(Starlette(routes=routes), client=("198.51.100.9", 50000))

    def ask(self, method: str, token: str, headers: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - httpx's
        """Send a request."""
        return self._client.request(method, "/keys", params={"token": token}, headers=headers)

    def send(self, method: str, query: str) -> Any:  # noqa: ANN401 - httpx's
        """Send a request with any query."""
        return self._client.request(method, f"/keys{query}")


@pytest.fixture
def phone(sqlite_store: Database, clock: ManualClock) -> Phone:
    world = prepared(sqlite_store, clock)
    world.key("old", ends=10 * DAY)
    world.key("new")
    return Phone(world)


def test_the_page_says_what_is_to_be_fetched_and_does_not_use_it_up(phone: Phone) -> None:
    _, token = phone.world.link()
    for method in ("GET", "HEAD", "GET"):
        page = phone.ask(method, token.text)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "alice-phone: 2, in one file" in page.text
    assert "2026-06-02 12:00 UTC" in page.text
    assert '<form method="post"><button>' in page.text
    assert token.text not in page.text
    assert phone.told == []


def test_the_button_fetches_the_file_once(phone: Phone) -> None:
    number, token = phone.world.link()
    got = phone.ask("POST", token.text)
    assert (got.status_code, got.content) == (200, PACKAGE)
    assert got.headers["content-type"] == "application/x-pkcs12"
    assert got.headers["content-disposition"] == f'attachment; filename="mail-keys-{number}.p12"'
    assert got.headers["cache-control"] == "no-store"
    assert phone.told == [number]
    assert phone.ask("POST", token.text).status_code == 404


def test_whatever_is_wrong_with_a_link_the_answer_is_the_same_to_the_byte(phone: Phone) -> None:
    world, now = phone.world, phone.world.clock.now()
    _, used = world.link()
    phone.ask("POST", used.text)
    number, stopped = world.link(device=world.device("tablet", "alice"))
    world.store.write(lambda session: delivery_ends.stop(session, number, actor=ACTOR, now=now))
    bob = world.person("bob")
    world.key("bobs", person=bob)
    _, left = world.link(person=bob, device=world.device("bobs", "bob"))
    world.store.write(lambda session: deactivate_person(session, bob, actor=ACTOR, now=now))
    _, late = world.link(expires_at=now + DAY / 2)
    world.clock.advance(DAY / 2)
    tokens = [used.text, stopped.text, left.text, late.text, new_link(world.alice).text, "", "x" * 5000, "1-\udcff", "\0", "%00"]
    answers = [phone.ask(method, token.encode("utf-8", "replace").decode()) for token in tokens for method in ("GET", "POST")]
    answers += [phone.send(method, query) for query in ("", "?token", "?token=a&token=b", "?x=1") for method in ("GET", "POST")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({(answer.content, tuple(sorted(answer.headers.items()))) for answer in answers}) == 1


def test_a_token_counts_once_in_the_address(phone: Phone) -> None:
    _, token = phone.world.link()
    assert phone.send("GET", f"?token={token.text}&token={token.text}").status_code == 404


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("ja,en;q=0.8", "ja"), ("ja-JP", "ja"), ("de, ja;q=0.5", "ja"), ("de", "en"), ("", "en"), ("en-GB, ja", "en"), (",;", "en")],
)
def test_the_page_speaks_the_browsers_language(phone: Phone, accepted: str, language: str) -> None:
    _, token = phone.world.link()
    for text, status in ((token.text, 200), ("x", 404)):
        page = phone.ask("GET", text, {"accept-language": accepted})
        assert (page.status_code, page.headers["content-language"]) == (status, language)
        assert f'<html lang="{language}">' in page.text
        assert ("鍵" in page.text or "リンク" in page.text) is (language == "ja")
    assert page.headers["vary"] == "accept-language"


def test_names_are_text_and_no_markup(phone: Phone) -> None:
    world = phone.world
    _, token = world.link(device=world.device("<b>phone</b>", "alice"))
    assert "&lt;b&gt;phone&lt;/b&gt;" in phone.ask("GET", token.text).text


def test_an_address_that_asks_too_often_is_told_when_to_come_back(phone: Phone) -> None:
    _, token = phone.world.link()
    phone.turnstile.wait = 7
    for method in ("GET", "POST"):
        answer = phone.ask(method, token.text)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    phone.turnstile.wait = 0
    assert phone.ask("POST", token.text).content == PACKAGE
    assert set(phone.turnstile.asked) == {"198.51.100.9"}


def test_a_database_that_is_away_leaves_the_link_good(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = phone.world.link()

    def away(*_: object, **__: object) -> None:
        raise Unavailable("the database is not available")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "require_active", away)
        answer = phone.ask("POST", token.text)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert "the link stays good" in answer.text
    assert phone.ask("POST", token.text).content == PACKAGE


def test_the_page_runs_nothing_and_is_kept_by_nobody(phone: Phone) -> None:
    _, token = phone.world.link()
    page = phone.ask("GET", token.text)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert "script" not in page.text
    assert not re.findall(r"(?:src|href)=", page.text)
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    file = phone.ask("POST", token.text)
    assert (file.content, file.headers["cache-control"]) == (PACKAGE, "no-store")
    assert (file.headers["referrer-policy"], file.headers["x-content-type-options"]) == ("no-referrer", "nosniff")


def test_asking_for_the_head_uses_nothing_up(phone: Phone) -> None:
    _, token = phone.world.link()
    assert phone.ask("HEAD", token.text).status_code == 200
    assert phone.ask("POST", token.text).content == PACKAGE


def test_only_looking_and_fetching_are_known(phone: Phone) -> None:
    _, token = phone.world.link()
    for method in ("PUT", "DELETE", "PATCH"):
        assert phone.ask(method, token.text).status_code == 405
