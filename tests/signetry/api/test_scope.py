"""What lies outside of an ``mdm`` token's scope answers as if it did not exist, wherever such a token gets in."""

import json

import pytest

from signetry.access.roles import Role
from tests.signetry.api.conftest import Api
from tests.signetry.api.issuing import issue


@pytest.fixture
def devices(api: Api) -> Api:
    """A phone of alice, who is in the token's group, one of bob, who is not, and one of nobody."""
    for name, owner in (("inside", "alice@example.com"), ("outside", "bob@example.com"), ("shared", None)):
        made = api.call("POST", "/devices", json={"name": name, "owner": owner} if owner else {"name": name})
        assert made.status_code == 201, made.text
    return api


def answer(api: Api, method: str, path: str, name: str, body: object = None) -> tuple[int, str]:
    """Ask for something by ``name``; return status and answer, the name taken out."""
    got = api.call(method, path.format(name), Role.MDM, json=json.loads(json.dumps(body).replace("{}", name)) if body else None)
    return got.status_code, got.text.replace(name, "NAME")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/persons/{}@example.com", None),
        ("GET", "/certificates?person={}@example.com", None),
        ("GET", "/devices?owner={}@example.com", None),
        ("POST", "/challenges", {"person": "{}@example.com"}),
        ("POST", "/devices", {"name": "new", "owner": "{}@example.com"}),
        ("POST", "/revocations", {"person": "{}@example.com"}),
    ],
)
def test_a_person_outside_is_nobody(api: Api, method: str, path: str, body: object) -> None:
    there = answer(api, method, path, "bob", body)
    assert there == answer(api, method, path, "zed", body)
    assert there[0] in {400, 404}, there


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/devices/{}", None),
        ("GET", "/certificates?device={}", None),
        ("POST", "/challenges", {"device": "{}", "person": "alice@example.com"}),
        ("POST", "/revocations", {"device": "{}"}),
    ],
)
def test_a_device_outside_is_none(devices: Api, method: str, path: str, body: object) -> None:
    absent = answer(devices, method, path, "absent", body)
    assert absent[0] == 404, absent
    for name in ("outside", "shared"):
        assert answer(devices, method, path, name, body) == absent


def test_numbers_lead_no_further_than_names(devices: Api) -> None:
    for path in ("/persons", "/devices"):
        everything = {item["id"] for item in devices.call("GET", path).json()["items"]}
        seen = {item["id"] for item in devices.call("GET", path, Role.MDM).json()["items"]}
        assert len(seen) == 1
        for number in everything | {4711}:
            assert devices.call("GET", f"{path}/{number}", Role.MDM).status_code == (200 if number in seen else 404)


def test_who_leaves_the_group_leaves_the_scope(devices: Api) -> None:
    assert devices.call("GET", "/persons/alice@example.com", Role.MDM).status_code == 200
    devices.call("DELETE", "/groups/phones/members/alice@example.com")
    for path in ("/persons/alice@example.com", "/devices/inside"):
        assert devices.call("GET", path, Role.MDM).status_code == 404


def test_with_a_phone_that_is_passed_on_its_former_users_certificates_do_not_come_into_view(devices: Api) -> None:
    former = issue(devices, "bob@example.com", device="outside")
    devices.call("PATCH", "/devices/outside", json={"owner": "alice@example.com"})
    assert devices.call("GET", "/devices/outside", Role.MDM).status_code == 200
    assert devices.call("GET", "/certificates?device=outside", Role.MDM).json()["items"] == []
    for path in ("", "/pem", "/chain"):
        assert devices.call("GET", f"/certificates/{former}{path}", Role.MDM).status_code == 404
    assert devices.call("POST", f"/certificates/{former}/revoke", Role.MDM, json={}).status_code == 404
    assert devices.call("POST", "/revocations", Role.MDM, json={"device": "outside"}).json()["items"] == []
    assert devices.call("GET", f"/certificates/{former}").json()["status"] == "good"


def test_a_phone_that_left_the_group_has_no_name_any_more(devices: Api) -> None:
    own = issue(devices, "alice@example.com", device="inside")

    def named() -> list[str | None]:
        (listed,) = devices.call("GET", "/certificates", Role.MDM).json()["items"]
        return [listed["device"], devices.call("GET", f"/certificates/{own}", Role.MDM).json()["device"]]

    assert named() == ["inside", "inside"]
    devices.call("PATCH", "/devices/inside", json={"owner": "bob@example.com"})
    assert named() == [None, None]
    assert devices.call("GET", f"/certificates/{own}").json()["device"] == "inside"


def test_who_may_not_read_groups_learns_nothing_of_them_by_a_filter(api: Api) -> None:
    api.call("POST", "/groups", json={"name": "directors"})
    api.call("PUT", "/groups/directors/members/alice@example.com")
    for role in (Role.MDM, Role.RECOVERY):
        there, absent = (api.call("GET", f"/persons?group={name}", role) for name in ("directors", "nothing"))
        assert (there.status_code, there.text) == (403, absent.text)
    for role, group in ((Role.MDM, "phones"), (Role.OFFICER, "directors")):
        assert [item["upn"] for item in api.call("GET", f"/persons?group={group}", role).json()["items"]] == ["alice@example.com"]


def test_without_its_group_a_token_reaches_nothing(devices: Api) -> None:
    devices.call("DELETE", "/groups/phones")
    for path in ("/persons", "/devices", "/certificates"):
        assert devices.call("GET", path, Role.MDM).json()["items"] == []
    assert devices.call("POST", "/challenges", Role.MDM, json={"person": "alice@example.com"}).status_code == 404
