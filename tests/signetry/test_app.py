"""The applications: health, errors, headers."""

from collections.abc import Callable

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from foundation.errors import Conflict, NotAuthorised, NotFound, RefusedByPolicy, Unavailable
from signetry.app import ReadinessCheck, WebParts, admin_app, device_app, public_app

Builder = Callable[[WebParts], ASGIApp]


def refusing(error: Exception) -> Route:
    async def route(_request: Request) -> Response:
        raise error

    return Route("/refusing", route)


def parts(*routes: Route, checks: tuple[ReadinessCheck, ...] = ()) -> WebParts:
    return WebParts(public_routes=routes, device_routes=routes, admin_routes=routes, readiness=checks)


@pytest.fixture(params=[public_app, device_app, admin_app])
def build(request: pytest.FixtureRequest) -> Builder:
    builder: Builder = request.param
    return builder


def test_healthz_answers_while_nothing_else_works(build: Builder) -> None:
    def broken() -> None:
        raise Unavailable("the database is not available")

    client = TestClient(build(parts(checks=(ReadinessCheck("database", broken),))))
    assert client.get("/healthz").json() == {"status": "ok"}


def test_readyz_gives_every_reason(build: Builder) -> None:
    def fine() -> None:
        pass

    def late() -> None:
        raise Unavailable("the CRL has expired")

    def defect() -> None:
        raise LookupError("/secret/path")

    checks = (ReadinessCheck("database", fine), ReadinessCheck("crl", late), ReadinessCheck("keys", defect))
    answer = TestClient(build(parts(checks=checks))).get("/readyz")
    assert answer.status_code == 503
    reasons = answer.json()["reasons"]
    assert set(reasons) == {"crl", "keys"}
    assert reasons["crl"] == "the CRL has expired"
    assert "/secret/path" not in answer.text
    assert TestClient(build(parts(checks=checks[:1]))).get("/readyz").json() == {"status": "ready"}


def test_an_unknown_path_is_a_plain_json_404(build: Builder) -> None:
    answer = TestClient(build(parts())).get("/docs")
    title = {"type": "about:blank", "title": "Not Found"}
    assert (answer.status_code, answer.json()) == (404, {**title, "status": 404, "detail": "Not Found", "instance": "/docs"})


def test_administrators_are_led_to_no_other_host() -> None:
    client = TestClient(admin_app(parts(refusing(NotFound("a")))), headers={"Host": "elsewhere.example"})
    answer = client.get("/refusing/", follow_redirects=False)
    assert (answer.status_code, answer.headers.get("location")) == (404, None)


def test_a_wrong_method_is_told_the_right_ones(build: Builder) -> None:
    answer = TestClient(build(parts())).post("/healthz")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotAuthorised("a"), 403), (NotFound("a"), 404), (Conflict("a"), 409), (RefusedByPolicy("a"), 422), (Unavailable("a"), 503)],
)
def test_a_refusal_has_its_categorys_status_and_its_message(build: Builder, error: Exception, status: int) -> None:
    answer = TestClient(build(parts(refusing(error)))).get("/refusing")
    assert (answer.status_code, answer.json()["detail"]) == (status, "a")


def test_a_defect_shows_nothing_but_a_log_reference(build: Builder) -> None:
    answer = TestClient(build(parts(refusing(LookupError("/secret/path"))))).get("/refusing")
    assert answer.status_code == 500
    assert set(answer.json()) == {"type", "title", "status", "detail", "instance", "reference"}
    assert "secret" not in answer.text


def test_browsers_are_told_what_not_to_do_on_the_tls_listeners() -> None:
    for build in (device_app, admin_app):
        headers = TestClient(build(parts())).get("/healthz").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
    assert "x-frame-options" not in TestClient(public_app(parts())).get("/healthz").headers


def test_a_routes_own_header_wins() -> None:
    async def page(_request: Request) -> Response:
        return PlainTextResponse("x", headers={"Cache-Control": "max-age=60"})

    headers = TestClient(device_app(parts(Route("/page", page)))).get("/page").headers
    assert headers.get_list("cache-control") == ["max-age=60"]
