"""``/requests``: what waits for a decision, and deciding on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from signetry.access.roles import Role
from tests.signetry import installation
from tests.signetry.api.conftest import Api, opened_api
from tests.signetry.waiting import come_back, request, wait, with_approval

PLAIN = request()
GREEDY = request("boss", (x509.RFC822Name("boss@example.com"),))
HOSTILE = request("\x1b[2J\u202e", (x509.RFC822Name("a\x07b@example.com"),))
ALICE: dict[str, object] = {"person": "alice@example.com", "profile": "identity"}


@pytest.fixture
def api(installed_home: Path) -> Iterator[Api]:
    """The API with three requests that wait, numbers 1 to 3."""
    with_approval(installed_home)
    clock = installation.clock_of_today()
    with installation.opened(clock) as house:
        for asked in (PLAIN, GREEDY, HOSTILE):
            wait(house, asked)
        yield opened_api(house, clock)


def test_what_waits_is_listed_in_pages(api: Api) -> None:
    first = api.call("GET", "/requests?state=waiting&limit=2").json()
    assert [item["id"] for item in first["items"]] == [3, 2]
    second = api.call("GET", f"/requests?state=waiting&limit=2&after={first['next']}").json()
    assert [item["id"] for item in second["items"]] == [1]
    assert second["next"] is None
    assert api.call("GET", "/requests?endpoint=routers").json()["items"] == []
    assert api.call("GET", "/requests?state=approved").json()["items"] == []
    assert api.call("GET", "/requests?endpoint=nowhere").status_code == 404
    assert api.call("GET", "/requests?state=sleeping").status_code == 400


def test_a_request_is_shown_beside_a_record(api: Api) -> None:
    shown = api.call("GET", "/requests/2?person=alice@example.com", Role.AUDITOR).json()
    assert shown["comparison"][1] == {
        "kind": "mail addresses",
        "requested": ["boss@example.com"],
        "recorded": ["alice@example.com"],
        "agrees": False,
    }
    assert api.call("GET", "/requests/4711").status_code == 404
    assert api.call("GET", "/requests/2?person=nobody@example.com").status_code == 404


def test_a_strangers_words_steer_no_terminal(api: Api) -> None:
    shown = api.call("GET", "/requests/3").json()
    assert shown["subject"] == "CN=?[2J?"
    assert (shown["asked_for"]["common_name"], shown["asked_for"]["emails"]) == ("?[2J?", ["a?b@example.com"])


def test_an_officer_approves_and_the_client_gets_its_certificate(api: Api) -> None:
    answer = api.call("POST", "/requests/1/approve", Role.OFFICER, json=ALICE)
    assert answer.status_code == 200, answer.text
    decided = answer.json()
    assert (decided["outcome"], decided["request"]["state"]) == ("approved", "approved")
    assert decided["request"]["decided_by"] == "token:2:officer"
    assert api.call("POST", "/requests/1/approve", json=ALICE).json()["outcome"] == "unchanged"
    granted = come_back(api.house, PLAIN)
    assert granted is not None
    assert api.call("GET", "/requests/1").json()["serial"] == f"{x509.load_der_x509_certificate(granted.der).serial_number:032x}"
    assert api.call("POST", "/requests/1/reject", json={}).status_code == 409
    (event,) = api.call("GET", "/audit-events?action=request.approved").json()["items"]
    assert (event["actor"], event["subject"], event["origin"]) == ("token:2:officer", "request:1", "192.0.2.7")


def test_a_request_is_rejected_in_words_for_its_client(api: Api) -> None:
    decided = api.call("POST", "/requests/1/reject", Role.OFFICER, json={"reason": "call the help desk"}).json()
    assert (decided["outcome"], decided["request"]["rejection"]) == ("rejected", "call the help desk")
    assert api.call("POST", "/requests/1/reject", json={"reason": "two\nlines"}).status_code == 400
    assert api.call("POST", "/requests/1/reject", json={"reason": "x" * 201}).status_code == 400


def test_a_dry_run_decides_nothing(api: Api) -> None:
    assert api.call("POST", "/requests/1/approve?dry_run=true", json=ALICE).json()["outcome"] == "approved"
    assert api.call("POST", "/requests/1/reject?dry_run=true", json={}).json()["outcome"] == "rejected"
    assert api.call("GET", "/requests/1").json()["state"] == "waiting"


def test_what_cannot_be_approved(api: Api) -> None:
    wrong: list[tuple[str, dict[str, object], int]] = [
        ("2", ALICE, 422),
        ("1", {"person": "alice@example.com"}, 400),
        ("1", {"profile": "identity"}, 400),
        ("1", {**ALICE, "person": "nobody@example.com"}, 404),
        ("1", {**ALICE, "device": "fax"}, 404),
        ("1", {**ALICE, "profile": "device"}, 422),
        ("1", {**ALICE, "profile": "scep-ra"}, 400),
        ("4711", ALICE, 404),
        ("x", ALICE, 400),
    ]
    for number, body, status in wrong:
        assert (number, body, api.call("POST", f"/requests/{number}/approve", json=body).status_code) == (number, body, status)
    assert api.call("GET", "/audit-events?action=request.approved").json()["items"] == []


def test_an_mdm_neither_sees_nor_decides(api: Api) -> None:
    for method, path in (("GET", "/requests"), ("GET", "/requests/1"), ("POST", "/requests/1/approve")):
        assert api.call(method, path, Role.MDM).status_code == 403
