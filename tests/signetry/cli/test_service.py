"""``signetry serve``: what it does before it serves, and what it tells; that it serves is in tests/daemons."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from sqlmodel import Session, select

from ca import hierarchy
from crl.records import CrlSchedule
from foundation.tables import table_of
from signetry import server
from signetry.settings import Settings
from tests.signetry.installation import PUBLIC_URL, Commands, edit, opened

ADDRESSES = {"public": "http://127.0.0.1:1", "device": "https://127.0.0.1:2", "admin": "https://127.0.0.1:3"}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What was to be served, instead of serving it."""
    calls: list[Settings] = []

    def serve(settings: Settings, *, on_ready: Callable[[Mapping[str, str]], None]) -> None:
        calls.append(settings)
        on_ready(ADDRESSES)

    monkeypatch.setattr(server, "serve", serve)
    return calls


def test_it_says_where_it_serves_and_what_to_do_next(commands: Commands, installed_home: Path, served: list[Settings]) -> None:
    text = commands.text("serve", "--workers", "3")
    assert [settings.workers for settings in served] == [3]
    assert served[0].home == installed_home
    for address in ADDRESSES.values():
        assert address in text
    assert f"{ADDRESSES['public']}/scep/default" in text
    for command in ("signetry person add", "signetry challenge create", "signetry demo", "signetry doctor"):
        assert command in text


def test_it_repeats_the_environment_that_another_terminal_lacks(
    commands: Commands, installed_home: Path, served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNETRY_CRL__VALIDITY_HOURS", "48")
    monkeypatch.setenv("SIGNETRY_PORT", "tcp://10.0.0.1:80")
    text = commands.text("serve")
    assert served
    assert f"export SIGNETRY_HOME={installed_home}\n" in text
    assert "export SIGNETRY_CRL__VALIDITY_HOURS=48\n" in text
    assert "SIGNETRY_PORT" not in text


def test_a_start_follows_the_public_url(commands: Commands, installed_home: Path, served: list[Settings]) -> None:
    edit(installed_home, PUBLIC_URL, "http://new.example.com")
    assert commands.json("ca", "reissue", "--dry-run")["due"]
    commands.text("serve")
    assert served
    assert not commands.json("ca", "reissue", "--dry-run")["due"]


def test_a_start_makes_up_for_what_a_restored_database_lacks(
    commands: Commands, installed_home: Path, served: list[Settings]
) -> None:
    """A CRL that expired, or no schedule at all: the worker finds it due."""
    (installed_home / "tls" / "server.pem").unlink()
    with opened() as house:
        house.transactions.write(lambda session: session.execute(table_of(CrlSchedule).delete()))
    commands.text("serve")
    assert served
    assert (installed_home / "tls" / "server.pem").exists()

    def scheduled(session: Session) -> set[int]:
        return {row.authority_id for row in session.exec(select(CrlSchedule)).all()}

    with opened() as house, house.transactions.reading() as session:
        assert scheduled(session) == {record.id for record in hierarchy.authorities(session)}


@pytest.mark.usefixtures("empty_home")
def test_without_an_installation_it_says_what_to_run(commands: Commands, served: list[Settings]) -> None:
    assert "run signetry init" in commands.refused("serve")
    assert served == []


def test_an_installation_whose_making_was_interrupted_is_not_served(
    commands: Commands, installed_home: Path, served: list[Settings]
) -> None:
    (installed_home / "signetry.db").unlink()
    assert "holds no authority yet: run signetry init" in commands.refused("serve")
    assert served == []


@pytest.mark.parametrize("workers", ["0", "65", "-1"])
@pytest.mark.usefixtures("installed_home")
def test_a_number_of_workers_out_of_bounds_is_bad_usage(commands: Commands, served: list[Settings], workers: str) -> None:
    assert "workers" in commands.refused("serve", "--workers", workers, status=2)
    assert served == []
