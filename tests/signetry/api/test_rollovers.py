"""``/authorities/{ca}/rollover``: the steps of a roll-over, and a new RA key."""

import pytest

from signetry.access.roles import Role
from signetry.administration.installation import settle_in
from tests.signetry.api.conftest import Api

ROLLOVER = "/authorities/issuing/rollover"


def states(api: Api) -> dict[str, str]:
    return {each["name"]: each["state"] for each in api.call("GET", "/authorities", Role.AUDITOR).json()["items"]}


@pytest.fixture
def prepared(api: Api) -> Api:
    """The API, with a successor that is ready to take over: the worker has been by."""
    answer = api.call("POST", f"{ROLLOVER}/prepare", json={})
    assert (answer.status_code, answer.json()["name"], answer.json()["is_new"]) == (200, "issuing-2", True)
    assert settle_in(api.house) == []
    return api


def test_a_ca_is_rolled_over_step_by_step(prepared: Api) -> None:
    again = prepared.call("POST", f"{ROLLOVER}/prepare", json={"key": "p256"}).json()
    assert (again["name"], again["succeeds"], again["is_new"], again["request"]) == ("issuing-2", "issuing", False, None)
    assert prepared.call("POST", f"{ROLLOVER}/prepare", json={"key": "p384"}).status_code == 409
    assert prepared.call("POST", f"{ROLLOVER}/prepare", json={"key": "rsa1024"}).status_code == 400
    assert states(prepared) == {"issuing": "active", "issuing-2": "prepared", "root": "active"}
    rehearsed = prepared.call("POST", f"{ROLLOVER}/activate?dry_run=true").json()
    assert (rehearsed["changed"], rehearsed["name"]) == (False, "issuing-2")
    assert rehearsed["consequences"]
    assert states(prepared)["issuing"] == "active"
    assert prepared.call("POST", f"{ROLLOVER}/activate").json()["changed"]
    assert not prepared.call("POST", f"{ROLLOVER}/activate").json()["changed"]
    assert states(prepared) == {"issuing": "former", "issuing-2": "active", "root": "active"}
    assert prepared.call("GET", "/authorities/issuing-2").json()["succeeds"] == "issuing"
    assert prepared.call("POST", "/authorities/issuing-2/rollover/retire?force=true").status_code == 409
    assert prepared.call("POST", f"{ROLLOVER}/retire").json()["state"] == "retired"
    assert states(prepared) == {"issuing": "retired", "issuing-2": "active", "root": "active"}


def test_what_is_not_ready_is_a_conflict_and_no_outage(api: Api) -> None:
    assert api.call("POST", f"{ROLLOVER}/activate").status_code == 409
    assert api.call("POST", f"{ROLLOVER}/prepare", json={"elsewhere": True}).json()["request"].startswith("-----BEGIN")
    assert api.call("POST", f"{ROLLOVER}/activate").status_code == 409
    assert states(api)["issuing-2"] == "awaiting"
    for step in ("prepare", "activate", "retire", "ra"):
        answer = api.call("POST", f"/authorities/nobodys/rollover/{step}", json={} if step == "prepare" else None)
        assert answer.status_code == 404, step


def test_a_new_ra_key_is_made_once_for_one_idempotency_key(api: Api) -> None:
    headers = {"Idempotency-Key": "ra-1"}
    first, again = (api.call("POST", f"{ROLLOVER}/ra", headers=headers) for _ in range(2))
    assert (first.status_code, first.json()["subject"]) == (201, "CN=SCEP RA 2 of issuing")
    assert again.json() == first.json()
    assert api.call("POST", f"{ROLLOVER}/ra").json()["subject"] == "CN=SCEP RA 3 of issuing"
