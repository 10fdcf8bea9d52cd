"""``signetry pfx recover``, with the real archive process: who acts is whose token it is, not the user of the machine."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from sqlmodel import col, select

from audit.records import AuditEvent
from signetry.access import tokens
from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest, make
from tests.signetry.archived import Identity, archive_history
from tests.signetry.installation import Commands, opened

ALICE = "alice@example.com"
REASON = ("--reason", "lost phone, case 4711")
RECOVER = ("pfx", "recover")


@pytest.fixture
def home(installed_home: Path, commands: Commands) -> Path:
    """An installation with Alice, an officer and a recovery agent, whose tokens lie in files in it."""
    for name in ("alice", "olga", "rita", "otto"):
        commands.json("person", "add", "--upn", f"{name}@example.com", "--email", f"{name}@example.com")
    with opened() as house:
        for name, role in (("olga", Role.OFFICER), ("otto", Role.OFFICER), ("rita", Role.RECOVERY), ("admin", Role.ADMIN)):
            person = "" if role is Role.ADMIN else f"{name}@example.com"
            request = TokenRequest(name, role, person=person)
            made = house.transactions.write(lambda session: make(session, house, request, administrator=f"cli:{role}"))  # noqa: B023 - called at once
            file = installed_home / f"{name}.token"
            file.touch(mode=0o600)
            file.write_text(made.text + "\n")
    return installed_home


@pytest.fixture
def history(home: Path, rsa_key: rsa.RSAPrivateKey, other_rsa_key: rsa.RSAPrivateKey) -> list[Identity]:  # noqa: ARG001 - it must be there
    """Alice's keys in the archive, the older first."""
    with opened() as house:
        return archive_history(house, ALICE, [rsa_key, other_rsa_key])


def token(home: Path, name: str) -> tuple[str, str]:
    return "--token-file", str(home / f"{name}.token")


def ask(home: Path, commands: Commands, *options: str) -> str:
    asked = commands.json(*RECOVER, "ask", "--upn", ALICE, *REASON, *token(home, "olga"), *options)
    return str(asked["id"])


def test_the_history_is_recovered_by_two(home: Path, history: list[Identity], commands: Commands, tmp_path: Path) -> None:
    number = ask(home, commands, "--key-history")
    (listed,) = commands.json(*RECOVER, "list", "--state", "waiting", "--upn", ALICE)
    assert (str(listed["id"]), listed["history"], listed["asked_by_person"]) == (number, True, "olga@example.com")
    shown = commands.json(*RECOVER, "show", number)
    assert [key["id"] for key in shown["keys"]] == [history[1].archived, history[0].archived]
    approved = commands.json(*RECOVER, "approve", number, *token(home, "rita"))
    assert (approved["state"], approved["decided_by"]) == ("approved", "token:3:rita")
    out = tmp_path / "alice"
    exported = commands.json(*RECOVER, "export", number, "--out", out, *token(home, "olga"))
    (file,) = exported["files"]
    path = Path(file["file"])
    assert path.parent == out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    loaded = pkcs12.load_pkcs12(path.read_bytes(), exported["passphrase"].encode())
    assert isinstance(loaded.key, rsa.RSAPrivateKey)
    assert loaded.key.private_numbers() == history[1].key.private_numbers()
    # 24 characters out of at least 31: more than 112 bits.
    assert len(exported["passphrase"].replace("-", "")) >= 23
    assert "exported already" in commands.refused(*RECOVER, "export", number, "--out", tmp_path / "again", *token(home, "olga"))
    assert not (tmp_path / "again").exists()


@pytest.mark.usefixtures("history")
def test_the_passphrase_is_shown_once_and_kept_nowhere(home: Path, commands: Commands, tmp_path: Path) -> None:
    number = ask(home, commands)
    commands.text(*RECOVER, "approve", number, *token(home, "rita"))
    printed = commands.text(*RECOVER, "export", number, "--out", tmp_path / "alice", *token(home, "olga"))
    (passphrase,) = [line.split()[1] for line in printed.splitlines() if line.startswith("passphrase")]
    for path in home.rglob("*"):
        assert not path.is_file() or passphrase.encode() not in path.read_bytes(), path
    assert passphrase not in commands.text(*RECOVER, "show", number) + commands.text(*RECOVER, "list")


@pytest.mark.usefixtures("history")
def test_separate_files_for_old_programs(home: Path, commands: Commands, tmp_path: Path) -> None:
    number = ask(home, commands, "--key-history")
    commands.text(*RECOVER, "approve", number, *token(home, "rita"))
    options = ("--separate", "--encoding", "3des", "--out", tmp_path / "alice")
    exported = commands.json(*RECOVER, "export", number, *options, *token(home, "olga"))
    assert len(exported["files"]) == len(list((tmp_path / "alice").iterdir())) == 2


@pytest.mark.usefixtures("history")
def test_who_has_no_part_in_it_is_refused(home: Path, commands: Commands, tmp_path: Path) -> None:
    number = ask(home, commands)
    for name in ("admin", "olga"):
        assert "may not do this" in commands.refused(*RECOVER, "approve", number, *token(home, name))
        assert "may not do this" in commands.refused(*RECOVER, "reject", number, *token(home, name))
    for name in ("admin", "rita"):
        assert "may not do this" in commands.refused(*RECOVER, "ask", "--upn", ALICE, *REASON, *token(home, name))
    commands.text(*RECOVER, "approve", number, *token(home, "rita"))
    for name in ("admin", "rita"):
        done = commands.refused(*RECOVER, "export", number, "--out", tmp_path / "alice", *token(home, name))
        assert "may not do this" in done
    assert "only who asked" in commands.refused(*RECOVER, "export", number, "--out", tmp_path / "alice", *token(home, "otto"))
    assert not (tmp_path / "alice").exists()
    with opened() as house, house.transactions.reading() as session:
        (event,) = session.exec(select(AuditEvent).where(col(AuditEvent.action) == "recovery.refused"))
        assert (event.actor, event.subject, event.details["attempt"]) == ("token:2:otto", f"recovery:{number}", "export")


@pytest.mark.usefixtures("history")
def test_a_token_that_is_not_good_opens_nothing(home: Path, commands: Commands) -> None:
    asking = (*RECOVER, "ask", "--upn", ALICE, *REASON, "--token-file")
    (home / "open.token").write_text((home / "olga.token").read_text())
    (home / "open.token").chmod(0o644)
    assert "open to every user" in commands.refused(*asking, home / "open.token", status=2)
    (home / "strange.token").touch(mode=0o600)
    (home / "strange.token").write_bytes(b"\xff\xfe\n")
    assert "no API token" in commands.refused(*asking, home / "strange.token", status=2)
    assert "cannot be read" in commands.refused(*asking, home / "missing.token", status=2)
    with opened() as house:
        house.transactions.write(lambda session: tokens.revoke(session, 1, actor=house.actor, now=house.clock.now()))
    assert "bearer token" in commands.refused(*asking, home / "olga.token")


@pytest.mark.usefixtures("history")
def test_nothing_is_exported_where_it_could_not_be_written(home: Path, commands: Commands, tmp_path: Path) -> None:
    number = ask(home, commands)
    commands.text(*RECOVER, "approve", number, *token(home, "rita"))
    exporting = (*RECOVER, "export", number, *token(home, "olga"), "--out")
    assert "is there already" in commands.refused(*exporting, tmp_path, status=2)
    assert "No such file" in commands.refused(*exporting, tmp_path / "missing" / "alice")
    assert commands.json(*RECOVER, "show", number)["state"] == "approved"
    commands.text(*exporting, tmp_path / "alice")


@pytest.mark.usefixtures("history")
def test_a_reason_is_needed(home: Path, commands: Commands) -> None:
    blank = ("--upn", ALICE, "--reason", " ", *token(home, "olga"))
    assert "reason" in commands.refused(*RECOVER, "ask", *blank, status=2)
    rejected = ask(home, commands)
    assert commands.json(*RECOVER, "reject", rejected, *token(home, "rita"))["state"] == "rejected"
