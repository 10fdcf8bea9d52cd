"""``/deliveries``: keys go to the person, passphrases to the caller, and nobody here gets both."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import select
from starlette.applications import Starlette
from starlette.testclient import TestClient

from notices.records import OwedNotice
from signetry import deliveries
from signetry.access.roles import Role
from signetry.api.app import api_routes
from tests.signetry import installation
from tests.signetry.api.conftest import Api, opened_api
from tests.signetry.archived import ArchiveHere, archive_history

ALICE = "alice@example.com"
PHONE = {"person": ALICE, "device": "alice-iphone"}


@pytest.fixture
def api(installed_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:  # noqa: ARG001 - it sets the environment
    """The API with a mail server in its settings, Alice's phone, and two keys of hers in the archive."""
    for name, value in (("HOST", "127.0.0.1"), ("SECURITY", "none"), ("SENDER", "pki@example.com")):
        monkeypatch.setenv(f"SIGNETRY_NOTICES__{name}", value)
    clock = installation.clock_of_today()
    with installation.opened(clock) as house:
        house.__dict__["archive"] = archive = ArchiveHere(house)
        made = opened_api(house, clock)
        made.call("POST", "/devices", json={"name": "alice-iphone", "owner": ALICE, "platform": "ios"})
        made.call("POST", "/devices", json={"name": "bobs", "owner": "bob@example.com"})
        archive_history(house, ALICE, [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)])
        yield made
        archive.close()


def order(api: Api, role: Role = Role.OFFICER, query: str = "", **more: object) -> Any:  # noqa: ANN401 - httpx's
    return api.call("POST", f"/deliveries{query}", role, json=PHONE | more)


def notices(api: Api) -> list[dict[str, str]]:
    with api.house.transactions.reading() as session:
        return [dict(notice.values) for notice in session.exec(select(OwedNotice))]


def test_an_officer_has_a_link_mailed_and_gets_the_passphrase_alone(api: Api) -> None:
    done = order(api)
    assert done.status_code == 200, done.text
    shown = done.json()
    assert (shown["mailed_to"], shown["delivery"]["state"], shown["delivery"]["encoding"]) == (ALICE, "ready", "3des")
    assert len(shown["keys"]) == len(shown["delivery"]["keys"]) == 2
    assert len(shown["passphrase"]) == 29
    (notice,) = notices(api)
    token = notice["link"].partition("token=")[2]
    assert token
    assert token not in done.text
    browser = TestClient(Starlette(routes=deliveries.routes(api.house)), base_url=api.house.settings.device_url)
    assert browser.post(notice["link"]).status_code == 200
    again = api.call("GET", f"/deliveries/{shown['delivery']['id']}", Role.AUDITOR).json()
    assert again["state"] == "fetched"
    assert "passphrase" not in again


def test_who_orders_is_on_record(api: Api) -> None:
    order(api)
    (event,) = api.call("GET", "/audit-events?action=delivery.ordered").json()["items"]
    assert event["actor"] == "token:2:officer"
    assert event["origin"] == "192.0.2.7"


def test_keys_are_mailed(api: Api) -> None:
    shown = order(api, method="mail", separate=False).json()
    assert (shown["delivery"]["method"], shown["delivery"]["state"]) == ("mail", "ready")
    (notice,) = notices(api)
    assert notice["keys"] == "2"


@pytest.mark.parametrize("method", ["file", "profile", "intune", "pigeon"])
def test_no_other_method_hands_a_key_to_a_token(api: Api, method: str) -> None:
    assert order(api, method=method).status_code == 400


def test_an_administrator_orders_nothing_and_stops_what_was_ordered(api: Api) -> None:
    assert order(api, Role.ADMIN).status_code == 403
    number = order(api).json()["delivery"]["id"]
    stop = f"/deliveries/{number}/stop"
    assert api.call("POST", f"{stop}?dry_run=true").json()["state"] == "stopped"
    assert api.call("GET", f"/deliveries/{number}").json()["state"] == "ready"
    assert api.call("POST", stop).json()["state"] == "stopped"
    assert api.call("POST", stop).status_code == 404


def test_a_dry_run_says_which_keys_and_changes_nothing(api: Api) -> None:
    shown = order(api, query="?dry_run=true").json()
    assert (shown["delivery"], shown["passphrase"], shown["mailed_to"], len(shown["keys"])) == (None, None, None, 2)
    assert api.call("GET", "/deliveries").json()["items"] == []
    assert notices(api) == []


def test_refusals_have_a_status_of_their_own(api: Api) -> None:
    assert order(api, device="bobs").status_code == 403
    assert order(api, device="pager").status_code == 404
    assert order(api, person="nobody@example.com").status_code == 404
    assert order(api, lifetime_seconds=59).status_code == 400
    assert (
        order(api, person="bob@example.com", device="bobs").json()["detail"]
        == "the archive holds no encryption key of this person"
    )
    api.call("POST", "/devices/alice-iphone/deactivate")
    assert "not active" in order(api).json()["detail"]


def test_deliveries_are_listed_in_pages_and_by_whose_they_are(api: Api) -> None:
    numbers = [order(api, method="mail").json()["delivery"]["id"] for _ in range(3)]
    first = api.call("GET", "/deliveries?limit=2").json()
    assert [item["id"] for item in first["items"]] == [numbers[2], numbers[1]]
    rest = api.call("GET", f"/deliveries?limit=2&after={first['next']}").json()
    assert [item["id"] for item in rest["items"]] == [numbers[0]]
    for query, count in ((f"person={ALICE}", 3), ("person=bob@example.com", 0), ("device=alice-iphone", 3), ("state=handed", 0)):
        assert len(api.call("GET", f"/deliveries?{query}").json()["items"]) == count
    assert api.call("GET", "/deliveries?person=nobody@example.com").status_code == 404


def test_while_the_archive_is_not_online_nothing_is_ordered_over_the_api(api: Api) -> None:
    service = TestClient(Starlette(routes=api_routes(replace(api.house, is_service=True))))
    answer = service.post("/api/v1/deliveries", json=PHONE, headers=api.headers(Role.OFFICER))
    assert answer.status_code == 503
    assert "archive.online" in answer.json()["detail"]


def test_leaving_stops_deliveries_and_says_so_beforehand(api: Api) -> None:
    number = order(api).json()["delivery"]["id"]
    for dry_run, state in ((True, "ready"), (False, "stopped")):
        gone = api.call("POST", f"/persons/{ALICE}/offboard?dry_run={dry_run}", Role.OFFICER).json()
        assert (gone["stopped_deliveries"], gone["archived_keys"], gone["directories"]) == ([number], 2, [])
        assert api.call("GET", f"/deliveries/{number}").json()["state"] == state
