"""``/directories``: how they stand, uploads at once, comparisons in parts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from ldap_publish.directory import Assertion, Change, Entry, Server
from ldap_publish.errors import DirectoryUnavailable
from signetry import directories
from signetry.access.roles import Role
from signetry.administration import comparison
from tests.signetry import installation
from tests.signetry.api.conftest import Api, opened_api
from tests.signetry.api.issuing import issue

SETTINGS = """
[directories.main]
kind = "openldap"
url = "ldaps://ldap.example.com"
bind_dn = "cn=signetry,dc=example,dc=com"
password_file = "secrets/ldap"
search_base = "dc=example,dc=com"
"""


class Office:
    """A directory in memory, with an entry for every mail address in it; it only answers."""

    people: tuple[str, ...] = ()
    is_up = True

    def __init__(self, server: Server) -> None:
        self.server = server

    def find(self, base: str, search_filter: str, attributes: Sequence[str]) -> list[Entry]:
        """Return the entries that are meant."""
        if not self.is_up:
            raise DirectoryUnavailable("ldap.example.com does not answer")
        return [Entry(f"uid={mail},{base}", {}) for mail in self.people if f"={mail})" in search_filter and attributes]

    def read(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        """Return an entry without certificates."""
        return Entry(dn, dict.fromkeys(attributes, ()))

    def add(self, dn: str, classes: Sequence[str], attributes: Mapping[str, Sequence[bytes]]) -> None:
        """Never called."""
        raise NotImplementedError

    def modify(self, dn: str, changes: Sequence[Change], assertion: Assertion | None = None) -> None:
        """Never called."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def api(installed_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The API of an installation that publishes to ``Office``."""
    monkeypatch.setattr(directories, "LdapClient", Office)
    monkeypatch.setattr(Office, "people", ("alice@example.com", "bob@example.com"))
    with (installed_home / "signetry.toml").open("a", encoding="utf-8") as file:
        file.write(SETTINGS)
    clock = installation.clock_of_today()
    with installation.opened(clock) as house:
        house.directories.take_note()
        yield opened_api(house, clock)


def differences(api: Api, query: str = "") -> list[tuple[str, str]]:
    found = api.call("GET", f"/directories/main/differences{query}", Role.AUDITOR).json()["items"]
    return [(each["subject"], each["difference"]) for each in found]


def test_directories_are_shown_with_what_they_are_owed(api: Api) -> None:
    assert api.call("GET", "/directories/main").json()["pending"] == 0
    issue(api, "alice@example.com", "smime-dual")
    (listed,) = api.call("GET", "/directories").json()["items"]
    assert (listed["name"], listed["kind"], listed["state"]) == ("main", "openldap", "ok")
    assert api.call("GET", "/directories/main").json() == listed
    for path in ("", "/differences"):
        assert api.call("GET", f"/directories/other{path}").status_code == 404


def test_publishing_is_owed_at_once_and_not_waited_for(api: Api) -> None:
    issue(api, "alice@example.com", "smime-dual")
    answer = api.call("POST", "/directories/main/publish?everything=true")
    assert (answer.status_code, answer.json()["pending"]) == (202, 1)
    assert api.call("POST", "/directories/main/publish").json()["pending"] == 1
    assert differences(api, "?owed=true") == [("alice@example.com", "missing")]
    assert api.call("POST", "/directories/other/publish").status_code == 404


def test_only_what_the_settings_do_not_name_is_forgotten(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    issue(api, "alice@example.com", "smime-dual")
    refused = api.call("DELETE", "/directories/main")
    assert (refused.status_code < 500, "the settings name" in refused.json()["detail"]) == (True, True)
    assert api.call("DELETE", "/directories/other").status_code == 404
    monkeypatch.delitem(api.house.directories.configured, "main")
    assert api.call("DELETE", "/directories/main").json() == {"name": "main", "values_left": 0}
    assert api.call("GET", "/directories").json()["items"] == []


def test_differences_are_listed_in_parts(api: Api) -> None:
    serials = [issue(api, f"{name}@example.com", "smime-dual") for name in ("alice", "bob", "olga")]
    found = api.call("GET", "/directories/main/differences").json()
    assert [(each["subject"], each["difference"]) for each in found["items"]] == [
        ("olga@example.com", "no-entry"),
        ("alice@example.com", "missing"),
        ("bob@example.com", "missing"),
    ]
    assert [each["serial"] for each in found["items"][1:]] == serials[:2]
    first = api.call("GET", "/directories/main/differences?limit=2")
    assert len(first.json()["items"]) == 2
    assert f"after={first.json()['next']}" in first.headers["link"]
    assert differences(api, f"?limit=2&after={first.json()['next']}") == [("bob@example.com", "missing")]
    assert api.call("GET", "/directories/main/differences?after=bm9uZQ").status_code == 400


def test_a_slow_directory_does_not_hold_the_request(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("olga", "alice", "bob"):
        issue(api, f"{name}@example.com", "smime-dual")
    moments = iter((0.0, 1.0, 21.0))
    monkeypatch.setattr(comparison, "monotonic", lambda: next(moments))
    found = api.call("GET", "/directories/main/differences").json()
    assert [each["subject"] for each in found["items"]] == [f"{name}@example.com" for name in ("olga", "alice")]
    rest = f"/directories/main/differences?after={found['next']}"
    monkeypatch.setattr(comparison, "monotonic", lambda: 0.0)
    found = api.call("GET", rest).json()
    assert ([each["subject"] for each in found["items"]], found["next"]) == (["bob@example.com"], None)


def test_a_directory_that_is_away_is_the_last_difference(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    issue(api, "alice@example.com", "smime-dual")
    monkeypatch.setattr(Office, "is_up", False)
    answer = api.call("GET", "/directories/main/differences").json()
    assert [each["difference"] for each in answer["items"]] == ["unreachable"]
    assert answer["next"] is None
