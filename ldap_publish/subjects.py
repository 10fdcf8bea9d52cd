"""What the records know of those whose entries are looked at: how they are called, what is wanted of them, what was put where."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from ca.records import CertificationAuthority
from foundation.errors import SignetryError
from foundation.tables import table_of
from ldap_publish.directory import Directory
from ldap_publish.entry import Owned
from ldap_publish.foreign import ForeignSource
from ldap_publish.outbox import Subject
from ldap_publish.records import OwedEntry, PublishedValue, SubjectKind
from ldap_publish.wanted import (
    CrlSource,
    HeldCertificate,
    Needs,
    SignerSource,
    Wanted,
    authority_names,
    certificates_of,
    certified_persons,
    person_fields,
    profiles_of,
)

_PUBLISHED = table_of(PublishedValue)
_OWED = table_of(OwedEntry)
_AUTHORITY = table_of(CertificationAuthority)
_KEY = ("directory", "kind", "subject_id", "dn", "attribute", "sha256")


@dataclass(frozen=True, slots=True)
class Placed:
    """A value of ours and the entry it was put into."""

    dn: str
    owned: Owned


@dataclass(frozen=True, slots=True)
class SubjectState:
    """One person or authority, as the records have it.

    Attributes:
        subject: whose entry it is.
        name: what reports call it: a UPN, or an authority's name.
        fields: what a person's search filter and DN are made of; empty for an authority.
        wanted: what its entry should hold; None where that cannot be said, and ``problem`` says why.
        placed: what was put into which entries.
        certificates: all of a person's.
    """

    subject: Subject
    name: str
    fields: Mapping[str, str]
    wanted: Wanted | None
    problem: SignetryError | None
    placed: tuple[Placed, ...]
    certificates: tuple[HeldCertificate, ...] = ()


# Returns the ids of all such certificates: they are few.
WithheldSource = Callable[[Session], Collection[int]]


def nothing_withheld(_session: Session) -> Collection[int]:
    """Return none."""
    return ()


@dataclass(frozen=True, slots=True)
class Sources:
    """What the room takes from outside of it.

    An authority's newest CRL, the key that signs for its persons, which certificates nobody is to be told of yet, and persons'
    certificates of other authorities.
    """

    crl: CrlSource
    signer: SignerSource
    withheld: WithheldSource = nothing_withheld
    foreign: ForeignSource | None = None


def load(
    session: Session, directory: Directory, subjects: Collection[Subject], now: datetime, sources: Sources
) -> list[SubjectState]:
    """Return what the records know of ``subjects``, in their order."""
    persons = [subject.id for subject in subjects if subject.kind is SubjectKind.PERSON]
    authorities = [subject.id for subject in subjects if subject.kind is SubjectKind.AUTHORITY]
    fields = person_fields(session, persons)
    certificates = certificates_of(session, persons, now, sources.withheld(session))
    foreign = sources.foreign.certificates(session, persons) if sources.foreign and persons else {}
    names = authority_names(session, authorities)
    placed = _placed(session, directory.name, persons, authorities)
    needs = Needs(session, directory, now, sources.crl, sources.signer)

    def state(subject: Subject) -> SubjectState:
        if subject.kind is SubjectKind.AUTHORITY:
            wanted, problem = _attempt(lambda: needs.of_authority(subject.id))
            name = names.get(subject.id, f"authority {subject.id}")
            return SubjectState(subject, name, {}, wanted, problem, tuple(placed[subject]))
        held = tuple(certificates.get(subject.id, ()))
        wanted, problem = _attempt(lambda: needs.of_person(held, foreign.get(subject.id, ())))
        own = fields.get(subject.id, {})
        name = own.get("upn", f"person {subject.id}")
        return SubjectState(subject, name, own, wanted, problem, tuple(placed[subject]), held)

    return [state(subject) for subject in subjects]


def everybody(session: Session, directory: Directory, now: datetime, foreign: ForeignSource | None = None) -> list[Subject]:
    """Return all of whom something should stand in a directory, or of whom something once stood there."""
    known = select(_OWED.c.kind, _OWED.c.subject_id).where(_OWED.c.directory == directory.name)
    found = {Subject(SubjectKind(kind), number) for kind, number in session.execute(known)}
    persons = certified_persons(profiles_of(directory.publish), now)
    found |= {Subject(SubjectKind.PERSON, row.subject_id) for row in session.execute(persons)}
    if foreign is not None:
        found |= {Subject(SubjectKind.PERSON, row.subject_id) for row in session.execute(foreign.persons(now))}
    if directory.authority_base:
        found |= {Subject(SubjectKind.AUTHORITY, number) for number in session.scalars(select(_AUTHORITY.c.id))}
    return sorted(found, key=lambda subject: (subject.kind, subject.id))


def place(session: Session, directory: str, placements: Iterable[tuple[Subject, Placed]]) -> None:
    """Record values that are about to be put into entries. Run it before the directory is changed."""
    rows = [_row(directory, subject, placed) | {"source": placed.owned.source} for subject, placed in placements]
    if not rows:
        return
    made = postgresql.insert(_PUBLISHED) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(_PUBLISHED)
    session.execute(made.on_conflict_do_update(index_elements=list(_KEY), set_={"source": made.excluded.source}), rows)


def displace(session: Session, directory: str, subject: Subject, gone: Iterable[Placed]) -> None:
    """Forget values that are in their entries no more. Run it after the directory was changed."""
    for placed in gone:
        row = _row(directory, subject, placed)
        session.execute(delete(_PUBLISHED).where(*(_PUBLISHED.c[name] == value for name, value in row.items())))


def _placed(
    session: Session, directory: str, persons: Collection[int], authorities: Collection[int]
) -> dict[Subject, list[Placed]]:
    found: dict[Subject, list[Placed]] = defaultdict(list)
    for kind, numbers in ((SubjectKind.PERSON, persons), (SubjectKind.AUTHORITY, authorities)):
        query = select(_PUBLISHED).where(_PUBLISHED.c.directory == directory, _PUBLISHED.c.kind == str(kind))
        for row in session.execute(query.where(_PUBLISHED.c.subject_id.in_(list(numbers))).order_by(_PUBLISHED.c.id)):
            owned = Owned(row.attribute, row.sha256, row.source)
            found[Subject(kind, row.subject_id)].append(Placed(row.dn, owned))
    return found


def _row(directory: str, subject: Subject, placed: Placed) -> dict[str, object]:
    values = (directory, str(subject.kind), subject.id, placed.dn, placed.owned.attribute, placed.owned.sha256)
    return dict(zip(_KEY, values, strict=True))


def _attempt(compute: Callable[[], Wanted]) -> tuple[Wanted | None, SignetryError | None]:
    try:
        return compute(), None
    except SignetryError as error:
        return None, error
