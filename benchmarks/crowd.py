"""Many persons at once: recorded, certified and given challenges by the functions that do it for one, in large transactions."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session

from ca import issuance
from ca.authorisation import Authorisation, PersonId, SubjectNames
from ca.profiles import SMIME_DUAL
from people.person import PersonFields
from people.persons import add_person
from scep import challenge
from scep.challenge import ChallengeOrder
from signetry.house import House, open_house

_TRANSACTION = 500
DOMAIN = "example.com"

Item = TypeVar("Item")


@contextmanager
def opened_house(home: Path, database_url: str = "") -> Iterator[House]:
    """Open the installation in ``home``, beside a service that may be running there."""
    with mock.patch.dict(os.environ, {"SIGNETRY_HOME": str(home), "SIGNETRY_DATABASE_URL": database_url}):
        house = open_house()
    try:
        yield house
    finally:
        house.close()


def add_persons(house: House, names: Iterable[str]) -> dict[str, PersonId]:
    """Record ``name@example.com`` for each name; return their numbers by name."""
    now = house.clock.now()

    def add(session: Session, name: str) -> PersonId:
        fields = PersonFields(upn=f"{name}@{DOMAIN}", email=f"{name}@{DOMAIN}", display_name=name)
        return PersonId(add_person(session, fields, actor=house.actor, now=now).id)

    def add_all(part: Sequence[str], session: Session) -> dict[str, PersonId]:
        return {name: add(session, name) for name in part}

    numbers: dict[str, PersonId] = {}
    for part in _parts(names):
        numbers |= house.transactions.write(partial(add_all, part))
    return numbers


def certify(house: House, persons: dict[str, PersonId]) -> None:
    """Give each person an smime-dual certificate over one shared P-256 key, and owe the directories what that owes them."""
    authority, now = house.authority("issuing"), house.clock.now()
    key = ec.generate_private_key(ec.SECP256R1()).public_key()

    def record(part: Sequence[tuple[str, PersonId]], session: Session) -> None:
        for name, number in part:
            names = SubjectNames(display_name=name, upn=f"{name}@{DOMAIN}", emails=(f"{name}@{DOMAIN}",))
            issuance.record(
                session,
                issuance.build(authority, SMIME_DUAL, names, key, now=now),
                authority=authority,
                authorisation=Authorisation(SMIME_DUAL.name, names, granted_by="a benchmark", person=number),
                actor=house.actor,
                now=now,
                listeners=house.issuance_listeners,
            )

    for part in _parts(persons.items()):
        house.transactions.write(partial(record, part))


def challenges(house: House, persons: Iterable[PersonId]) -> list[str]:
    """Mint a challenge for an smime-dual certificate for each person, in their order."""
    now = house.clock.now()

    def mint(part: Sequence[PersonId], session: Session) -> list[str]:
        orders = [ChallengeOrder("default", SMIME_DUAL.name, person, None, lifetime=timedelta(days=1)) for person in part]
        return [text for order in orders for text in challenge.mint(session, order, actor=house.actor, now=now)]

    return [text for part in _parts(persons) for text in house.transactions.write(partial(mint, part))]


def _parts(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    waiting = iter(items)
    while part := tuple(itertools.islice(waiting, _TRANSACTION)):
        yield part
