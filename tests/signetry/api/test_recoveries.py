"""``/recoveries``: archived keys under dual control, from the request to the file."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from sqlmodel import Session

from people.persons import deactivate_person, person_named
from signetry.access import tokens
from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest
from signetry.archive_client import ArchiveClient
from signetry.house import House
from tests.signetry.api.conftest import Api
from tests.signetry.archived import ArchiveHere, Identity, archive_history

ALICE = "alice@example.com"
ASKED = {"person": ALICE, "reason": "lost phone, case 4711"}


@pytest.fixture
def history(api: Api, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> list[Identity]:
    """Alice's keys in the archive: one of last year, one of this."""
    return archive_history(api.house, ALICE, [rsa_key, other_rsa_key])


@pytest.fixture(autouse=True)
def archive(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The archive, under the clock of the test."""
    here = ArchiveHere(api.house)
    monkeypatch.setattr(House, "archive", here)
    yield
    here.close()


def ask(api: Api, **wanted: Any) -> Any:  # noqa: ANN401 - JSON
    answer = api.call("POST", "/recoveries", Role.OFFICER, json=ASKED | wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


def approved(api: Api, **wanted: Any) -> int:  # noqa: ANN401 - JSON
    number: int = ask(api, **wanted)["id"]
    answer = api.call("POST", f"/recoveries/{number}/approve", Role.RECOVERY)
    assert answer.status_code == 200, answer.text
    return number


def export(api: Api, number: int, *, token: str = "", **how: Any) -> Any:  # noqa: ANN401 - JSON
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return api.call("POST", f"/recoveries/{number}/export", Role.OFFICER, json=how, headers=headers)


def events(api: Api, action: str) -> Any:  # noqa: ANN401 - JSON
    return api.call("GET", f"/audit-events?action={action}").json()["items"]


def numbers(key: object) -> object:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.private_numbers()


def test_an_officer_asks_and_an_agent_sees_what_for(api: Api, history: list[Identity]) -> None:
    asked = ask(api)
    assert (asked["state"], asked["person"], asked["history"], asked["reason"]) == ("waiting", ALICE, False, ASKED["reason"])
    assert (asked["asked_by"], asked["asked_by_person"]) == ("token:2:officer", "olga@example.com")
    (listed,) = api.call("GET", "/recoveries?state=waiting", Role.RECOVERY).json()["items"]
    assert listed == asked == api.call("GET", f"/recoveries/{asked['id']}", Role.AUDITOR).json()
    (key,) = asked["keys"]
    assert (key["id"], key["algorithm"], key["subject"]) == (history[1].archived, "rsa2048", "CN=alice")
    assert int(key["serial"], 16) == history[1].certificate.serial_number


def test_what_was_approved_is_exported_once(api: Api, history: list[Identity]) -> None:
    number = approved(api)
    answer = export(api, number)
    assert answer.status_code == 200, answer.text
    exported = answer.json()
    (file,) = exported["files"]
    key, certificate, _ = pkcs12.load_key_and_certificates(base64.b64decode(file["pkcs12"]), exported["passphrase"].encode())
    assert numbers(key) == history[1].key.private_numbers()
    assert certificate == history[1].certificate
    assert file["keys"] == [history[1].archived]
    again = export(api, number)
    assert (again.status_code, "exported already" in again.text) == (403, True)
    shown = api.call("GET", f"/recoveries/{number}").json()
    assert (shown["state"], shown["exported_by"]) == ("exported", "token:2:officer")


def test_the_whole_history_comes_in_one_file_or_in_several(api: Api, history: list[Identity]) -> None:
    archived = [each.archived for each in reversed(history)]
    (file,) = export(api, approved(api, history=True)).json()["files"]
    assert file["keys"] == archived
    exported = export(api, approved(api, history=True), encoding="3des", separate=True).json()
    assert [each["keys"] for each in exported["files"]] == [[number] for number in archived]
    for each, expected in zip(exported["files"], reversed(history), strict=True):
        loaded = pkcs12.load_key_and_certificates(base64.b64decode(each["pkcs12"]), exported["passphrase"].encode())
        assert numbers(loaded[0]) == expected.key.private_numbers()
    names = [each["name"] for each in exported["files"]]
    assert len(set(names)) == 2


def test_every_step_is_an_audit_event_and_holds_no_secret(api: Api, history: list[Identity]) -> None:
    number = approved(api)
    exported = export(api, number).json()
    for action, actor in (("asked", "token:2:officer"), ("approved", "token:3:recovery"), ("exported", "token:2:officer")):
        (event,) = events(api, f"recovery.{action}")
        assert (event["actor"], event["subject"], event["origin"]) == (actor, f"recovery:{number}", "192.0.2.7")
        assert exported["passphrase"] not in str(event)
        assert "sgt_" not in str(event)
    assert len(history) == 2


def test_what_is_refused_is_on_record(api: Api, history: list[Identity]) -> None:
    number = ask(api)["id"]
    assert export(api, number).status_code == 403
    (event,) = events(api, "recovery.refused")
    assert (event["actor"], event["subject"], event["outcome"]) == ("token:2:officer", f"recovery:{number}", "refused")
    assert event["details"] == {"attempt": "export", "reason": f"recovery {number} is not approved yet"}
    assert len(history) == 2


@pytest.mark.usefixtures("history")
def test_an_agent_rejects(api: Api) -> None:
    number = ask(api)["id"]
    rejected = api.call("POST", f"/recoveries/{number}/reject", Role.RECOVERY).json()
    assert (rejected["state"], rejected["decided_by_person"]) == ("rejected", "rita@example.com")
    assert export(api, number).status_code == 403
    assert api.call("POST", f"/recoveries/{number}/approve", Role.RECOVERY).status_code == 403


@pytest.mark.usefixtures("history")
def test_administrators_take_no_part(api: Api) -> None:
    number = approved(api)
    calls: list[tuple[str, dict[str, object]]] = [
        ("/recoveries", dict(ASKED)),
        (f"/recoveries/{number}/approve", {}),
        (f"/recoveries/{number}/reject", {}),
        (f"/recoveries/{number}/export", {}),
    ]
    for path, body in calls:
        assert api.call("POST", path, Role.ADMIN, json=body).status_code == 403
    named = api.make_token(TokenRequest("boss", Role.ADMIN, person="bob@example.com"))
    assert export(api, number, token=named).status_code == 403
    assert export(api, number).status_code == 200


@pytest.mark.usefixtures("history")
def test_an_archive_that_is_not_online_is_asked_in_vain(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    number = approved(api)
    with monkeypatch.context() as patch:
        patch.setattr(House, "archive", ArchiveClient(api.house.settings, may_start=False))
        answer = export(api, number)
        assert (answer.status_code, "not online" in answer.text) == (503, True)
        assert export(api, 4711).status_code == 404
    assert export(api, number).status_code == 200


@pytest.mark.usefixtures("history")
def test_another_officer_does_not_export(api: Api) -> None:
    other = api.make_token(TokenRequest("Bob", Role.OFFICER, person="bob@example.com"), "cli:officer")
    number = approved(api)
    answer = export(api, number, token=other)
    assert (answer.status_code, "only who asked" in answer.text) == (403, True)
    assert export(api, number).status_code == 200


@pytest.mark.usefixtures("history")
def test_the_approval_lapses_after_an_hour(api: Api) -> None:
    number = approved(api)
    api.clock.advance(timedelta(hours=1))
    answer = export(api, number)
    assert (answer.status_code, "too old" in answer.text) == (403, True)
    assert api.call("GET", "/recoveries?state=expired").json()["items"][0]["id"] == number


@pytest.mark.parametrize("role", [Role.OFFICER, Role.RECOVERY])
@pytest.mark.usefixtures("history")
def test_a_token_that_is_revoked_takes_the_approval_with_it(api: Api, role: Role) -> None:
    number = approved(api)
    of_role = int(api.tokens[role].split("_")[1])
    # Of the officer's two, the one that asked is revoked, and the other one exports.
    second = api.make_token(TokenRequest("second", Role.OFFICER, person="olga@example.com"), "cli:officer")
    api.house.transactions.write(lambda session: tokens.revoke(session, of_role, actor=api.house.actor, now=api.clock.now()))
    answer = export(api, number, token=second)
    assert (answer.status_code, "not in force any more" in answer.text) == (403, True)


@pytest.mark.usefixtures("history")
def test_an_agent_who_left_has_approved_nothing(api: Api) -> None:
    number = approved(api)

    def see_off(session: Session) -> None:
        rita = person_named(session, "rita@example.com").id
        deactivate_person(session, rita, actor=api.house.actor, now=api.clock.now())

    api.house.transactions.write(see_off)
    answer = export(api, number)
    assert (answer.status_code, "not active" in answer.text) == (403, True)


@pytest.mark.usefixtures("history")
def test_the_same_request_with_the_same_key_asks_once(api: Api) -> None:
    headers = {"Idempotency-Key": "case-4711"}
    first, second = (api.call("POST", "/recoveries", Role.OFFICER, json=ASKED, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert len(api.call("GET", "/recoveries").json()["items"]) == 1


def test_requests_are_listed_in_pages(api: Api, history: list[Identity]) -> None:
    made = [ask(api, key=history[0].archived)["id"] for _ in range(3)]
    first = api.call("GET", "/recoveries?limit=2").json()
    second = api.call("GET", f"/recoveries?limit=2&after={first['next']}").json()
    assert [item["id"] for page in (first, second) for item in page["items"]] == made[::-1]
    assert api.call("GET", f"/recoveries?person={ALICE}").json()["items"] != []
    assert api.call("GET", "/recoveries?person=bob@example.com").json()["items"] == []
    assert api.call("GET", "/recoveries?person=nobody@example.com").status_code == 404


def test_what_cannot_be_asked_for(api: Api, history: list[Identity]) -> None:
    wrong: list[tuple[dict[str, object], int]] = [
        ({"reason": ""}, 400),
        ({"reason": "two\nlines"}, 400),
        ({"reason": "x" * 1001}, 400),
        ({"person": "nobody@example.com"}, 404),
        ({"person": "bob@example.com"}, 404),
        ({"key": 4711}, 404),
        ({"key": 0}, 400),
        ({"key": history[0].archived, "history": True}, 400),
        ({"person": "olga@example.com"}, 403),
        ({"approved": True}, 400),
    ]
    for change, status in wrong:
        answer = api.call("POST", "/recoveries", Role.OFFICER, json=ASKED | change)
        assert (change, answer.status_code) == (change, status), answer.text
    assert api.call("GET", "/recoveries").json()["items"] == []
    assert api.call("GET", "/recoveries/4711").status_code == 404
    assert export(api, 4711).status_code == 404
    assert export(api, 4711, encoding="rc2").status_code == 400
