"""Every error of the API is a problem (RFC 9457), and says nothing that its peer must not know."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from foundation.errors import BadRequest, Conflict, NotAuthorised, NotFound, RefusedByPolicy, SignetryError, Unavailable
from signetry.access import tokens
from signetry.access.roles import Role
from signetry.api.app import api_routes
from signetry.api.problems import KINDS
from signetry.app import WebParts, admin_app
from tests.signetry.api.conftest import Api

JSON = {"Content-Type": "application/json"}


def problem(answer: Any, kind: str, status: int) -> Any:  # noqa: ANN401 - httpx's
    """Return the problem in an answer, which must be one of this kind."""
    document = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == document["status"] == status, document
    assert document["type"] == f"/api/problems#{kind}"
    assert document["title"]
    assert document["detail"]
    assert document["instance"].startswith("/api/v1/")
    return document


def test_an_unknown_path(api: Api) -> None:
    for path in ("/nothing", "/tokens/", "/tokens/1/nothing", "//tokens", "/", "/a%0Ab", "/tokens/%2F"):
        problem(api.call("GET", path), "not-found", 404)


def test_a_wrong_method_is_told_all_the_right_ones(api: Api) -> None:
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY"):
        answer = api.call(method, "/tokens")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    problem(api.call("PUT", "/tokens"), "method-not-allowed", 405)


def test_what_does_not_exist(api: Api) -> None:
    assert problem(api.call("GET", "/tokens/4711"), "not-found", 404)["detail"] == "there is no token 4711"


def test_what_the_role_may_not_do_says_which_may(api: Api) -> None:
    assert "admin" in problem(api.call("POST", "/tokens", Role.AUDITOR, json={}), "not-authorised", 403)["detail"]


def test_a_body_that_is_no_json(api: Api) -> None:
    for body in (b"{", b"\xff", b"", b"[" * 100_000, b"1" * 5000, b'{"name": "a"', b"NaN"):
        answer = api.call("POST", "/tokens", content=body, headers=JSON)
        problem(answer, "bad-request", 400)


def test_a_body_of_another_type(api: Api) -> None:
    for content_type in ("text/plain", "application/xml", "", "application/json-seq", "multipart/form-data; boundary=a"):
        answer = api.call("POST", "/tokens", content=b"{}", headers={"Content-Type": content_type})
        problem(answer, "unsupported-media-type", 415)


def test_a_body_that_is_too_large(api: Api) -> None:
    body = b'"' + b"a" * (1 << 20)
    problem(api.call("POST", "/tokens", content=body, headers=JSON), "too-large", 413)
    # In pieces, whose sum nobody has announced.
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    problem(api.call("POST", "/tokens", content=pieces, headers=JSON), "too-large", 413)
    problem(api.call("POST", "/tokens", content=body[: 1 << 20], headers=JSON), "bad-request", 400)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "a"}, "/role"),
        ({"name": "a", "role": "root"}, "/role"),
        ({"name": "", "role": "auditor"}, "/name"),
        ({"name": "a" * 101, "role": "auditor"}, "/name"),
        ({"name": 1, "role": "auditor"}, "/name"),
        ({"name": "a", "role": "auditor", "lifetime_days": 0}, "/lifetime_days"),
        ({"name": "a", "role": "auditor", "lifetime_days": 367}, "/lifetime_days"),
        ({"name": "a", "role": "auditor", "lifetime_days": True}, "/lifetime_days"),
        ({"name": "a", "role": "auditor", "lifetime_days": "7"}, "/lifetime_days"),
        ({"name": "a", "role": "auditor", "lifetime_days": 7.5}, "/lifetime_days"),
        ({"name": "a", "role": "auditor", "lifetime_days": 1e300}, "/lifetime_days"),
        ({"name": "a", "role": "auditor", "unknown/field": "x"}, "/unknown~1field"),
        ({"name": "a", "role": "mdm", "endpoints": ["default"] * 101}, "/endpoints"),
        ({"name": "a\0", "role": "auditor"}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_what_is_wrong_with_a_body_is_pointed_at(api: Api, body: object, pointer: str) -> None:
    document = problem(api.call("POST", "/tokens", json=body), "bad-request", 400)
    assert [(error["location"], error["pointer"]) for error in document["errors"]] == [("body", pointer)]


def test_a_lone_surrogate_is_no_text(api: Api) -> None:
    answer = api.call("POST", "/tokens", content=b'{"name": "\\ud800", "role": "auditor"}', headers=JSON)
    problem(answer, "bad-request", 400)


def test_what_is_wrong_with_a_query_is_named(api: Api) -> None:
    document = problem(api.call("GET", "/tokens?limit=0"), "bad-request", 400)
    assert document["errors"][0]["location"] == "query"
    assert document["errors"][0]["pointer"] == "limit"
    assert "known: after, good, limit" in problem(api.call("GET", "/tokens?god=1"), "bad-request", 400)["detail"]
    problem(api.call("GET", "/tokens?limit=%00"), "bad-request", 400)
    problem(api.call("GET", "/persons/a%00b"), "bad-request", 400)


def test_nothing_that_was_sent_comes_back(api: Api) -> None:
    canary = "CANARY-of-a-secret"
    answers = [
        api.call("POST", "/tokens", json={"name": "a", "role": canary}),
        api.call("POST", "/tokens", json={"name": "a", "role": "auditor", "lifetime_days": canary}),
        api.call("POST", "/tokens", content=json.dumps(canary), headers=JSON),
        api.call("POST", "/tokens", content=canary, headers=JSON),
        api.call("GET", f"/tokens?limit={canary}"),
        api.call("GET", f"/tokens?after={canary}"),
        api.call("GET", f"/tokens?{canary}=1"),
        api.call("GET", "/tokens", None, headers={"Authorization": f"Bearer {canary}"}),
        api.call("POST", "/groups", json={"name": "b"}, headers={"Idempotency-Key": f"{canary} "}),
    ]
    for answer in answers:
        assert answer.status_code in {400, 401}
        assert canary not in answer.text


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (BadRequest("why"), "bad-request", 400),
        (NotAuthorised("why"), "not-authorised", 403),
        (NotFound("why"), "not-found", 404),
        (Conflict("why"), "conflict", 409),
        (RefusedByPolicy("why"), "refused", 422),
        (Unavailable("why"), "unavailable", 503),
    ],
)
def test_every_category_of_errors_has_its_kind(
    api: Api, monkeypatch: pytest.MonkeyPatch, error: SignetryError, kind: str, status: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tokens, "get_token", refuse)
    answer = api.call("GET", "/tokens/1")
    assert problem(answer, kind, status)["detail"] == "why"
    assert ("retry-after" in answer.headers) == (status == 503)


def test_a_defect_shows_nothing_but_a_log_reference(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("/secret/path")

    monkeypatch.setattr(tokens, "get_token", fail)
    document = problem(api.call("GET", "/tokens/1"), "internal-error", 500)
    assert set(document) == {"type", "title", "status", "detail", "instance", "reference"}
    assert "secret" not in json.dumps(document)
    assert document["reference"] in capsys.readouterr().out


def test_every_kind_is_explained_where_its_type_leads(api: Api) -> None:
    page = api.client.get("/api/problems")
    assert page.status_code == 200
    for kind in KINDS:
        assert f'id="{kind.name}"' in page.text


def test_problems_look_the_same_behind_the_administrative_listener(api: Api) -> None:
    client = TestClient(admin_app(WebParts(admin_routes=api_routes(api.house))), raise_server_exceptions=False)
    answer = client.get("/api/v1/nothing")
    problem(answer, "not-found", 404)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    for path in ("/api/v2/tokens", "/api", "/api/v1", "/api/docs/nothing", "/api/openapi.json/", "//api/v1/whoami"):
        outside = client.get(f"http://testserver{path}", follow_redirects=False)
        assert (path, outside.status_code, outside.headers["content-type"]) == (path, 404, "application/problem+json")
        assert set(outside.json()) == {"type", "title", "status", "detail", "instance"}


def test_the_documentation_lists_every_kind() -> None:
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| `([a-z-]+)` \| ([0-9]{3}) \|", text, re.MULTILINE)
    assert shown == [(kind.name, str(kind.status)) for kind in KINDS]
