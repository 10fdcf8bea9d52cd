"""Deliveries in the processes: how often an address may ask, and the worker's job."""

from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from signetry import assembly, deliveries
from signetry.settings import load_settings
from tests.signetry import installation


def browser(per_minute: int, address: str) -> TestClient:
    with installation.opened() as house:
        archive = house.settings.archive.model_copy(update={"link_requests_per_minute": per_minute})
        limited = replace(house, settings=house.settings.model_copy(update={"archive": archive}))
        return TestClient(Starlette(routes=deliveries.routes(limited)), client=(address, 50000))


@pytest.mark.usefixtures("installed_home")
def test_an_address_that_tries_links_is_slowed_down() -> None:
    guesser = browser(3, "198.51.100.9")
    answers = [guesser.get("/keys?token=1-guess") for _ in range(40)]
    assert [answer.status_code for answer in answers] == [404] * 3 + [429] * 37
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in answers[3:])


@pytest.mark.usefixtures("installed_home")
def test_without_a_limit_nobody_waits() -> None:
    anybody = browser(0, "198.51.100.9")
    assert {anybody.get("/keys").status_code for _ in range(20)} == {404}


@pytest.mark.usefixtures("installed_home")
def test_the_page_is_on_the_device_listener_and_on_no_other() -> None:
    with installation.opened() as house:
        parts = assembly.web_parts(house)
    paths = {
        name: [getattr(route, "path", "") for route in getattr(parts, f"{name}_routes")] for name in ("device", "public", "admin")
    }
    assert "/keys" in paths["device"]
    assert "/keys" not in paths["public"] + paths["admin"]


@pytest.mark.usefixtures("installed_home")
def test_the_worker_ends_what_is_over() -> None:
    with installation.opened() as house:
        (job,) = [job for job in assembly.jobs(house) if job.name == "expired-deliveries"]
        assert job.run() == 0
        assert job.next_due is not None
        with house.transactions.reading() as session:
            assert job.next_due(session) is None
    assert job.every is None or job.every > timedelta(0)


@pytest.mark.usefixtures("empty_home")
def test_links_begin_with_the_public_host_unless_the_settings_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().device_url == "https://127.0.0.1:8444"
    monkeypatch.setenv("SIGNETRY_PUBLIC_URL", "http://pki.example.com:8080")
    assert load_settings().device_url == "https://pki.example.com:8444"
    monkeypatch.setenv("SIGNETRY_PUBLIC_URL", "http://[2001:db8::1]")
    assert load_settings().device_url == "https://[2001:db8::1]:8444"
    monkeypatch.setenv("SIGNETRY_DEVICE_URL", "https://keys.example.com/")
    assert load_settings().device_url == "https://keys.example.com"


@pytest.mark.usefixtures("empty_home")
@pytest.mark.parametrize("url", ["http://keys.example.com", "https://user@keys.example.com", "https://k\u00e4se.example", "keys"])
def test_links_are_of_tls(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SIGNETRY_DEVICE_URL", url)
    with pytest.raises(Exception, match="https://host"):
        load_settings()
