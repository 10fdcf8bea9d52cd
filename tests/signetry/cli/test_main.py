"""The command line as a whole: every command prints JSON when asked, explains itself, and fails in one line."""

import inspect
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from foundation.errors import BadRequest, Conflict, SignetryError
from signetry.cli import main as command_line
from tests.signetry.installation import Commands

# What the service prints is its log; it ends when it is told to.
WITHOUT_JSON = {"serve"}
CONTRACT = {
    *("init", "serve", "doctor", "demo", "enrol"),
    *("ca list", "ca reissue", "challenge create", "crl issue", "crl show"),
    *("person add", "person import", "person list", "person show", "person change", "person offboard"),
    *("group list", "device add", "device list"),
    *("cert list", "cert show", "cert export", "cert revoke", "cert hold", "cert release"),
}


# Typer brings click along under a private name, so that its commands have no type to write down.
Command = Any


def tree() -> dict[str, Command]:
    """Return every command by the words that call it."""

    def walk(command: Command, words: tuple[str, ...]) -> Iterator[tuple[str, Command]]:
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                yield from walk(inner, (*words, name))
        else:
            yield " ".join(words), command

    return dict(walk(typer.main.get_command(command_line.app), ()))


TREE = tree()


def options(command: Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_the_commands_of_the_contract_exist() -> None:
    assert set(TREE) >= CONTRACT


@pytest.mark.parametrize("words", TREE)
def test_every_command_prints_json_when_asked(words: str) -> None:
    assert ("--json" in options(TREE[words])) == (words not in WITHOUT_JSON)


@pytest.mark.parametrize("words", TREE)
def test_every_command_and_option_explains_itself(words: str) -> None:
    command = TREE[words]
    assert command.callback is not None
    assert inspect.getdoc(command.callback) or command.help
    unexplained = [
        parameter.name for parameter in command.params if parameter.name != "help" and not getattr(parameter, "help", None)
    ]
    assert unexplained == []


@pytest.mark.parametrize("words", ["init", "enrol", "challenge create", "person import", "cert list", "cert revoke"])
def test_commands_whose_arguments_are_not_obvious_show_an_example(commands: Commands, words: str) -> None:
    assert "Example:" in commands.text(*words.split(), "--help")


@pytest.mark.parametrize("words", [[], ["ca"], ["person"], ["challenge"], ["cert"], ["crl"], ["group"], ["device"]], ids=" ".join)
def test_a_group_alone_shows_its_commands(commands: Commands, words: list[str]) -> None:
    done = commands.run(*words)
    assert "Usage:" in done.stdout + done.stderr
    assert "Commands" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["ca", "nonsense"],
        ["enrol"],
        ["challenge", "create", "--nonsense"],
        ["challenge", "create", "--count", "many"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("empty_home")
def test_bad_usage_is_told_on_stderr_with_status_2(commands: Commands, words: list[str]) -> None:
    done = commands.run(*words)
    assert (done.status, done.stdout) == (2, "")
    assert "Usage:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [(BadRequest("it is bad"), 2), (Conflict("it is bad"), 1), (SignetryError("it is bad"), 1)],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_is_one_line_on_stderr(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, error: SignetryError, status: int
) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", refuse)
    assert commands.refused("anything", status=status) == "signetry: it is bad"


# One call of each command that works on an installation without a service, in an order in which each finds what it needs.
CALLS = [
    "init",
    "doctor",
    "ca list",
    "ca reissue --dry-run",
    "ca reissue",
    "person add --upn alice@example.com --email alice@example.com --name Alice",
    "person show alice@example.com",
    "person change alice@example.com --name Alison",
    "person list",
    "group add staff",
    "group add-member staff alice@example.com",
    "group list",
    "device add phone --owner alice@example.com",
    "device list",
    "challenge create --upn alice@example.com",
    "cert list",
    "cert show {serial}",
    "cert export {serial}",
    "cert hold {serial}",
    "cert release {serial}",
    "cert revoke {serial} --dry-run",
    "cert revoke {serial} --reason superseded",
    "crl issue",
    "crl show",
    "person offboard alice@example.com",
]


def test_what_is_asked_for_as_json_is_one_document_and_nothing_else(
    installed_home: Path, commands: Commands, tmp_path: Path
) -> None:
    assert installed_home.exists()
    serial = commands.json("cert", "list", "--profile", "scep-ra")[0]["serial"]
    people = tmp_path / "people.csv"
    people.write_text("upn,email\nbob@example.com,bob@example.com\nbroken,row\n")
    asked = set()
    for call in CALLS:
        words = call.format(serial=serial).split()
        done = commands.run(*words, "--json")
        assert done.status == 0, (call, done)
        json.loads(done.stdout)
        asked.add(next(name for name in TREE if (f"{' '.join(words)} ").startswith(f"{name} ")))
    # A command that fails in part still prints its document.
    done = commands.run("person", "import", people, "--json")
    assert done.status == 1
    json.loads(done.stdout)
    assert asked >= CONTRACT - {"serve", "demo", "enrol", "person import"}


def test_it_says_which_release_it_is(commands: Commands) -> None:
    assert commands.text("--version") == f"signetry {metadata.version('signetry')}\n"
