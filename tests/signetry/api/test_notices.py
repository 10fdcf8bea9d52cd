"""``/notices``: mails to persons, and trying them again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from signetry.access.roles import Role
from tests.signetry import installation
from tests.signetry.api.conftest import Api, opened_api
from tests.signetry.mailing import with_mail, with_taro

LINK = {"link": "https://pki.example.com/keys/secret-token", "until": "2099-01-01T00:00:00+00:00", "device": "", "keys": "1"}


@pytest.fixture
def api(installed_home: Path) -> Iterator[Api]:
    """The API of an installation that owes Taro three links, numbers 1 to 3, to a server that is down."""
    with_mail(installed_home, 1)
    clock = installation.clock_of_today()
    with installation.opened(clock) as house:
        person = with_taro(house)
        for _ in range(3):
            house.transactions.write(lambda session: house.notices.owe(session, person, "delivery-link", LINK))
        yield opened_api(house, clock)


def test_mails_are_listed_in_pages_without_what_they_say(api: Api) -> None:
    first = api.call("GET", "/notices?limit=2", Role.AUDITOR).json()
    assert [item["id"] for item in first["items"]] == [3, 2]
    second = api.call("GET", f"/notices?limit=2&after={first['next']}").json()
    assert [item["id"] for item in second["items"]] == [1]
    assert "secret-token" not in api.call("GET", "/notices").text
    assert api.call("GET", "/notices?state=sent").json()["items"] == []
    assert len(api.call("GET", "/notices?person=taro@example.com").json()["items"]) == 3
    assert api.call("GET", "/notices?person=alice@example.com").json()["items"] == []
    assert api.call("GET", "/notices?person=nobody@example.com").status_code == 404
    assert api.call("GET", "/notices?state=lost").status_code == 400


def test_one_mail_is_shown(api: Api) -> None:
    shown = api.call("GET", "/notices/2").json()
    assert (shown["id"], shown["state"], shown["template"], shown["person"]) == (
        2,
        "waiting",
        "delivery-link",
        "taro@example.com",
    )
    assert "values" not in shown
    assert api.call("GET", "/notices/9").status_code == 404


def test_a_mail_is_tried_again(api: Api) -> None:
    assert api.house.notices.sender().run().unavailable
    assert api.call("GET", "/notices/1").json()["state"] == "deferred"
    later = api.call("GET", "/notices/1").json()["next_attempt"]
    rehearsed = api.call("POST", "/notices/1/send?dry_run=true")
    assert rehearsed.json()["next_attempt"] < later
    assert api.call("GET", "/notices/1").json()["next_attempt"] == later
    answer = api.call("POST", "/notices/1/send")
    assert answer.status_code == 202
    assert api.call("GET", "/notices/1").json()["next_attempt"] == answer.json()["next_attempt"] < later
    assert api.call("POST", "/notices/9/send").status_code == 404
    assert api.call("POST", "/notices/1/send", Role.OFFICER).status_code == 403


@pytest.mark.usefixtures("installed_home")
def test_without_a_mail_server_nothing_is_tried() -> None:
    with installation.opened() as house:
        api = opened_api(house, installation.clock_of_today())
        assert api.call("POST", "/notices/1/send").status_code == 422
