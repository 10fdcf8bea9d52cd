"""``/archive``: its keys are shown, and nothing of them can be had or changed."""

from signetry.access.roles import Role
from tests.signetry.api.conftest import Api


def test_the_archives_keys_are_shown(api: Api) -> None:
    shown = api.call("GET", "/archive", Role.AUDITOR).json()
    (key,) = shown.pop("keys")
    assert shown == {"kept_in": "files", "online": False, "listening": False, "left": 0}
    assert (key["reference"], key["algorithm"], key["sealed"], key["retired_at"]) == ("archive-1", "rsa3072", 0, None)


def test_nothing_is_made_over_the_api(api: Api) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert api.call(method, "/archive").status_code == 405
