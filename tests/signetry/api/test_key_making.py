"""``/encryption-keys``, and what of it shows at ``/certificates``; the keys are made by the real workshop."""

from collections.abc import Iterator

import pytest

from signetry.access.roles import Role
from tests.signetry.api.conftest import Api


@pytest.fixture
def making(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The API of an installation whose keys are quickly made."""
    settings = api.house.settings
    archive = settings.archive.model_copy(update={"made_key_algorithm": "p256"})
    monkeypatch.setitem(settings.__dict__, "archive", archive)
    yield api
    api.house.workshop.close()


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OFFICER])
def test_a_key_is_made_for_a_person_once(making: Api, role: Role) -> None:
    made = making.call("POST", "/encryption-keys", role, json={"person": "alice@example.com"})
    assert made.status_code == 200, made.text
    assert made.json() | {"serial": "", "not_after": ""} == {
        "person": "alice@example.com",
        "outcome": "issued",
        "serial": "",
        "origin": "made",
        "not_after": "",
        "held_until": None,
        "problem": "",
    }
    again = making.call("POST", "/encryption-keys", role, json={"person": "alice@example.com"}).json()
    assert (again["outcome"], again["serial"]) == ("present", made.json()["serial"])
    shown = making.call("GET", f"/certificates/{again['serial']}", Role.AUDITOR).json()
    assert (shown["escrowed"], shown["held_until"], shown["profile"]) == (True, None, "smime-encryption")
    listed = making.call("GET", "/certificates?person=alice@example.com", Role.AUDITOR).json()["items"]
    assert [each["escrowed"] for each in listed] == [True]


def test_a_new_one_is_made_in_the_place_of_the_one_named_once(making: Api) -> None:
    first = making.call("POST", "/encryption-keys", json={"person": "alice@example.com"}).json()["serial"]
    spelt = ":".join(first[place : place + 2] for place in range(0, len(first), 2)).upper()
    asked = {"person": "alice@example.com", "instead_of": spelt}
    second = making.call("POST", "/encryption-keys", json=asked).json()
    assert second["outcome"] == "issued"
    again = making.call("POST", "/encryption-keys", json=asked).json()
    assert (again["outcome"], again["serial"]) == ("present", second["serial"])


def test_a_dry_run_makes_nothing(making: Api) -> None:
    for path, body in (("", {"person": "alice@example.com"}), ("/group", {"group": "phones"})):
        done = making.call("POST", f"/encryption-keys{path}?dry_run=true", json=body).json()
        view = done["items"][0] if path else done
        assert (view["outcome"], view["serial"]) == ("issued", None)
    assert making.call("GET", "/archived-keys").json()["items"] == []


def test_a_group_is_seen_to_part_by_part(making: Api) -> None:
    assert making.call("PUT", "/groups/phones/members/bob@example.com").status_code == 200
    first = making.call("POST", "/encryption-keys/group", json={"group": "phones", "at_most": 1}).json()
    assert ([each["person"] for each in first["items"]], first["next"]) == (["alice@example.com"], "alice@example.com")
    asked = {"group": "phones", "at_most": 2, "after": first["next"]}
    second = making.call("POST", "/encryption-keys/group", json=asked).json()
    assert ([each["outcome"] for each in second["items"]], second["next"]) == (["issued"], None)
    all_of_them = making.call("POST", "/encryption-keys/group", json={"group": "phones"}).json()
    assert [each["outcome"] for each in all_of_them["items"]] == ["present", "present"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", {"person": "nobody@example.com"}, 404),
        ("", {"person": "alice@example.com", "instead_of": "xyz"}, 400),
        ("", {}, 400),
        ("/group", {"group": "tablets"}, 404),
        ("/group", {"group": "phones", "at_most": 51}, 400),
    ],
)
def test_what_makes_no_sense_is_refused(making: Api, path: str, body: dict[str, object], status: int) -> None:
    assert making.call("POST", f"/encryption-keys{path}", json=body).status_code == status


def test_whoever_is_not_active_gets_none(making: Api) -> None:
    making.call("POST", "/persons/bob@example.com/deactivate")
    refused = making.call("POST", "/encryption-keys", json={"person": "bob@example.com"})
    assert refused.status_code == 422, refused.text
    assert "the person is not active" in refused.text


def test_who_ordered_a_key_is_on_record(making: Api) -> None:
    making.call("POST", "/encryption-keys", Role.OFFICER, json={"person": "alice@example.com"})
    events = making.call("GET", "/audit-events?action=key.archived").json()["items"]
    assert [each["actor"] for each in events] == ["token:2:officer"]
