"""What takes long takes few of the threads, and keeps nothing else waiting."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from signetry.access.roles import Role
from signetry.administration import comparison
from signetry.administration.comparison import Part
from signetry.api.routing import LENGTHY_AT_ONCE
from tests.signetry.api.conftest import Api
from tests.signetry.api.test_roles import ROUTES


def test_what_waits_for_others_or_works_through_a_file_is_lengthy() -> None:
    assert {name for name, route in ROUTES.items() if route.is_lengthy} == {
        "GET /directories/{directory}/differences",
        "POST /archived-keys",
        "POST /deliveries",
        "POST /encryption-keys",
        "POST /encryption-keys/group",
        "POST /imports/persons",
        "POST /imports/revocations",
        "POST /intune/push-pfx",
        "POST /recoveries/{recovery_id}/export",
    }


def test_a_few_lengthy_requests_run_at_a_time_and_the_others_are_answered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    running = threading.Semaphore(0)
    end = threading.Event()
    most = 0
    count = 0
    counting = threading.Lock()

    def compare(*_: object, **__: object) -> Part:
        nonlocal most, count
        with counting:
            count += 1
            most = max(most, count)
        running.release()
        assert end.wait(30)
        with counting:
            count -= 1
        return Part((), None)

    monkeypatch.setattr(comparison, "compare", compare)
    headers = api.headers(Role.AUDITOR)
    # One event loop for all, as in a web process.
    with TestClient(api.client.app) as client, ThreadPoolExecutor(LENGTHY_AT_ONCE + 3) as pool:
        waiting = [
            pool.submit(client.get, "/api/v1/directories/main/differences", headers=headers) for _ in range(LENGTHY_AT_ONCE + 3)
        ]
        for _ in range(LENGTHY_AT_ONCE):
            assert running.acquire(timeout=30)
        assert not running.acquire(timeout=0.3)
        assert client.get("/api/v1/whoami", headers=headers).status_code == 200
        end.set()
        assert [answer.result(30).status_code for answer in waiting] == [200] * (LENGTHY_AT_ONCE + 3)
    assert most == LENGTHY_AT_ONCE
