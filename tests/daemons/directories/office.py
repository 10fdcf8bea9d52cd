"""An authority in the test's own process, under a clock of the test's, that publishes to real directories."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ca import issuance, revocation
from ca.authorisation import Authorisation, PersonId, ProfileName, SubjectNames
from ca.profiles import profile_named
from ca.revocation import RevocationReason
from foundation.clock import SystemClock
from ldap_publish.publishing import Publisher
from people.person import PersonFields
from people.persons import add_person
from signetry.house import House
from tests.clocks import ManualClock
from tests.signetry import installation

_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its row."""

    id: int
    der: bytes
    serial: str


class Office:
    """What an administrator and the worker do, one step at a time."""

    def __init__(self, house: House, clock: ManualClock) -> None:
        self.house = house
        self.clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._persons: dict[str, int] = {}
        self._publishers = [house.directories.publisher(name) for name in house.directories.configured]
        house.directories.take_note()

    def add_person(self, name: str = "alice") -> int:
        """Record ``name@example.com``; nothing is issued yet."""
        address = f"{name}@example.com"
        fields = PersonFields(upn=address, email=address, display_name=name)
        record = self.house.transactions.write(
            lambda session: add_person(session, fields, actor=self.house.actor, now=self.clock.now()),
        )
        self._persons[name] = record.id
        return record.id

    def issue(
        self,
        name: str = "alice",
        *,
        profile: str = "smime-dual",
        renews: Issued | None = None,
        validity: timedelta | None = None,
    ) -> Issued:
        """Issue a certificate by the functions that an enrolment goes through, and owe what it owes."""
        address = f"{name}@example.com"
        names = SubjectNames(display_name=name, upn=address, emails=(address,))
        authority = self.house.authority("issuing")
        now = self.clock.now()
        built = issuance.build(authority, profile_named(profile), names, self._key.public_key(), now=now, validity=validity)
        authorisation = Authorisation(
            ProfileName(profile),
            names,
            granted_by="a test",
            person=PersonId(self._persons.get(name) or self.add_person(name)),
            renews=renews.id if renews else None,
        )
        number = self.house.transactions.write(
            lambda session: issuance.record(
                session,
                built,
                authority=authority,
                authorisation=authorisation,
                actor=self.house.actor,
                now=now,
                listeners=self.house.issuance_listeners,
            ),
        )
        return Issued(number, built.der, built.serial)

    def revoke(self, *issued: Issued, reason: RevocationReason = RevocationReason.CESSATION_OF_OPERATION) -> None:
        """Revoke certificates; with ``CERTIFICATE_HOLD``, put them on hold."""
        house, now = self.house, self.clock.now()
        self.house.transactions.write(
            lambda session: revocation.revoke(
                session,
                [each.id for each in issued],
                reason,
                actor=house.actor,
                now=now,
                listeners=house.revocation_listeners,
            ),
        )

    def release(self, *issued: Issued) -> None:
        """Take certificates off hold."""
        house, now = self.house, self.clock.now()
        self.house.transactions.write(
            lambda session: revocation.release(
                session,
                [each.id for each in issued],
                actor=house.actor,
                now=now,
                listeners=house.revocation_listeners,
            ),
        )

    def work(self) -> None:
        """Do everything that is due now for CRLs and directories, as the worker does."""
        for _ in range(_ROUNDS):
            if not [*self.house.publish_crls(), *(publisher for publisher in self._due() if publisher.run().settled)]:
                return
        raise AssertionError("there is no end of what is due")

    def _due(self) -> list[Publisher]:
        with self.house.transactions.reading() as session:
            due = [(publisher, publisher.next_due(session)) for publisher in self._publishers]
        return [publisher for publisher, when in due if when is not None and when <= self.clock.now()]

    def close(self) -> None:
        """End the connections to the directories."""
        for publisher in self._publishers:
            publisher.close()

    def json(self, *arguments: str, succeeds: bool = True) -> Any:  # noqa: ANN401 - whatever the command prints
        """Run ``signetry … --json`` in this process, under the real clock, and return its document."""
        done = installation.run_command(*arguments, "--json")
        assert (done.status == 0) == succeeds, done
        return json.loads(done.stdout)

    def status(self, name: str = "main") -> Any:  # noqa: ANN401 - a JSON object
        """Return how a directory fares, as the command line shows it."""
        (found,) = [each for each in self.json("ldap", "status") if each["directory"] == name]
        return found


def made(home: Path, *, age: timedelta = timedelta(0)) -> Path:
    """Make an installation with P-256 authorities in ``home``, ``age`` ago; return it."""
    began = datetime.now(UTC) - age
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNETRY_HOME", str(home))
        patch.setattr(SystemClock, "now", lambda _: began)
        installation.make(home)
    return home


@contextmanager
def opened_office(home: Path, configuration: str, *, age: timedelta = timedelta(0)) -> Iterator[Office]:
    """Open the installation in ``home``, with more in its settings, under a clock that begins ``age`` ago."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNETRY_HOME", str(home))
        clock = installation.clock_of_today()
        clock.advance(-age)
        with (home / "signetry.toml").open("a") as file:
            file.write(configuration)
        with installation.opened(clock) as house:
            office = Office(house, clock)
            try:
                yield office
            finally:
                office.close()
