"""``/tokens``: what an administrator makes, sees and ends over the API."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from audit.records import AuditEvent
from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest
from tests.signetry.api.conftest import Api

OFFICER = {"name": "Olga", "role": "officer", "upn": "olga@example.com"}
RECOVERY = {"name": "Rita", "role": "recovery", "upn": "rita@example.com"}


def create(api: Api, token: str, **wanted: object) -> Any:  # noqa: ANN401 - httpx's
    return api.client.post("/api/v1/tokens", json=wanted, headers={"Authorization": f"Bearer {token}"})


def test_a_token_is_shown_once_and_works(api: Api) -> None:
    made = api.call("POST", "/tokens", json={"name": "monitoring", "role": "auditor", "lifetime_days": 7})
    assert made.status_code == 201
    token = made.json()["token"]
    myself = api.client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {token}"}).json()
    assert (myself["name"], myself["role"]) == ("monitoring", "auditor")
    for path in ("/tokens", f"/tokens/{myself['id']}"):
        assert token.split("_", 2)[2] not in api.call("GET", path).text


def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    """JSON Schema calls 7.0 an integer, and some programs write it so."""
    made = api.call("POST", "/tokens", json={"name": "a", "role": "auditor", "lifetime_days": 7.0}).json()
    assert datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"]) == timedelta(days=7)


def test_an_mdm_token_is_limited_to_what_there_is(api: Api) -> None:
    whole = {"name": "jamf", "role": "mdm", "endpoints": ["default"], "profiles": ["identity"], "group": "phones"}
    made = api.call("POST", "/tokens", json=whole)
    assert made.json()["scope"] == {key: whole[key] for key in ("endpoints", "profiles", "group")}
    for key, unknown, status in (("endpoints", ["nope"], 404), ("profiles", ["nope"], 422), ("group", "nope", 404)):
        assert api.call("POST", "/tokens", json={**whole, key: unknown}).status_code == status
    for key in ("endpoints", "profiles", "group"):
        assert api.call("POST", "/tokens", json={name: value for name, value in whole.items() if name != key}).status_code >= 400


def test_a_revoked_token_is_of_no_use_at_once(api: Api) -> None:
    assert api.call("GET", "/whoami", Role.AUDITOR).status_code == 200
    number = api.call("GET", "/whoami", Role.AUDITOR).json()["id"]
    revoked = api.call("POST", f"/tokens/{number}/revoke")
    assert revoked.json()["revoked_at"] is not None
    assert api.call("GET", "/whoami", Role.AUDITOR).status_code == 401
    assert api.call("POST", f"/tokens/{number}/revoke").json() == revoked.json()


@pytest.mark.parametrize(("first", "second"), [(OFFICER, RECOVERY), (RECOVERY, OFFICER)])
def test_one_administrator_alone_does_not_make_officer_and_recovery(
    api: Api, first: dict[str, str], second: dict[str, str]
) -> None:
    """Nor with a second token of their own, nor with one that this made."""
    for role in (Role.OFFICER, Role.RECOVERY):
        api.call("POST", f"/tokens/{api.call('GET', '/whoami', role).json()['id']}/revoke")
    anna = api.make_token(TokenRequest("anna", Role.ADMIN))
    bert = api.make_token(TokenRequest("bert", Role.ADMIN))
    second_of_anna = create(api, anna, name="second", role="admin").json()["token"]
    third_of_anna = create(api, second_of_anna, name="third", role="admin").json()["token"]
    assert create(api, third_of_anna, **first).status_code == 201
    for token in (anna, second_of_anna, third_of_anna):
        refused = create(api, token, **second)
        assert (refused.status_code, refused.json()["type"]) == (422, "/api/problems#refused")
    assert create(api, bert, **second).status_code == 201
    # The command line's own lineage is another one again.
    api.make_token(TokenRequest(first["name"], Role(first["role"]), person=first["upn"]), "cli:root")


def test_one_person_does_not_hold_both(api: Api) -> None:
    assert create(api, api.tokens[Role.ADMIN], **{**RECOVERY, "upn": OFFICER["upn"]}).status_code == 422


def test_no_token_reaches_the_audit_record(api: Api) -> None:
    token = api.call("POST", "/tokens", json={"name": "a", "role": "auditor"}).json()["token"]
    with api.house.transactions.reading() as session:
        events = session.exec(select(AuditEvent)).all()
    assert any(event.action == "token.created" and event.actor == "token:1:admin" for event in events)
    record = "".join(repr(event.model_dump()) for event in events)
    for text in (token, *api.tokens.values()):
        assert text.split("_", 2)[2] not in record
