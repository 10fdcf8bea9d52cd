"""Bringing Intune's imported PKCS #12 up to date: what the command line and the API have in common."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Self

from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.errors import Unavailable
from intune.pfx_certificates import PfxCertificates
from people.groups import get_group
from people.persons import PersonFilter, list_persons, person_named
from pkcs_import import intune_plan
from pkcs_import.intune_plan import Change, Step
from pkcs_import.intune_push import IntunePush, Outcome
from signetry import intune
from signetry.house import House
from signetry.intune_connector import connector

Progress = Callable[[int, int], None]

_PAGE = 500


class Result(StrEnum):
    """What became of a change."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One change in a report; ``reason`` says why it is made, or why it could not be."""

    upn: str
    change: Change
    result: Result
    thumbprint: str
    serial: str | None
    not_after: datetime | None
    reason: str

    @classmethod
    def of(cls, step: Step, result: Result, error: str = "") -> Self:
        """Return how a step is reported."""
        certificate = None if step.subject is None else step.subject.certificate
        serial, not_after = (None, None) if certificate is None else (certificate.serial, certificate.not_after)
        return cls(step.upn, step.change, result, step.thumbprint, serial, not_after, error or step.reason)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a run came to.

    Attributes:
        changes: in their order; of a dry run, what would be done.
        unchanged: how many files were as they should be.
        stopped: why the run ended before its time; empty where it did not.
    """

    changes: tuple[Line, ...]
    unchanged: int
    stopped: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether everything is done."""
        return not self.stopped and all(line.result is not Result.FAILED for line in self.changes)


def everybody(house: House) -> list[PersonId]:
    """Return everybody who has an encryption key in the archive, or a file of ours in Intune."""
    with house.transactions.reading() as session:
        return intune_plan.concerned(session)


def named(house: House, names: Sequence[str]) -> list[PersonId]:
    """Return the persons that an administrator names, each once. Raises UnknownPerson, InvalidField."""
    with house.transactions.reading() as session:
        return list(dict.fromkeys(PersonId(person_named(session, name).id) for name in names))


def members(house: House, group: str) -> list[PersonId]:
    """Return those members of a group whom a run may concern. Raises UnknownGroup."""
    with house.transactions.reading() as session:
        concerned = set(intune_plan.concerned(session))
        return [each for each in _members(session, get_group(session, group).name) if each in concerned]


def push(
    house: House,
    persons: Sequence[PersonId],
    *,
    dry_run: bool,
    patience_seconds: float,
    progress: Progress | None = None,
) -> Pushed:
    """Compare Intune with the archive, and upload what differs; a dry run only compares.

    Args:
        house: where the archive is.
        persons: whose files are compared.
        dry_run: whether nothing is to be changed.
        patience_seconds: how long a pause that Microsoft asks for, or an outage, is waited out.
        progress: gets the persons done and those there are.

    Raises:
        ConfigurationError: no tenant or no connector is configured, or a file that the settings name cannot be used.
        GraphRefused: Intune does not say what it has.
    """
    changes: list[Line] = []
    unchanged = done = 0
    with _opened(house, patience_seconds) as pusher:
        try:
            for plan in pusher.plans(persons):
                if dry_run:
                    changes.extend(Line.of(step, Result.PLANNED) for step in plan.steps)
                else:
                    changes.extend(map(_line, pusher.carry_out(plan)))
                unchanged += plan.unchanged
                done += 1
                if progress is not None:
                    progress(done, len(persons))
        except Unavailable as error:
            return Pushed(tuple(changes), unchanged, str(error))
    return Pushed(tuple(changes), unchanged)


def _line(outcome: Outcome) -> Line:
    return Line.of(outcome.step, Result.DONE if outcome.succeeded else Result.FAILED, outcome.error)


@contextmanager
def _opened(house: House, patience_seconds: float) -> Iterator[IntunePush]:
    settings = house.settings.intune
    tenant, opens_them = intune.tenant(settings), connector(settings)
    with intune.transport(settings) as transport:
        yield IntunePush(
            house.transactions,
            house.clock,
            house.actor,
            PfxCertificates.of(tenant, transport, patience_seconds=patience_seconds),
            opens_them,
            partial(house.archive.deliver, actor=house.actor),
            house.handed_listeners,
        )


def _members(session: Session, group: str) -> Iterator[PersonId]:
    last = ""
    while page := list_persons(session, PersonFilter(group=group), after=last, limit=_PAGE):
        yield from (PersonId(person.id) for person in page)
        last = page[-1].upn
