"""From records to names: everything the record vouches for, and nothing else."""

import pytest

from ca.authorisation import SubjectNames
from scep.subject import names_of
from tests.scep.world import World


def test_a_persons_names_are_those_on_record_with_the_primary_address_first(world: World) -> None:
    alice = world.add_person(
        aliases=("a.smith@example.com", "asmith@example.net"),
        given_name="Alice",
        surname="Smith",
        sid="S-1-5-21-1-2-3-1104",
        account_name="alice",
        employee_code="4711",
    )
    assert names_of(alice, None) == SubjectNames(
        display_name="Alice Smith",
        given_name="Alice",
        surname="Smith",
        upn="alice@example.com",
        emails=("alice@example.com", "a.smith@example.com", "asmith@example.net"),
        sid="S-1-5-21-1-2-3-1104",
    )


def test_a_person_without_a_sid_has_an_empty_one(world: World) -> None:
    assert names_of(world.add_person(), None).sid == ""


def test_a_device_has_its_name_its_dns_name_and_the_urn_of_its_number(world: World) -> None:
    device = world.add_device("router-7", dns_name="router-7.example.com", mdm_id="0B7BDD6D-9C7A-4B8C-8A26-0F4F1F1E9F55")
    assert names_of(None, device) == SubjectNames(
        device_name="router-7",
        dns_names=("router-7.example.com",),
        uris=("urn:uuid:0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55",),
    )


@pytest.mark.parametrize("number", ["4711", "not-a-uuid", "0b7bdd6d-9c7a-4b8c-8a26"])
def test_a_number_that_is_no_uuid_is_no_name(world: World, number: str) -> None:
    assert names_of(None, world.add_device(mdm_id=number)).uris == ()


def test_a_person_and_a_device_have_the_names_of_both(world: World) -> None:
    names = names_of(world.add_person(), world.add_device("phone", dns_name="phone.example.com"))
    assert (names.upn, names.device_name, names.dns_names) == ("alice@example.com", "phone", ("phone.example.com",))


def test_nobody_has_no_names() -> None:
    assert names_of(None, None) == SubjectNames()
