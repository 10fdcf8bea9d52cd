"""``/persons``: recorded, found, changed, let go."""

import json
from typing import Any

from signetry.access.roles import Role
from tests.signetry.api.conftest import Api
from tests.signetry.api.issuing import issue

TARO = {
    "upn": "taro@corp.example.com",
    "email": "Taro.Yamada@Example.com",
    "aliases": ["t@example.com"],
    "display_name": "山田 太郎",
    "sid": "S-1-5-21-1-2-3-1104",
    "language": "ja",
}


def add(api: Api, **fields: object) -> Any:  # noqa: ANN401 - httpx's
    return api.call("POST", "/persons", json={**TARO, **fields})


def upns(answer: Any) -> list[str]:  # noqa: ANN401 - httpx's
    return [person["upn"] for person in answer.json()["items"]]


def test_a_person_is_recorded_shown_and_audited_as_the_tokens_doing(api: Api) -> None:
    made = add(api)
    assert made.status_code == 201
    shown = made.json()
    assert (shown["email"], shown["aliases"], shown["active"]) == ("taro.yamada@example.com", ["t@example.com"], True)
    for name in ("taro@corp.example.com", "T@example.com", str(shown["id"])):
        assert api.call("GET", f"/persons/{name}").json() == shown
    (event,) = api.call("GET", f"/audit-events?subject=person:{shown['id']}").json()["items"]
    assert (event["action"], event["actor"], event["origin"]) == ("person.added", "token:1:admin", "192.0.2.7")


WRONG: list[tuple[dict[str, Any], int]] = [
    ({"upn": "alice@example.com"}, 409),
    ({"email": "alice@example.com"}, 409),
    ({"aliases": ["bob@example.com"]}, 409),
    ({"email": "taro@localhost"}, 400),
    ({"email": "no address"}, 400),
    ({"sid": "S-1-5-99999999999"}, 400),
    ({"language": "nihongo-desu-ne-"}, 400),
    ({"display_name": "Ta\0ro"}, 400),
    ({"display_name": "Ta\ud800ro"}, 400),
    ({"display_name": "Ta\u202ero"}, 400),
    ({"display_name": "x" * 201}, 400),
    ({"aliases": [f"a{number}@example.com" for number in range(101)]}, 400),
    ({"role": "admin"}, 400),
    ({"upn": None}, 400),
]


def test_what_cannot_be_a_person_is_refused_and_leaves_nothing(api: Api) -> None:
    for wrong, status in WRONG:
        # Escaped: a lone surrogate has no other way into a request.
        body = json.dumps({**TARO, **wrong}).encode()
        answer = api.call("POST", "/persons", content=body, headers={"Content-Type": "application/json"})
        assert (wrong, answer.status_code, answer.headers["content-type"]) == (wrong, status, "application/problem+json")
    assert "taro@corp.example.com" not in upns(api.call("GET", "/persons"))


def test_a_repeated_request_records_one_person(api: Api) -> None:
    first, second = (api.call("POST", "/persons", json=TARO, headers={"Idempotency-Key": "1"}) for _ in range(2))
    assert (first.json(), first.status_code) == (second.json(), second.status_code)
    assert second.headers["idempotency-replayed"] == "true"


def test_persons_are_listed_by_upn_filtered_and_in_pages(api: Api) -> None:
    api.call("POST", "/persons/bob@example.com/deactivate")
    everybody = ["alice@example.com", "bob@example.com", "olga@example.com", "rita@example.com"]
    assert upns(api.call("GET", "/persons")) == everybody
    assert upns(api.call("GET", "/persons?active=false")) == ["bob@example.com"]
    assert upns(api.call("GET", "/persons?text=LI")) == ["alice@example.com"]
    assert upns(api.call("GET", "/persons?group=phones")) == ["alice@example.com"]
    assert upns(api.call("GET", "/persons?group=nobodys")) == []
    first = api.call("GET", "/persons?limit=2")
    # Who is inserted before the cursor's place is not seen again, who behind it is.
    add(api, upn="aaa@example.com", email="aaa@example.com", aliases=[])
    add(api, upn="pat@example.com", email="pat@example.com", aliases=[], sid="")
    second = api.call("GET", f"/persons?limit=2&after={first.json()['next']}")
    assert upns(first) + upns(second) == ["alice@example.com", "bob@example.com", "olga@example.com", "pat@example.com"]
    assert api.call("GET", "/persons?after=nonsense").status_code == 400


def test_only_what_a_change_names_is_changed(api: Api) -> None:
    add(api)
    changed = api.call("PATCH", "/persons/t@example.com", json={"surname": "鈴木", "sid": ""}).json()
    assert (changed["surname"], changed["sid"], changed["display_name"]) == ("鈴木", None, "山田 太郎")
    changed = api.call("PATCH", "/persons/t@example.com", json={"aliases": ["new@example.com"]}).json()
    assert changed["aliases"] == ["new@example.com"]
    assert api.call("PATCH", "/persons/new@example.com", json={"email": "bob@example.com"}).status_code == 409
    assert api.call("PATCH", "/persons/new@example.com", json={"email": "x@localhost"}).status_code == 400
    assert api.call("PATCH", "/persons/t@example.com", json={}).status_code == 404


def test_aliases_come_and_go_one_by_one(api: Api) -> None:
    alias = "/persons/alice@example.com/aliases/al@example.com"
    assert [api.call("PUT", alias).json()["aliases"] for _ in range(2)] == [["al@example.com"]] * 2
    assert api.call("DELETE", alias).json()["aliases"] == []
    assert api.call("DELETE", alias).status_code == 404
    assert api.call("PUT", "/persons/alice@example.com/aliases/bob@example.com").status_code == 409
    assert api.call("PUT", "/persons/alice@example.com/aliases/nothing").status_code == 400


def test_activity_is_switched(api: Api) -> None:
    assert api.call("POST", "/persons/alice@example.com/deactivate").json()["active"] is False
    assert api.call("POST", "/persons/alice@example.com/activate").json()["active"] is True
    assert api.call("POST", "/persons/nobody@example.com/activate").status_code == 404


def test_offboarding_takes_everything_back_and_its_rehearsal_nothing(api: Api) -> None:
    serial = issue(api, "alice@example.com", device="phone")
    gone = {"devices": ["phone"], "revoked": [serial], "stopped_deliveries": [], "withdrawn": [], "archived_keys": 0}
    for dry_run, status in ((True, "good"), (False, "revoked")):
        answer = api.call("POST", f"/persons/alice@example.com/offboard?dry_run={dry_run}", Role.OFFICER).json()
        assert {key: answer[key] for key in gone} == gone
        assert answer["person"]["active"] is False
        assert api.call("GET", f"/certificates/{serial}").json()["status"] == status
        assert api.call("GET", "/persons/alice@example.com").json()["active"] is dry_run
        assert api.call("GET", "/devices/phone").json()["active"] is dry_run


def test_for_an_mdm_there_is_nobody_beyond_its_group(api: Api) -> None:
    bob = api.call("GET", "/persons/bob@example.com").json()["id"]
    assert upns(api.call("GET", "/persons", Role.MDM)) == ["alice@example.com"]
    assert upns(api.call("GET", "/persons?text=bob", Role.MDM)) == []
    for known, unknown in ((f"{bob}", "4711"), ("bob@example.com", "nob@example.com")):
        there, absent = (api.call("GET", f"/persons/{name}", Role.MDM) for name in (known, unknown))
        assert (there.status_code, absent.status_code) == (404, 404)
        assert there.json()["detail"].replace(known, "NAME") == absent.json()["detail"].replace(unknown, "NAME")
    assert api.call("GET", "/persons/alice@example.com", Role.MDM).status_code == 200
