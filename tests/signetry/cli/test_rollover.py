"""``signetry ca rollover``: the steps, what they say of themselves, and what they refuse."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.signetry.foreign_pki import TODAY, root_of_today, signed
from tests.signetry.installation import Commands


@pytest.fixture(autouse=True)
def home(installed_home: Path) -> Path:
    """An installation of the test's own."""
    return installed_home


class Terminal(StringIO):
    """Somebody who types ``answer``."""

    def isatty(self) -> bool:
        """Say that it is a terminal."""
        return True


def states(commands: Commands) -> dict[str, str]:
    return {each["name"]: each["state"] for each in commands.json("ca", "list")}


def test_a_ca_is_rolled_over_step_by_step(commands: Commands) -> None:
    made = commands.json("ca", "rollover", "prepare", "issuing")
    assert (made["name"], made["succeeds"], made["created"], made["warnings"]) == ("issuing-2", "issuing", True, [])
    assert made["subject"] == "CN=Signetry Issuing CA 2"
    assert not commands.json("ca", "rollover", "prepare", "issuing")["created"]
    assert states(commands) == {"root": "active", "issuing": "active", "issuing-2": "prepared"}
    done = commands.json("ca", "rollover", "activate", "issuing")
    assert (done["name"], done["changed"], done["state"]) == ("issuing-2", True, "active")
    assert not commands.json("ca", "rollover", "activate", "issuing")["changed"]
    assert states(commands) == {"root": "active", "issuing": "former", "issuing-2": "active"}
    text = commands.text("ca", "rollover", "retire", "issuing")
    assert "- its CRL is published until the last certificate of issuing has expired" in text.splitlines()
    assert states(commands) == {"root": "active", "issuing": "retired", "issuing-2": "active"}
    shown = {each["name"]: each["succeeds"] for each in commands.json("ca", "list")}
    assert shown == {"root": None, "issuing": None, "issuing-2": "issuing"}


def test_a_rehearsal_changes_nothing(commands: Commands) -> None:
    commands.json("ca", "rollover", "prepare", "--ca-key", "p384")
    assert not commands.json("ca", "rollover", "activate", "--dry-run")["changed"]
    assert "no way back" in commands.text("ca", "rollover", "activate", "--dry-run")
    assert states(commands)["issuing"] == "active"
    assert {each["name"]: each["key"] for each in commands.json("ca", "list")}["issuing-2"] == "p384"


def test_at_a_terminal_a_step_is_explained_and_asked_for(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.json("ca", "rollover", "prepare")
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = commands.run("ca", "rollover", "activate")
    assert done.status != 0
    assert "there is no way back" in done.stderr
    assert states(commands)["issuing"] == "active"
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    commands.text("ca", "rollover", "activate")
    assert states(commands)["issuing"] == "former"
    # Nothing would change, so nothing is asked; and --yes asks nothing.
    monkeypatch.setattr("sys.stdin", Terminal(""))
    commands.text("ca", "rollover", "activate")
    commands.text("ca", "rollover", "retire", "issuing", "--yes")


def test_what_cannot_be_done_is_refused_in_words(commands: Commands) -> None:
    assert "no successor of issuing is prepared" in commands.refused("ca", "rollover", "activate")
    assert "issuing is the CA that issues" in commands.refused("ca", "rollover", "retire", "issuing", "--force")
    assert "there is no authority 'nobodys'" in commands.refused("ca", "rollover", "prepare", "nobodys")
    assert "root is a root" in commands.refused("ca", "rollover", "prepare", "root")
    assert "--ca-key is one of" in commands.refused("ca", "rollover", "prepare", "--ca-key", "rsa1024", status=2)


def test_a_successor_is_no_authority_to_be_created(commands: Commands) -> None:
    commands.json("ca", "rollover", "prepare")
    assert "was made by a roll-over" in commands.refused("ca", "create", "issuing-2")


def test_a_new_ra_key_is_made_at_once(commands: Commands) -> None:
    first, second = (commands.json("ca", "rollover", "ra", "issuing") for _ in range(2))
    assert (first["subject"], second["subject"]) == ("CN=SCEP RA 2 of issuing", "CN=SCEP RA 3 of issuing")


def test_somebody_elses_root_certifies_a_successor(commands: Commands, home: Path) -> None:
    made = commands.json("ca", "rollover", "prepare", "--csr")
    assert made["serial"] is None
    assert made["request"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert commands.text("ca", "csr", "issuing-2").startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert states(commands)["issuing-2"] == "awaiting"
    assert "has no certificate yet" in commands.refused("ca", "rollover", "activate")
    file = signed(root_of_today(), home / "issuing-2.csr")
    installed = commands.json("ca", "install", file, "--name", "issuing-2")
    # The endpoints of the lineage are its own: nothing has to be said of settings.
    assert installed["warnings"] == []
    assert commands.json("ca", "rollover", "activate")["changed"]
    assert commands.json("ca", "list")[-1]["issuer"] != "root"
    assert "make a request with --csr" in commands.refused("ca", "rollover", "prepare")


def test_a_successor_that_may_issue_less_is_activated_by_force_only(commands: Commands, home: Path) -> None:
    commands.json("ca", "rollover", "prepare", "--csr")
    says = replace(TODAY, purposes=(ExtendedKeyUsageOID.EMAIL_PROTECTION,))
    commands.json("ca", "install", signed(root_of_today(), home / "issuing-2.csr", says), "--name", "issuing-2")
    refusal = commands.refused("ca", "rollover", "activate")
    assert "may not issue identity, mail-all-in-one, which endpoints offer" in refusal
    assert commands.json("ca", "rollover", "activate", "--force")["changed"]
