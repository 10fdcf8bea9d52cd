"""``signetry pfx import``, ``list`` and ``show``."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from pkcs_import.purpose import Purpose
from signetry.cli import pfx_report
from tests.pkcs_import.pfx_files import PASSWORD, Wish, simple_pfx
from tests.signetry.installation import Commands, edit

pytestmark = pytest.mark.usefixtures("installed_home")

_WISH = Wish()


@pytest.fixture
def alice(installed_home: Path, commands: Commands) -> str:  # noqa: ARG001 - where she is on record
    """A person on record: her UPN."""
    commands.text("person", "add", "--upn", "alice@corp.example.com", "--email", "alice@example.com")
    return "alice@corp.example.com"


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    return secret(tmp_path / "password", PASSWORD)


def secret(path: Path, text: str) -> Path:
    """Write a file that only its owner reads."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def written(path: Path, wish: Wish = _WISH, password: str | None = PASSWORD) -> Path:
    """Write a PKCS #12 file."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(simple_pfx(wish, password=password))
    return path


def test_a_file_is_imported_with_a_password_from_a_file(
    commands: Commands, alice: str, tmp_path: Path, password_file: Path
) -> None:
    file = written(tmp_path / "alice.p12")
    done = commands.json("pfx", "import", file, "--password-file", password_file)
    assert (done["imported"], done["refused"], done["interrupted"]) == (1, 0, False)
    (report,) = done["files"]
    assert (report["outcome"], report["upn"], report["file"]) == ("imported", alice, "alice.p12")
    assert [(each["purpose"], each["trust"]) for each in report["certificates"]] == [("encryption", "unknown")]
    again = commands.json("pfx", "import", file, "--password-file", password_file)
    assert (again["imported"], again["already_there"]) == (0, 1)


def test_what_is_in_the_archive_is_listed_and_shown_without_private_keys(
    commands: Commands, alice: str, tmp_path: Path, password_file: Path
) -> None:
    commands.text("pfx", "import", written(tmp_path / "alice.p12"), "--password-file", password_file)
    (listed,) = commands.json("pfx", "list", "--upn", "alice@example.com")
    assert (listed["person"], listed["origin"], listed["algorithm"]) == (alice, "imported", "secp256r1")
    shown = commands.json("pfx", "show", listed["id"])
    assert shown == listed
    assert shown["certificates"][0]["subject"] == "CN=Alice"
    assert "CN=Alice" in commands.text("pfx", "show", listed["id"])
    assert "encryption" in commands.text("pfx", "list")
    assert commands.json("pfx", "list", "--before", listed["id"]) == []
    assert "no archived key 4711" in commands.refused("pfx", "show", 4711)
    assert "nobody has" in commands.refused("pfx", "list", "--upn", "zoe@example.com")


def test_a_list_is_imported_row_by_row_with_a_report(commands: Commands, alice: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    written(folder / "old.pfx", Wish(purpose=Purpose.BOTH))
    written(folder / "new.p12", Wish(("somebody@example.org",)), "another")
    written(folder / "zoe.p12", Wish(("zoe@example.com",)))
    rows = [
        ("upn", "file", "password", "purpose"),
        (alice, "old.pfx", PASSWORD, "encryption"),
        (alice, "new.p12", "another", ""),
        ("", "zoe.p12", PASSWORD, ""),
        ("", "absent.p12", "", ""),
        (alice, "old.pfx", PASSWORD, "colour"),
    ]
    file = secret(tmp_path / "list.csv", "\n".join(",".join(row) for row in rows))
    out = tmp_path / "report.csv"
    done = commands.run("pfx", "import", file, "--folder", folder, "--report", out)
    assert done.status == 1
    assert "2 imported, 0 already there, 3 refused; 1 with remarks" in done.stderr
    for words in ("nobody on record has zoe@example.com", "there is no such file", "purpose: it is one of", "name somebody else"):
        assert words in done.stdout
    assert PASSWORD not in done.stdout + done.stderr + out.read_text()
    with out.open(newline="") as report:
        found = list(csv.DictReader(report))
    assert [(row["line"], row["outcome"], row["purpose"]) for row in found] == [
        ("2", "imported", "encryption"),
        ("3", "imported", "encryption"),
        ("4", "refused", ""),
        ("5", "refused", ""),
        ("6", "refused", ""),
    ]


def test_the_files_of_a_folder_find_their_owners(commands: Commands, alice: str, tmp_path: Path, password_file: Path) -> None:
    for name in ("b.p12", "a.PFX"):
        written(tmp_path / "files" / name)
    done = commands.json("pfx", "import", tmp_path / "files", "--password-file", password_file)
    assert [(each["file"], each["upn"]) for each in done["files"]] == [("a.PFX", alice), ("b.p12", alice)]


@pytest.mark.usefixtures("alice")
def test_a_dry_run_stores_nothing(commands: Commands, tmp_path: Path, password_file: Path) -> None:
    done = commands.run("pfx", "import", written(tmp_path / "a.p12"), "--password-file", password_file, "--dry-run")
    assert (done.status, done.stderr) == (0, "dry run, nothing stored: 1 imported, 0 already there, 0 refused\n")
    assert commands.json("pfx", "list") == []


@pytest.mark.usefixtures("alice")
def test_the_settings_can_refuse_what_an_archived_key_should_not_do(
    commands: Commands, installed_home: Path, tmp_path: Path, password_file: Path
) -> None:
    file = written(tmp_path / "a.p12", Wish(client_auth=True))
    with (installed_home / "signetry.toml").open("a") as settings:
        settings.write('\n[archive]\nrefuse_concerns = ["clientAuth"]\n')
    done = commands.run("pfx", "import", file, "--password-file", password_file)
    assert done.status == 1
    assert "allows clientAuth, which the settings keep out of the archive" in done.stdout
    edit(installed_home, '["clientAuth"]', "[]")
    assert (
        "1 imported, 0 already there, 0 refused; 1 with remarks"
        in commands.run("pfx", "import", file, "--password-file", password_file).stderr
    )


def test_where_there_is_nobody_to_ask_no_password_is_meant(
    commands: Commands, alice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    done = commands.run("pfx", "import", written(tmp_path / "a.p12"), "--upn", alice)
    assert done.status == 1
    assert "the password does not open the file" in done.stdout


@pytest.mark.usefixtures("alice")
def test_the_password_is_asked_for_and_not_shown(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(words: str) -> str:
        asked.append(words)
        return PASSWORD

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", answer)
    assert commands.json("pfx", "import", written(tmp_path / "a.p12"))["imported"] == 1
    assert asked


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("list.csv", "--upn", "alice"), "--upn and --purpose are for a single file"),
        (("files", "--purpose", "signing"), "--upn and --purpose are for a single file"),
        (("a.p12", "--folder", "files"), "--folder is for a list"),
        (("empty", "--password-file", "password"), "no file with the ending"),
        (("list.csv", "--encoding", "ebcdic"), "the encodings are"),
        (("bad.csv",), "names its columns"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "a.p12")
    written(tmp_path / "files" / "a.p12")
    (tmp_path / "empty").mkdir()
    secret(tmp_path / "password", PASSWORD)
    secret(tmp_path / "list.csv", "file\na.p12\n")
    secret(tmp_path / "bad.csv", "colour\n")
    assert reason in commands.refused("pfx", "import", *arguments, status=2)


def test_a_list_or_a_password_that_everybody_can_read_is_refused(commands: Commands, tmp_path: Path) -> None:
    open_list = tmp_path / "list.csv"
    open_list.write_text("file\na.p12\n")
    open_list.chmod(0o644)
    assert "is open to every user of this machine" in commands.run("pfx", "import", open_list).stderr
    open_list.chmod(0o600)
    password = tmp_path / "password"
    password.write_text("x")
    password.chmod(0o644)
    done = commands.run("pfx", "import", written(tmp_path / "a.p12"), "--password-file", password)
    assert "--password-file" in done.stderr
    assert done.status != 0


@pytest.mark.usefixtures("alice")
def test_an_interrupt_is_told_with_what_to_do(
    commands: Commands, tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pkcs_import import importing  # noqa: PLC0415 - only to be interfered with

    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(importing.Importer, "_prepared_in_order", interrupted)
    done = commands.run("pfx", "import", written(tmp_path / "a.p12"), "--password-file", password_file)
    assert done.status == 130
    assert "interrupted after 0 of 1: the same command goes on from here" in done.stderr


@pytest.mark.usefixtures("alice")
def test_a_long_table_is_cut_but_what_was_refused_stays_in_it(
    commands: Commands, tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pfx_report, "SHOWN_FILES", 1)
    for name in ("a.p12", "b.p12", "d.p12"):
        written(tmp_path / "files" / name)
    (tmp_path / "files" / "c.p12").write_bytes(b"rubbish")
    done = commands.run("pfx", "import", tmp_path / "files", "--password-file", password_file)
    assert [name for name in ("a.p12", "b.p12", "c.p12", "d.p12") if name in done.stdout] == ["a.p12", "c.p12"]
    assert "… and 2 more" in done.stderr


@pytest.mark.usefixtures("alice")
def test_a_spreadsheet_takes_nothing_in_the_report_for_a_formula(commands: Commands, tmp_path: Path, password_file: Path) -> None:
    out = tmp_path / "report.csv"
    file = written(tmp_path / "=cmd.p12")
    commands.text("pfx", "import", file, "--password-file", password_file, "--report", out)
    with out.open(newline="") as report:
        (row,) = csv.DictReader(report)
    assert row["file"] == "'=cmd.p12"


@pytest.mark.usefixtures("alice")
def test_json_is_one_document_however_many_files_there_are(commands: Commands, tmp_path: Path, password_file: Path) -> None:
    for name in ("a.p12", "b.p12"):
        written(tmp_path / "files" / name)
    text = commands.text("pfx", "import", tmp_path / "files", "--password-file", password_file, "--json")
    assert len(json.loads(text)["files"]) == 2
