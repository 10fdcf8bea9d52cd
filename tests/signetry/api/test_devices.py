"""``/devices``: recorded by administrators, and by an MDM for the members of its group."""

from signetry.access.roles import Role
from tests.signetry.api.conftest import Api

PHONE = {"name": "phone", "owner": "alice@example.com", "platform": "iOS", "serial_number": "F2LXK0ABCDEF"}


def names(api: Api, query: str = "", role: Role = Role.ADMIN) -> list[str]:
    return [device["name"] for device in api.call("GET", f"/devices{query}", role).json()["items"]]


def test_a_device_is_recorded_found_and_changed(api: Api) -> None:
    made = api.call("POST", "/devices", json=PHONE)
    assert (made.status_code, made.json()["platform"]) == (201, "ios")
    assert api.call("GET", "/devices/phone").json() == made.json() == api.call("GET", f"/devices/{made.json()['id']}").json()
    changed = api.call("PATCH", "/devices/phone", json={"owner": "bob@example.com", "serial_number": ""}).json()
    assert (changed["owner"], changed["serial_number"], changed["platform"]) == ("bob@example.com", None, "ios")
    assert api.call("POST", "/devices/phone/deactivate").json()["active"] is False
    assert api.call("POST", "/devices/phone/activate").json()["active"] is True
    assert api.call("GET", "/devices/fax").status_code == 404


def test_what_cannot_be_a_device_is_refused(api: Api) -> None:
    for wrong, status in (
        ({"imei": "490154203237519"}, 400),
        ({"udid": "not one"}, 400),
        ({"wifi_mac": "01:00:5e:00:00:01"}, 400),
        ({"name": ""}, 400),
        ({"owner": "nobody@example.com"}, 404),
        ({"colour": "black"}, 400),
    ):
        assert (wrong, api.call("POST", "/devices", json={**PHONE, **wrong}).status_code) == (wrong, status)
    assert names(api) == []


def test_devices_are_listed_by_name_filtered_and_in_pages(api: Api) -> None:
    for number, owner in enumerate(("alice@example.com", "bob@example.com", ""), 1):
        api.call("POST", "/devices", json={"name": f"phone-{number}", "owner": owner, "mdm_id": f"m{number}"})
    api.call("POST", "/devices/phone-3/deactivate")
    assert names(api, "?owner=bob@example.com") == ["phone-2"]
    assert names(api, "?text=M1") == ["phone-1"]
    assert names(api, "?active=true") == ["phone-1", "phone-2"]
    assert api.call("GET", "/devices?owner=nobody@example.com").status_code == 404
    first = api.call("GET", "/devices?limit=2").json()
    assert names(api, f"?limit=2&after={first['next']}") == ["phone-3"]


def test_an_mdm_registers_and_sees_its_groups_devices_only(api: Api) -> None:
    api.call("POST", "/devices", json={"name": "bobs", "owner": "bob@example.com", "serial_number": "B1"})
    api.call("POST", "/devices", json={"name": "printer"})
    assert api.call("POST", "/devices", Role.MDM, json=PHONE).status_code == 201
    assert names(api, role=Role.MDM) == ["phone"]
    for device in ("bobs", "printer", "fax"):
        assert api.call("GET", f"/devices/{device}", Role.MDM).status_code == 404
    assert api.call("GET", "/devices?owner=bob@example.com", Role.MDM).status_code == 404
    there, absent = (
        api.call("POST", "/devices", Role.MDM, json={"name": "other", "owner": f"{name}@example.com"}) for name in ("bob", "nob")
    )
    assert (there.status_code, there.text.replace("bob", "nob")) == (404, absent.text)
    assert api.call("POST", "/devices", Role.MDM, json={"name": "other"}).status_code == 422


def test_an_mdm_is_not_told_whose_a_taken_number_is(api: Api) -> None:
    api.call("POST", "/devices", json={"name": "bobs", "owner": "bob@example.com", "serial_number": "B1"})
    taken = {**PHONE, "serial_number": "B1"}
    assert "bobs" in api.call("POST", "/devices", json=taken).json()["detail"]
    refused = api.call("POST", "/devices", Role.MDM, json=taken)
    assert refused.status_code == 409
    assert "bobs" not in refused.text
