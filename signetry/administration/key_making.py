"""Having keys made for persons: for one, or for all of a group, as an administrator orders it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.errors import SignetryError
from people.groups import group_named
from people.person import PersonRecord
from people.persons import PersonFilter, list_persons, person_named
from pkcs_import.archive_keys import current_archive_key
from pkcs_import.making import Demand, KeyMaker, Maker, Making, Order, Outcome
from signetry.house import House
from signetry.pfx_making import maker

Progress = Callable[[int, int], None]

REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class MakingView:
    """What became of an order for one person.

    Attributes:
        person: their UPN.
        outcome: ``issued``, ``present`` for one who has a current certificate already, or ``refused``.
        serial: of the certificate that they have now; None where there is none, and in a rehearsal.
        origin: whether that one's key was made here, or imported.
        not_after: when that one ends.
        held_until: until when it is published nowhere, at most; None where it is published.
        problem: why it was refused.
    """

    person: str
    outcome: str
    serial: str | None = None
    origin: str | None = None
    not_after: datetime | None = None
    held_until: datetime | None = None
    problem: str = ""


def order_for(session: Session, who: str, instead_of: str = "") -> Order:
    """Return the order of a key for one person, who is to have one even if their current certificate is ``instead_of``.

    Raises:
        UnknownPerson: nobody is ``who``.
    """
    person = PersonId(person_named(session, who).id)
    return Order(person, Demand.REPLACING, instead_of) if instead_of else Order(person)


def new_key_for(house: House, session: Session, who: str) -> Order:
    """Return the order of a new key for one person, in the place of the one they have, if any. Raises UnknownPerson."""
    order = order_for(session, who)
    present = maker(house, house.workshop).rehearse(session, order)
    return order if present is None else replace(order, demand=Demand.REPLACING, instead_of=present.serial)


def members_of(session: Session, group: str, *, after: str = "", limit: int | None = None) -> list[PersonRecord]:
    """Return the active persons of a group in the order of their UPNs, from behind ``after``, ``limit`` at most.

    Raises:
        UnknownGroup: there is no such group.
    """
    wanted = PersonFilter(active=True, group=group_named(session, group).name)
    if limit is not None:
        return list(list_persons(session, wanted, after=after, limit=limit))
    return [person for page in _pages(session, wanted) for person in page]


def make_one(house: House, keys: KeyMaker, order: Order, *, dry_run: bool = False) -> MakingView:
    """Make one person a key, or say what would happen. Raises as ``Maker.make``."""
    return _made(house, maker(house, keys), order, dry_run=dry_run)


def make_all(
    house: House,
    keys: KeyMaker,
    persons: Sequence[PersonRecord],
    *,
    threads: int = 1,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> list[MakingView]:
    """Make each person a key who has none, ``threads`` at a time; who is refused keeps nobody else from theirs.

    Interrupted, it begins nothing more; doing it again makes what is missing.

    Raises:
        NoArchiveKey: there is nothing to seal private keys to.
        UnknownAuthority, KeyUnavailable: the authority cannot issue.
    """
    with house.transactions.reading() as session:
        current_archive_key(session)
    house.issuing_now(house.settings.archive.issuing_ca)
    attempt = partial(_attempted, house, maker(house, keys), dry_run)
    views: list[MakingView] = []
    executor = ThreadPoolExecutor(threads, thread_name_prefix="key-making")
    try:
        for view in executor.map(attempt, persons):
            views.append(view)
            if progress is not None:
                progress(len(views), len(persons))
    finally:
        executor.shutdown(cancel_futures=True)
    return views


def _attempted(house: House, made_by: Maker, dry_run: bool, person: PersonRecord) -> MakingView:  # noqa: FBT001 - for partial
    try:
        return _made(house, made_by, Order(PersonId(person.id)), dry_run=dry_run)
    except SignetryError as error:
        return MakingView(person.upn, REFUSED, problem=str(error))


def _made(house: House, made_by: Maker, order: Order, *, dry_run: bool) -> MakingView:
    if not dry_run:
        return _view(made_by.make(order))
    with house.transactions.reading() as session:
        present = made_by.rehearse(session, order)
        return _view(present) if present else MakingView(person_named(session, str(order.person)).upn, str(Outcome.ISSUED))


def _view(making: Making) -> MakingView:
    return MakingView(
        person=making.person.upn,
        outcome=str(making.outcome),
        serial=making.serial,
        origin=str(making.origin),
        not_after=making.not_after,
        held_until=making.held_until,
    )


def _pages(session: Session, wanted: PersonFilter) -> Iterator[Sequence[PersonRecord]]:
    after = ""
    while page := list_persons(session, wanted, after=after, limit=1000):
        yield page
        after = page[-1].upn
