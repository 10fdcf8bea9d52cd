"""Every route of the API, tried by every role, by nobody, and with tokens that are not good.

``EXPECTED`` is written by hand: a route whose permission is wrong fails here, and so does a table of roles that is wrong.
"""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi.routing import APIRouter
from sqlalchemy import make_url
from sqlmodel import Session, col, select
from starlette.testclient import TestClient
from starlette.types import Scope

from audit.log import Actor
from audit.records import AuditEvent
from foundation.errors import Unavailable
from people.persons import deactivate_person, person_named
from signetry.access import tokens
from signetry.access.roles import Permission, Role, roles_with
from signetry.access.tokens import TokenOrder
from signetry.administration.tokens import TokenRequest
from signetry.api.app import ROUTERS, api_app, api_routes
from signetry.api.routing import ApiRoute, router
from signetry.api.security import Caller, requires
from signetry.app import WebParts, admin_app
from signetry.database import Database
from tests.signetry.api.conftest import Api

ALL = {"admin", "officer", "recovery", "auditor", "mdm"}
READERS = {"admin", "officer", "auditor"}
EXPECTED: dict[str, set[str]] = {
    "GET /whoami": ALL,
    "GET /persons": ALL,
    "GET /persons/{person}": ALL,
    "POST /persons": {"admin"},
    "PATCH /persons/{person}": {"admin"},
    "PUT /persons/{person}/aliases/{email}": {"admin"},
    "DELETE /persons/{person}/aliases/{email}": {"admin"},
    "POST /persons/{person}/deactivate": {"admin"},
    "POST /persons/{person}/activate": {"admin"},
    "POST /persons/{person}/offboard": {"admin", "officer"},
    "POST /imports/persons": {"admin"},
    "GET /groups": READERS,
    "GET /groups/{group}": READERS,
    "GET /groups/{group}/members": READERS,
    "POST /groups": {"admin"},
    "DELETE /groups/{group}": {"admin"},
    "PUT /groups/{group}/members/{person}": {"admin"},
    "DELETE /groups/{group}/members/{person}": {"admin"},
    "GET /devices": READERS | {"mdm"},
    "GET /devices/{device}": READERS | {"mdm"},
    "POST /devices": {"admin", "officer", "mdm"},
    "PATCH /devices/{device}": {"admin", "officer"},
    "POST /devices/{device}/deactivate": {"admin", "officer"},
    "POST /devices/{device}/activate": {"admin", "officer"},
    "POST /challenges": {"admin", "officer", "mdm"},
    "GET /requests": READERS,
    "GET /requests/{request_id}": READERS,
    "POST /requests/{request_id}/approve": {"admin", "officer"},
    "POST /requests/{request_id}/reject": {"admin", "officer"},
    "GET /certificates": ALL,
    "GET /certificates/{serial}": ALL,
    "GET /certificates/{serial}/pem": ALL,
    "GET /certificates/{serial}/der": ALL,
    "GET /certificates/{serial}/chain": ALL,
    "POST /certificates/{serial}/revoke": {"admin", "officer", "mdm"},
    "POST /certificates/{serial}/hold": {"admin", "officer"},
    "POST /certificates/{serial}/release": {"admin", "officer"},
    "POST /revocations": {"admin", "officer", "mdm"},
    "POST /imports/revocations": {"admin", "officer", "mdm"},
    "GET /crls": READERS,
    "GET /crls/{ca}": READERS,
    "GET /crls/{ca}/entries": READERS,
    "GET /crls/{ca}/pem": READERS,
    "POST /crls": {"admin"},
    "POST /crls/{ca}/issue": {"admin"},
    "GET /authorities": READERS,
    "GET /authorities/{ca}": READERS,
    "GET /authorities/{ca}/pem": READERS,
    "GET /authorities/{ca}/p7c": READERS,
    "GET /authorities/{ca}/sst": READERS,
    "GET /authorities/{ca}/csr": {"admin"},
    "PUT /authorities/{ca}": {"admin"},
    "POST /authorities/{ca}/install": {"admin"},
    "POST /authorities/{ca}/reissue": {"admin"},
    "POST /authorities/{ca}/rollover/prepare": {"admin"},
    "POST /authorities/{ca}/rollover/activate": {"admin"},
    "POST /authorities/{ca}/rollover/retire": {"admin"},
    "POST /authorities/{ca}/rollover/ra": {"admin"},
    "GET /endpoints": READERS,
    "GET /endpoints/{endpoint}": READERS,
    "GET /directories": READERS,
    "GET /directories/{directory}": READERS,
    "GET /directories/{directory}/differences": READERS,
    "POST /directories/{directory}/publish": {"admin"},
    "DELETE /directories/{directory}": {"admin"},
    "GET /notices": READERS,
    "GET /notices/{notice_id}": READERS,
    "POST /notices/{notice_id}/send": {"admin"},
    "GET /audit-events": READERS,
    "GET /doctor": READERS,
    "GET /archive": READERS | {"recovery"},
    "POST /archived-keys": {"admin"},
    "POST /encryption-keys": {"admin", "officer"},
    "POST /encryption-keys/group": {"admin", "officer"},
    "GET /archived-keys": READERS | {"recovery"},
    "GET /archived-keys/{key_id}": READERS | {"recovery"},
    "GET /deliveries": READERS,
    "GET /deliveries/{delivery_id}": READERS,
    "POST /deliveries": {"officer"},
    "POST /intune/push-pfx": {"officer"},
    "POST /deliveries/{delivery_id}/stop": {"admin", "officer"},
    "GET /recoveries": READERS | {"recovery"},
    "GET /recoveries/{recovery_id}": READERS | {"recovery"},
    "POST /recoveries": {"officer"},
    "POST /recoveries/{recovery_id}/approve": {"recovery"},
    "POST /recoveries/{recovery_id}/reject": {"recovery"},
    "POST /recoveries/{recovery_id}/export": {"officer"},
    "GET /tokens": {"admin", "auditor"},
    "GET /tokens/{token_id}": {"admin", "auditor"},
    "POST /tokens": {"admin"},
    "POST /tokens/{token_id}/revoke": {"admin"},
}
# What stands in for a parameter; the person, the authority, … exist, the rest do not and need not.
SAMPLES = {
    "person": "alice@example.com",
    "email": "a@example.com",
    "group": "phones",
    "ca": "issuing",
    "endpoint": "default",
    "token_id": "4711",
    "request_id": "4711",
    "key_id": "4711",
    "recovery_id": "4711",
    "delivery_id": "4711",
}


def routes() -> Iterator[tuple[str, ApiRoute]]:
    for mounted in ROUTERS:
        for route in mounted.routes:
            assert isinstance(route, ApiRoute)
            for method in route.methods or ():
                yield f"{method} {route.path}", route


ROUTES = dict(routes())


def ask(api: Api, route: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    method, template = route.split(" ")
    path = re.sub(r"\{(\w+)\}", lambda match: SAMPLES.get(match[1], "x"), template)
    answer = api.client.request(method, f"/api/v1{path}", headers=headers)
    return answer.status_code, dict(answer.headers), answer.text


def test_the_expectations_are_of_the_routes_there_are() -> None:
    assert set(ROUTES) == set(EXPECTED)


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_asks_for_the_permission_of_exactly_the_roles_expected(route: str) -> None:
    assert set(roles_with(ROUTES[route].requirement.permission)) == EXPECTED[route]


def test_every_route_is_closed_to_the_other_roles_and_open_to_its_own(api: Api) -> None:
    # What reads before what changes: it would find nothing any more.
    wrong = []
    for route in sorted(ROUTES, key=lambda route: not route.startswith("GET")):
        for role in Role:
            status, _, text = ask(api, route, api.headers(role))
            if (status == 403) == (role in EXPECTED[route]) or status in {401, 405, 500}:
                wrong.append((route, role.value, status, text))
    assert wrong == []


def strangers(api: Api, other: Database) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what must not be let in, by name."""
    good = api.tokens[Role.ADMIN]
    now = api.clock.now()

    def bearing(text: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {text}"}

    yield "nothing", {}
    yield "no scheme", {"Authorization": good}
    yield "another scheme", {"Authorization": f"Basic {good}"}
    yield "an empty token", {"Authorization": "Bearer "}
    yield "no token", bearing("eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
    yield "a token cut short", bearing(good[:-1])
    yield "a token and more", bearing(good + "A")
    yield "two tokens", {"Authorization": f"Bearer {good} {good}"}
    yield "a token of another number", bearing(good.replace("sgt_1_", "sgt_4711_"))
    yield "a token in the query", {}
    order = TokenOrder("foreign", Role.ADMIN)
    foreign = other.write(lambda session: tokens.create(session, order, administrator="x", actor=Actor("x"), now=now))
    assert f"sgt_{foreign[0].id}_" == good[:6]
    yield "a foreign token", bearing(foreign[1])
    expired = api.make_token(TokenRequest("expired", Role.ADMIN, timedelta(minutes=1)))
    revoked = api.make_token(TokenRequest("revoked", Role.ADMIN))
    number = int(revoked.split("_")[1])
    left = api.make_token(TokenRequest("left", Role.ADMIN, person="bob@example.com"))

    def end(session: Session) -> None:
        tokens.revoke(session, number, actor=Actor("x"), now=now)
        deactivate_person(session, person_named(session, "bob@example.com").id, actor=Actor("x"), now=now)

    api.house.transactions.write(end)
    api.clock.advance(timedelta(minutes=2))
    yield "an expired token", bearing(expired)
    yield "a revoked token", bearing(revoked)
    yield "the token of one who left", bearing(left)


def test_every_route_is_closed_to_strangers_and_tells_them_all_the_same(api: Api, tmp_path: Path) -> None:
    other = Database(make_url(f"sqlite:///{tmp_path}/other.db"))
    other.migrate()
    answers = set()
    for name, headers in list(strangers(api, other)):
        for route in ROUTES:
            status, got, text = ask(api, route, headers)
            assert (status, got["www-authenticate"]) == (401, "Bearer"), (name, route, text)
            assert got["content-type"] == "application/problem+json"
            answers.add(json.dumps({**json.loads(text), "instance": ""}))
    other.close()
    assert len(answers) == 1


def test_two_authorization_headers_are_nobodys(api: Api) -> None:
    headers = [("Authorization", f"Bearer {api.tokens[role]}") for role in (Role.ADMIN, Role.AUDITOR)]
    assert api.client.get("/api/v1/whoami", headers=headers).status_code == 401


def test_the_scheme_is_spelled_in_any_case(api: Api) -> None:
    headers = {"Authorization": f"bEARER {api.tokens[Role.ADMIN]}"}
    assert api.client.get("/api/v1/whoami", headers=headers).status_code == 200


def test_a_stranger_is_told_before_anything_is_read(api: Api) -> None:
    """A body that is too large, or no JSON, is not looked at, and the query neither."""
    for body in (b"{", b"x" * (1 << 21)):
        answer = api.client.post("/api/v1/tokens?nonsense=1", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 401
    answer = api.call("POST", "/tokens?nonsense=1", Role.AUDITOR, content=b"{")
    assert answer.status_code == 403


def test_a_route_without_its_caller_does_not_come_to_be() -> None:
    routes = router("/things", "Things")
    with pytest.raises(TypeError, match="exactly once"):
        routes.get("")(lambda: None)


def test_a_route_that_asks_twice_does_not_come_to_be() -> None:
    routes = router("/things", "Things")

    def handler(
        one: Annotated[Caller, requires(Permission.READ_PERSONS)], two: Annotated[Caller, requires(Permission.KNOW_ONESELF)]
    ) -> None:
        del one, two

    with pytest.raises(TypeError, match="exactly once"):
        routes.get("")(handler)


def test_a_router_that_asks_nobody_is_not_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = APIRouter(prefix="/things")
    open_to_all.get("")(lambda: None)
    monkeypatch.setattr("signetry.api.app.ROUTERS", (open_to_all,))
    with pytest.raises(TypeError, match="no ApiRoute"):
        api_app(api.house)


def test_the_documentation_says_the_roles(api: Api) -> None:
    paths = api.client.get("/api/openapi.json").json()["paths"]
    said = {f"{method.upper()} {path}": set(item["x-roles"]) for path, items in paths.items() for method, item in items.items()}
    assert said == EXPECTED


def test_the_caller_is_the_actor_of_what_it_does(api: Api) -> None:
    made = api.call("POST", "/groups", json={"name": "tablets"})
    assert made.status_code == 201, made.text
    with api.house.transactions.reading() as session:
        event = session.exec(
            select(AuditEvent).where(AuditEvent.action == "group.added").order_by(col(AuditEvent.id).desc())
        ).first()
    assert event is not None
    assert (event.actor, event.origin) == ("token:1:admin", "192.0.2.7")


def test_a_tokens_use_is_on_record_within_five_minutes(api: Api) -> None:
    def last_use() -> object:
        return api.call("GET", "/tokens/2").json()["last_used_at"]

    assert last_use() is None
    api.call("GET", "/persons", Role.OFFICER)
    first = last_use()
    assert first is not None
    api.clock.advance(timedelta(minutes=4))
    api.call("GET", "/persons", Role.OFFICER)
    assert last_use() == first
    api.clock.advance(timedelta(minutes=1))
    # A refusal is a use as well.
    assert api.call("POST", "/tokens", Role.OFFICER, json={}).status_code == 403
    assert last_use() > first  # type: ignore[operator]


def test_a_use_that_cannot_be_noted_does_not_matter(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object, **__: object) -> None:
        raise Unavailable("the database is not available")

    monkeypatch.setattr(tokens, "note_use", unavailable)
    assert api.call("GET", "/whoami").status_code == 200


def test_what_an_mdm_token_is(api: Api) -> None:
    shown = api.call("GET", "/whoami", Role.MDM).json()
    assert shown["scope"] == {"endpoints": ["default"], "profiles": ["identity"], "group": "phones"}
    assert shown["role"] == "mdm"
    assert "change-tokens" not in shown["permissions"]


def test_who_calls_is_known_where_requests_are_counted(api: Api) -> None:
    """The scope of a request that was answered says who asked, also where they were refused."""
    seen: list[Any] = []

    def observer(_listener: str, status: int, scope: Scope) -> None:
        seen.append((status, scope["signetry.caller"].role if "signetry.caller" in scope else None))

    client = TestClient(admin_app(WebParts(admin_routes=api_routes(api.house), observer=observer)))
    client.get("/api/v1/whoami", headers=api.headers(Role.MDM))
    client.get("/api/v1/tokens", headers=api.headers(Role.MDM))
    client.get("/api/v1/whoami")
    assert seen == [(200, Role.MDM), (403, Role.MDM), (401, None)]
