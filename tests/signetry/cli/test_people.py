"""``signetry person``, ``group`` and ``device`` against an installation of their own."""

import io
import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlmodel import Session, col, select
from typer import Typer
from typer.testing import CliRunner, Result

from audit.records import AuditEvent
from ca.records import Certificate, CertificationAuthority
from crl.records import CrlSchedule
from foundation.errors import BadRequest, Conflict, NotFound
from foundation.files import replace_private
from signetry.cli import devices, groups, people
from signetry.cli.progress import progress_bar
from signetry.database import Database

TARO = ["--upn", "taro@corp.example.com", "--email", "taro@example.com"]
SID = "S-1-5-21-1004336348-1177238915-682003330-1103"


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of an installation, as far as these commands look at it."""
    replace_private(tmp_path / "secrets" / "key-passphrase", b"correct horse battery staple")
    shutil.copy(sqlite_template, tmp_path / "signetry.db")
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path))
    return tmp_path


def run(app: Typer, *arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def answer(app: Typer, *arguments: str) -> Any:  # noqa: ANN401 - any JSON document
    result = run(app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def database(home: Path) -> Database:
    return Database(make_url(f"sqlite:///{home}/signetry.db"))


@pytest.mark.usefixtures("home")
def test_a_person_is_added_shown_changed_and_listed() -> None:
    person = answer(people.app, "add", *TARO, "--alias", "t@example.com", "--name", "Taro [/red] Yamada", "--sid", SID)
    assert (person["aliases"], person["sid"], person["active"]) == (["t@example.com"], SID, True)
    for name in ("TARO@corp.example.com", "t@example.com", str(person["id"])):
        assert answer(people.app, "show", name) == person
    changes = ["--email", "yamada@example.com", "--add-alias", "taro@example.com", "--remove-alias", "t@example.com", "--sid", ""]
    changed = answer(people.app, "change", "taro@corp.example.com", *changes)
    assert (changed["email"], changed["aliases"], changed["sid"]) == ("yamada@example.com", ["taro@example.com"], None)
    assert changed["display_name"] == "Taro [/red] Yamada"
    assert answer(people.app, "list") == [changed]
    assert answer(people.app, "list", "--text", "suzuki") == []
    assert "Taro [/red] Yamada" in run(people.app, "list").stdout
    assert "taro@corp.example.com" in run(people.app, "show", "taro@corp.example.com").stdout


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arguments", "category"),
    [
        (["add", "--upn", "taro", "--email", "taro@example.com"], BadRequest),
        (["add", "--upn", "second@corp.example.com", "--email", "taro@example.com"], Conflict),
        (["show", "nobody@example.com"], NotFound),
        (["change", "taro@corp.example.com", "--remove-alias", "x@example.com"], NotFound),
        (["import", "-", "--encoding", "klingon"], BadRequest),
    ],
)
def test_a_refusal_reaches_the_caller_by_its_category(arguments: list[str], category: type[Exception]) -> None:
    answer(people.app, "add", *TARO)
    result = run(people.app, *arguments, stdin=b"upn,email\n")
    assert isinstance(result.exception, category), result.output
    assert len(answer(people.app, "list")) == 1


def test_a_person_is_deactivated_and_activated_by_whoever_is_at_the_keyboard(home: Path) -> None:
    answer(people.app, "add", *TARO)
    assert answer(people.app, "deactivate", "taro@example.com")["active"] is False
    assert len(answer(people.app, "list", "--inactive")) == 1
    assert answer(people.app, "activate", "taro@example.com")["active"] is True
    assert answer(people.app, "list", "--inactive") == []
    with database(home).reading() as session:
        actors = session.exec(select(AuditEvent.actor)).all()
    assert len(actors) == 3
    assert all(actor.startswith("cli:") for actor in actors)


def issued(session: Session, serial: str, **columns: Any) -> None:  # noqa: ANN401 - columns of the table
    now = datetime.now(UTC)
    session.add(
        Certificate(
            **{
                "authority_id": 1,
                "serial": serial,
                "profile": "identity",
                "subject": "CN=Taro",
                "spki_sha256": "",
                "not_before": now - timedelta(days=30),
                "not_after": now + timedelta(days=30),
                "issued_at": now,
                "der": b"",
                **columns,
            },
        ),
    )


def test_offboarding_revokes_what_speaks_for_the_person_and_their_devices(home: Path) -> None:
    taro = answer(people.app, "add", *TARO)
    alice = answer(people.app, "add", "--upn", "alice@corp.example.com", "--email", "alice@example.com")
    phone = answer(devices.app, "add", "taro-iphone", "--owner", "taro@corp.example.com")
    past = datetime.now(UTC) - timedelta(days=1)

    def prepare(session: Session) -> None:
        now = datetime.now(UTC)
        session.add(CertificationAuthority(id=1, name="issuing", key_reference="x", key_algorithm="p256", created_at=now))
        session.flush()
        issued(session, "0a", person_id=taro["id"])
        issued(session, "0b", device_id=phone["id"])
        issued(session, "0c", person_id=alice["id"])
        issued(session, "0d", person_id=taro["id"], not_after=past)
        issued(session, "0e", person_id=taro["id"], revoked_at=past, revocation_reason="superseded")
        issued(session, "0f", person_id=taro["id"], revoked_at=past, revocation_reason="certificateHold")

    store = database(home)
    store.write(prepare)
    for arguments, stays_active in ((["--dry-run"], True), ([], False)):
        gone = answer(people.app, "offboard", "taro@example.com", *arguments)
        assert (gone["active"], gone["devices"], sorted(gone["revoked"])) == (False, ["taro-iphone"], ["0a", "0b", "0f"])
        assert answer(devices.app, "show", "taro-iphone")["active"] is stays_active
    with store.reading() as session:
        rows = session.exec(select(Certificate).order_by(col(Certificate.serial))).all()
        reasons = {row.serial: row.revocation_reason for row in rows}
        assert len(session.exec(select(CrlSchedule)).all()) == 1
    left = "affiliationChanged"
    assert reasons == {"0a": left, "0b": left, "0c": None, "0d": None, "0e": "superseded", "0f": left}
    assert answer(people.app, "offboard", "taro@example.com")["revoked"] == []


@pytest.mark.usefixtures("home")
def test_an_import_tells_what_became_of_the_rows_and_fails_when_some_were_refused(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_bytes("upn,email,name\na@example.com,a@example.com,山田\nb,b@example.com,\n".encode("cp932"))
    rehearsal = run(people.app, "import", str(file), "--encoding", "cp932", "--dry-run")
    assert rehearsal.stdout == "dry run, nothing stored: 1 added, 0 changed, 0 unchanged, 1 refused\n"
    assert answer(people.app, "list") == []
    result = run(people.app, "import", str(file), "--encoding", "cp932")
    assert result.exit_code == 1
    assert result.stdout == "1 added, 0 changed, 0 unchanged, 1 refused\n"
    assert result.stderr == "line 3: upn: has no @\n"
    result = run(people.app, "import", str(file), "--encoding", "cp932", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "dry_run": False,
        "added": 0,
        "changed": 0,
        "unchanged": 1,
        "problems": [{"line": 3, "field": "upn", "reason": "has no @"}],
        "refused": 1,
    }
    clean = run(people.app, "import", "-", stdin=b"upn,email\nc@example.com,c@example.com\n")
    assert (clean.exit_code, clean.stdout) == (0, "1 added, 0 changed, 0 unchanged, 0 refused\n")


@pytest.mark.usefixtures("home")
def test_the_example_in_the_help_can_be_imported(tmp_path: Path) -> None:
    command = next(command for command in people.app.registered_commands if command.name == "import")
    _, _, example = (command.help or "").partition("\b\n")
    file = tmp_path / "example.csv"
    file.write_text(example, encoding="utf-8")
    assert answer(people.app, "import", str(file))["added"] == 2


@pytest.mark.usefixtures("home")
def test_a_long_list_of_refused_rows_is_cut_short() -> None:
    content = b"upn,email\n" + b"x,y\n" * 130
    result = run(people.app, "import", "-", stdin=content)
    assert len(result.stderr.splitlines()) == 101
    assert "30 more" in result.stderr
    assert len(json.loads(run(people.app, "import", "-", "--json", stdin=content).stdout)["problems"]) == 130


@pytest.mark.usefixtures("home")
def test_groups_gain_and_lose_members() -> None:
    answer(people.app, "add", *TARO)
    assert answer(groups.app, "add", "Sales", "--description", "those who sell")["members"] == 0
    assert answer(groups.app, "add-member", "Sales", "taro@example.com")["members"] == 1
    assert answer(groups.app, "show", "Sales")["members"] == ["taro@corp.example.com"]
    assert [person["upn"] for person in answer(people.app, "list", "--group", "Sales")] == ["taro@corp.example.com"]
    assert answer(groups.app, "remove-member", "Sales", "taro@example.com")["members"] == 0
    assert [group["name"] for group in answer(groups.app, "list")] == ["Sales"]
    answer(groups.app, "remove", "Sales")
    assert answer(groups.app, "list") == []


@pytest.mark.usefixtures("home")
def test_devices_are_added_changed_listed_and_switched_off() -> None:
    answer(people.app, "add", *TARO)
    phone = answer(devices.app, "add", "taro-iphone", "--owner", "taro@corp.example.com", "--wifi-mac", "A8-BB-CC-DD-EE-0F")
    assert (phone["owner"], phone["wifi_mac"]) == ("taro@corp.example.com", "a8:bb:cc:dd:ee:0f")
    assert answer(devices.app, "show", str(phone["id"])) == phone
    assert answer(devices.app, "change", "taro-iphone", "--platform", "iOS")["platform"] == "ios"
    assert answer(devices.app, "change", "taro-iphone", "--owner", "")["owner"] is None
    assert answer(devices.app, "list", "--owner", "taro@example.com") == []
    assert answer(devices.app, "deactivate", "taro-iphone")["active"] is False
    assert answer(devices.app, "list", "--active") == []
    assert answer(devices.app, "activate", "taro-iphone")["active"] is True
    assert "a8:bb:cc:dd:ee:0f" in run(devices.app, "show", "taro-iphone").stdout
    assert isinstance(run(devices.app, "show", "other").exception, NotFound)


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_how_far_it_is_and_a_pipe_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", screen := _Screen())
    with progress_bar("importing") as progress:
        assert progress is not None
        progress(200, 1000)
    assert "200/1000" in screen.getvalue()
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    with progress_bar("importing") as progress:
        assert progress is None
    assert pipe.getvalue() == ""
