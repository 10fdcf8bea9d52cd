"""``signetry token``: made once, listed without what opens the API, ended at once."""

import getpass
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from signetry.access import tokens
from signetry.access.roles import Role
from signetry.access.tokens import TokenRecord
from tests.signetry.installation import Commands, opened

MDM = ("--role", "mdm", "--name", "jamf")
SCOPE = ("--endpoint", "default", "--profile", "identity", "--profile", "smime-signing", "--group", "phones")


@pytest.fixture
def home(installed_home: Path, commands: Commands) -> Path:
    """An installation with two persons and a group."""
    for name in ("olga", "rita"):
        commands.json("person", "add", "--upn", f"{name}@example.com", "--email", f"{name}@example.com")
    commands.json("group", "add", "phones")
    return installed_home


def known(text: str) -> TokenRecord:
    with opened() as house, house.transactions.reading() as session:
        return tokens.authenticate(session, text, now=house.clock.now())


@pytest.mark.usefixtures("home")
def test_a_token_stands_alone_on_the_output(commands: Commands) -> None:
    text = commands.text("token", "create", "--role", "auditor", "--name", "monitoring", "--ttl", "12h")
    assert re.fullmatch(r"sgt_1_[A-Za-z0-9_-]{43}\n", text)
    made = known(text.strip())
    assert (made.name, made.role, made.expires_at - made.created_at) == ("monitoring", Role.AUDITOR, timedelta(hours=12))


@pytest.mark.usefixtures("home")
def test_a_token_lives_for_ninety_days_unless_told_otherwise(commands: Commands) -> None:
    made = commands.json("token", "create", "--role", "admin", "--name", "anna")
    assert datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"]) == timedelta(days=90)
    assert known(made["token"]).id == made["id"]


@pytest.mark.usefixtures("home")
def test_a_token_without_a_name_is_called_after_its_role(commands: Commands) -> None:
    assert commands.json("token", "create", "--role", "auditor")["name"] == "auditor"


@pytest.mark.usefixtures("home")
def test_an_mdms_token_is_limited(commands: Commands) -> None:
    made = commands.json("token", "create", *MDM, *SCOPE)
    assert (made["endpoints"], made["profiles"], made["group"]) == (["default"], ["identity", "smime-signing"], "phones")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--role", "officer", "--name", "a"), 2, "named person"),
        (("--role", "officer", "--name", "a", "--upn", "nobody@example.com"), 1, "nobody"),
        (("--role", "auditor", "--name", ""), 2, "name"),
        (("--role", "auditor", "--name", "a", "--ttl", "367d"), 2, "366 days"),
        (("--role", "auditor", "--name", "a", "--ttl", "1y"), 2, "duration"),
        (("--role", "auditor", "--name", "a", "--group", "phones"), 2, "mdm"),
        (MDM, 2, "endpoints, profiles and a group"),
        ((*MDM, *SCOPE, "--endpoint", "nope"), 1, "nope"),
        ((*MDM, *SCOPE, "--profile", "device"), 1, "device"),
        ((*MDM, "--endpoint", "default", "--profile", "identity", "--group", "nope"), 1, "nope"),
    ],
)
def test_what_is_refused(commands: Commands, arguments: tuple[str, ...], status: int, reason: str) -> None:
    assert reason in commands.refused("token", "create", *arguments, status=status)
    assert commands.json("token", "list", "--all") == []


@pytest.mark.usefixtures("home")
def test_one_user_of_the_machine_makes_no_officer_and_recovery_agent(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.text("token", "create", "--role", "officer", "--name", "Olga", "--upn", "olga@example.com")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        # Whoever says so in the environment is still the same.
        monkeypatch.setenv(name, "somebody-else")
    reason = commands.refused("token", "create", "--role", "recovery", "--name", "Rita", "--upn", "rita@example.com")
    assert "this administrator" in reason


@pytest.mark.usefixtures("home")
def test_the_list_is_of_tokens_in_force_and_shows_none(commands: Commands) -> None:
    first, second = (
        commands.text("token", "create", "--role", "auditor", "--name", name).strip() for name in ("first", "second")
    )
    revoked = commands.json("token", "revoke", "1")
    assert revoked["revoked_at"] is not None
    assert revoked["administrator"] == f"cli:{getpass.getuser()}"
    assert [token["name"] for token in commands.json("token", "list")] == ["second"]
    assert [token["name"] for token in commands.json("token", "list", "--all")] == ["first", "second"]
    shown = commands.text("token", "list", "--all") + commands.text("token", "list", "--json")
    for text in (first, second):
        assert text.split("_", 2)[2] not in shown


@pytest.mark.usefixtures("home")
def test_there_is_no_token_of_that_number(commands: Commands) -> None:
    assert commands.refused("token", "revoke", "4711") == "signetry: there is no token 4711"


def test_no_command_waits_for_what_only_the_api_needs() -> None:
    program = "import sys, signetry.cli.main; print({'fastapi', 'swagger_ui_bundle'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
