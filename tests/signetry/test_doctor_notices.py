"""``signetry doctor`` on mails: the server, the words, and what did not arrive."""

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from pkcs_import.records import ArchivedKey, ArchiveKey
from signetry.doctor.findings import Finding
from signetry.doctor.notices import notices
from tests.clocks import ManualClock
from tests.daemons.mail_server import running_mail_server
from tests.signetry.installation import clock_of_today, opened
from tests.signetry.mailing import with_mail, with_taro

LINK = {"link": "https://pki.example.com/keys/x", "until": "2099-01-01T00:00:00+00:00", "device": "", "keys": "1"}


def findings(clock: ManualClock | None = None) -> list[Finding]:
    with opened(clock) as house:
        return list(notices(house))


@pytest.mark.usefixtures("installed_home")
def test_without_mails_there_is_nothing_to_say() -> None:
    assert findings() == []


def test_a_server_that_can_be_used_is_named(installed_home: Path) -> None:
    with running_mail_server() as running:
        with_mail(installed_home, running.port)
        (found,) = findings()
        assert (found.severity, found.finding) == ("ok", "mails go by mx.example.net, from pki@example.com")
        assert running.received == []


def test_a_server_that_cannot_be_used_is_an_error(installed_home: Path) -> None:
    with_mail(installed_home, 1)
    (found,) = findings()
    assert (found.severity, found.finding) == ("error", "the mail server 127.0.0.1:1: Connection refused")
    assert "docs/notices.md" in found.advice


def test_words_that_cannot_be_used_are_an_error_each(installed_home: Path) -> None:
    folder = installed_home / "mails" / "en"
    folder.mkdir(parents=True)
    (folder / "test.txt").write_text("Subject: x\n\n{{ nmae }}\n")
    (folder / "key-archived.txt").write_text("nothing\n")
    with running_mail_server() as running:
        with_mail(installed_home, running.port, 'templates = "mails"')
        found = findings()
    assert [each.severity for each in found] == ["error", "error", "ok"]
    assert "en/key-archived.txt: it must begin" in found[0].finding
    assert "nmae is no value" in found[1].finding


def test_mails_that_do_not_arrive_are_noticed(installed_home: Path) -> None:
    clock = clock_of_today()
    with running_mail_server() as running:
        running.behaviour.on_recipient = lambda address: "550 5.1.1 unknown" if "taro" in address else None
        with_mail(installed_home, running.port)
        with opened(clock) as house:
            person = with_taro(house)
            house.transactions.write(lambda session: house.notices.owe(session, person, "delivery-link", LINK))
            assert house.notices.sender().run().given_up == 1
            house.transactions.write(lambda session: house.notices.owe(session, person, "delivery-link", LINK))
        assert [each.finding for each in findings(clock)][:1] == ["mails that were given up: 1"]
        clock.advance(hours=2)
        found = findings(clock)
    assert [each.severity for each in found] == ["warning", "warning", "ok"]
    assert "mails that wait: 1, the oldest since" in found[1].finding


@pytest.mark.usefixtures("installed_home")
def test_keys_whose_owners_nobody_tells_are_noticed() -> None:
    with opened() as house:
        now = house.clock.now()
        kept: dict[str, Any] = {
            "wrapped_key": b"x",
            "nonce": b"x",
            "ciphertext": b"x",
            "kept_at": now,
            "key_algorithm": "rsa2048",
        }

        def keep(session: Session) -> None:
            archive = session.exec(select(ArchiveKey.id)).first()
            assert archive is not None
            session.add(
                ArchivedKey(uid="0" * 32, person_id=1, origin="made", spki_sha256="0" * 64, archive_key_id=archive, **kept)
            )

        house.transactions.write(keep)
        (found,) = notices(house)
    assert found.severity == "warning"
    assert "persons are not told" in found.finding
