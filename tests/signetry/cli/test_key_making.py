"""``signetry pfx issue``: with the processes that really make the keys."""

import re
from pathlib import Path

import pytest
from sqlmodel import Session, col, select

from ca.revocation import RevocationReason, revoke
from ca.selection import by_serial
from foundation.errors import Unavailable
from notices.records import OwedNotice
from pkcs_import.archive_keys import archive_keys
from pkcs_import.making import Maker
from pkcs_import.records import ArchivedKey
from tests.signetry.installation import Commands, opened

PERSONS = ("alice", "bob", "carol")


@pytest.fixture
def people(installed_home: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice, Bob and Carol, all of them in the group phones; keys that are quickly made."""
    assert installed_home.exists()
    monkeypatch.setenv("SIGNETRY_ARCHIVE__MADE_KEY_ALGORITHM", "p256")
    commands.text("group", "add", "phones")
    for name in PERSONS:
        commands.text("person", "add", "--upn", f"{name}@corp.example.com", "--email", f"{name}@example.com")
        commands.text("group", "add-member", "phones", f"{name}@example.com")


def count_keys() -> int:
    with opened() as house, house.transactions.reading() as session:
        return len(session.exec(select(ArchivedKey.id)).all())


@pytest.mark.usefixtures("people")
def test_a_key_is_made_for_a_person_once(commands: Commands) -> None:
    made = commands.json("pfx", "issue", "--upn", "alice@corp.example.com")
    assert (made["person"], made["outcome"], made["origin"]) == ("alice@corp.example.com", "issued", "made")
    again = commands.json("pfx", "issue", "--upn", "alice@example.com")
    assert (again["outcome"], again["serial"]) == ("present", made["serial"])
    assert count_keys() == 1


@pytest.mark.usefixtures("people")
def test_the_certificate_is_marked_as_escrowed_wherever_it_is_shown(commands: Commands) -> None:
    made = commands.json("pfx", "issue", "--upn", "alice@example.com")
    shown = commands.json("cert", "show", made["serial"])
    assert (shown["escrowed"], shown["held_until"], shown["profile"]) == (True, None, "smime-encryption")
    assert re.search(r"^escrowed +yes$", commands.text("cert", "show", made["serial"]), re.MULTILINE)
    (listed,) = commands.json("cert", "list", "--upn", "alice@example.com")
    assert listed["escrowed"] is True
    others = [each for each in commands.json("cert", "list") if each["serial"] != made["serial"]]
    assert others
    assert not any(each["escrowed"] for each in others)


@pytest.mark.usefixtures("people")
def test_a_new_key_is_made_when_it_is_asked_for(commands: Commands) -> None:
    first = commands.json("pfx", "issue", "--upn", "alice@example.com", "--new-key")
    second = commands.json("pfx", "issue", "--upn", "alice@example.com", "--new-key")
    assert (first["outcome"], second["outcome"], count_keys()) == ("issued", "issued", 2)


@pytest.mark.usefixtures("people")
def test_a_dry_run_makes_nothing(commands: Commands) -> None:
    done = commands.run("pfx", "issue", "--group", "phones", "--dry-run", "--json")
    assert [(each["outcome"], each["serial"]) for each in done.document] == [("issued", None)] * 3
    assert "dry run: nothing was changed" in done.stderr
    one = commands.json("pfx", "issue", "--upn", "bob@example.com", "--dry-run")
    assert (one["person"], one["outcome"]) == ("bob@corp.example.com", "issued")
    assert count_keys() == 0


@pytest.mark.usefixtures("people")
def test_everybody_of_a_group_gets_one_who_has_none(commands: Commands) -> None:
    commands.text("pfx", "issue", "--upn", "bob@example.com")
    made = commands.json("pfx", "issue", "--group", "phones")
    assert [(each["person"].partition("@")[0], each["outcome"]) for each in made] == [
        ("alice", "issued"),
        ("bob", "present"),
        ("carol", "issued"),
    ]
    assert [each["outcome"] for each in commands.json("pfx", "issue", "--group", "phones")] == ["present"] * 3
    assert count_keys() == 3


@pytest.mark.usefixtures("people")
def test_who_is_refused_keeps_nobody_else_from_theirs(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Maker.make

    def refusing(self: Maker, order: object) -> object:
        if order.person == 2:  # type: ignore[attr-defined]
            raise Unavailable("no process is to be had")
        return make(self, order)  # type: ignore[arg-type]

    monkeypatch.setattr(Maker, "make", refusing)
    done = commands.run("pfx", "issue", "--group", "phones", "--json")
    assert done.status == 1
    assert [(each["outcome"], each["problem"]) for each in done.document] == [
        ("issued", ""),
        ("refused", "no process is to be had"),
        ("issued", ""),
    ]
    assert "1 of 3 refused" in done.stderr


@pytest.mark.usefixtures("people")
def test_who_is_not_active_is_left_out_of_a_group_and_refused_alone(commands: Commands) -> None:
    commands.text("person", "deactivate", "carol@example.com")
    assert len(commands.json("pfx", "issue", "--group", "phones")) == 2
    assert "the person is not active" in commands.refused("pfx", "issue", "--upn", "carol@example.com")


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        ((), 2, "give --upn or --group"),
        (("--upn", "alice@example.com", "--group", "phones"), 2, "give --upn or --group"),
        (("--group", "phones", "--new-key"), 2, "--new-key goes with --upn"),
        (("--upn", "nobody@example.com"), 1, "nobody has the UPN or mail address nobody@example.com"),
        (("--group", "tablets"), 1, "there is no group tablets"),
    ],
)
def test_what_makes_no_sense_is_refused(commands: Commands, arguments: tuple[str, ...], status: int, reason: str) -> None:
    assert reason in commands.refused("pfx", "issue", *arguments, status=status)


@pytest.mark.usefixtures("people")
def test_without_an_authority_nothing_is_made(commands: Commands, installed_home: Path) -> None:
    with (installed_home / "signetry.toml").open("a") as file:
        file.write('\n[archive]\nissuing_ca = "mail"\n')
    assert "there is no authority 'mail'" in commands.refused("pfx", "issue", "--group", "phones")
    assert "there is no authority 'mail'" in commands.refused("pfx", "issue", "--upn", "alice@example.com")


@pytest.mark.usefixtures("people")
def test_the_person_is_told(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNETRY_NOTICES__HOST", "127.0.0.1")
    monkeypatch.setenv("SIGNETRY_NOTICES__SENDER", "pki@example.com")
    made = commands.json("pfx", "issue", "--upn", "alice@example.com")
    renewed = commands.json("pfx", "issue", "--upn", "alice@example.com", "--new-key")
    with opened() as house, house.transactions.reading() as session:
        archived, again = session.exec(select(OwedNotice).order_by(col(OwedNotice.id))).all()
        assert len(archive_keys(session)) == 1
    assert (archived.template, archived.address, archived.values["serial"]) == (
        "key-archived",
        "alice@example.com",
        made["serial"],
    )
    assert archived.values["origin"] == "made"
    assert (again.template, again.values["serial"]) == ("key-renewed", renewed["serial"])
    assert again.values["previous_not_after"] == archived.values["not_after"]


@pytest.mark.usefixtures("people")
def test_one_that_was_compromised_is_replaced_without_being_named(commands: Commands) -> None:
    made = commands.json("pfx", "issue", "--upn", "alice@example.com")

    def lose(session: Session) -> None:
        found = by_serial(session, made["serial"], now=house.clock.now())
        revoke(session, [found.id], RevocationReason.KEY_COMPROMISE, actor=house.actor, now=house.clock.now())

    with opened() as house:
        house.transactions.write(lose)
    assert commands.json("pfx", "issue", "--upn", "alice@example.com")["outcome"] == "issued"
