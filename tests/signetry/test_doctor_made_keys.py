"""What the doctor says of keys that are made here."""

from datetime import timedelta
from pathlib import Path

import pytest

from ca.authorisation import PersonId
from people.person import PersonFields
from people.persons import add_person
from pkcs_import.making import Order
from signetry.doctor.made_keys import made_keys
from signetry.house import House
from signetry.pfx_making import maker
from tests.pkcs_import.makings import WorkshopHere
from tests.signetry import installation


def found(house: House) -> list[tuple[str, str]]:
    return [(each.severity, each.finding) for each in made_keys(house)]


def make_one(house: House) -> None:
    fields = PersonFields(upn="alice@example.com", email="alice@example.com")
    now = house.clock.now()
    alice = house.transactions.write(lambda session: add_person(session, fields, actor=house.actor, now=now))
    maker(house, WorkshopHere()).make(Order(PersonId(alice.id)))


@pytest.mark.usefixtures("installed_home")
def test_it_says_nothing_where_all_is_well() -> None:
    with installation.opened(installation.clock_of_today()) as house:
        assert found(house) == []
        make_one(house)
        assert found(house) == []


@pytest.mark.usefixtures("installed_home")
def test_it_finds_what_is_not_renewed_in_time() -> None:
    clock = installation.clock_of_today()
    with installation.opened(clock) as house:
        make_one(house)
        clock.advance(timedelta(days=695))
        assert found(house) == []
        clock.advance(timedelta(days=10))
        assert found(house) == [("warning", "1 certificates made here end soon, and are not renewed")]


def test_it_finds_an_authority_that_does_not_exist(installed_home: Path) -> None:
    with (installed_home / "signetry.toml").open("a") as file:
        file.write('\n[archive]\nissuing_ca = "mail"\n')
    with installation.opened() as house:
        ((severity, finding),) = found(house)
    assert severity == "warning"
    assert "archive.issuing_ca names 'mail', which does not exist" in finding
