"""The API over an installation of the test's own, and tokens of every role."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session
from starlette.applications import Starlette
from starlette.testclient import TestClient

from people import groups, persons
from people.person import PersonFields
from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest, make
from signetry.api.app import api_routes
from signetry.house import House
from tests.clocks import ManualClock
from tests.signetry import installation

PERSONS = {Role.OFFICER: "olga", Role.RECOVERY: "rita"}
GROUP = "phones"


@dataclass(frozen=True)
class Api:
    """The API of an installation, under a clock of the test's, and a token of each role."""

    house: House
    clock: ManualClock
    client: TestClient = field(repr=False)
    tokens: Mapping[Role, str] = field(repr=False)

    def headers(self, role: Role | None) -> dict[str, str]:
        """Return the headers of a caller of this role; of nobody."""
        return {} if role is None else {"Authorization": f"Bearer {self.tokens[role]}"}

    def call(self, method: str, path: str, role: Role | None = Role.ADMIN, **more: Any) -> Any:  # noqa: ANN401 - httpx's
        """Send a request as ``role``; ``path`` without the prefix."""
        headers = self.headers(role) | more.pop("headers", {})
        return self.client.request(method, f"/api/v1{path}", headers=headers, **more)

    def make_token(self, request: TokenRequest, administrator: str = "cli:test") -> str:
        """Make a token by hand; return it."""
        made = self.house.transactions.write(lambda session: make(session, self.house, request, administrator=administrator))
        return made.text


def _people(house: House, session: Session) -> None:
    now = house.clock.now()
    groups.add_group(session, GROUP, actor=house.actor, now=now)
    for name in ("olga", "rita", "alice", "bob"):
        address = f"{name}@example.com"
        fields = PersonFields(upn=address, email=address, display_name=name.capitalize())
        person = persons.add_person(session, fields, actor=house.actor, now=now)
        if name == "alice":
            groups.add_member(session, GROUP, person.id, actor=house.actor, now=now)


def _request(role: Role) -> TokenRequest:
    person = f"{PERSONS[role]}@example.com" if role in PERSONS else ""
    if role is Role.MDM:
        return TokenRequest("mdm", role, timedelta(days=30), "", ("default",), ("identity",), GROUP)
    return TokenRequest(role.value, role, timedelta(days=30), person)


def opened_api(house: House, clock: ManualClock) -> Api:
    """Return the API over ``house``, with persons and tokens in it."""
    house.transactions.write(lambda session: _people(house, session))
    client = TestClient(Starlette(routes=api_routes(house)), raise_server_exceptions=False, client=("192.0.2.7", 50000))
    api = Api(house, clock, client, tokens := {})
    for role in Role:
        tokens[role] = api.make_token(_request(role), f"cli:{role}")
    return api


@pytest.fixture
def api(installed_home: Path) -> Iterator[Api]:  # noqa: ARG001 - it sets the environment
    """The API over an installation whose clock stands at the present: alice is in the group that the mdm token names."""
    clock = installation.clock_of_today()
    with installation.opened(clock) as house:
        yield opened_api(house, clock)
