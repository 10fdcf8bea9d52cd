"""Comparing a directory with the records in parts, each of which takes seconds, whatever the directory does."""

from contextlib import closing
from dataclasses import dataclass
from time import monotonic

from ldap_publish.checking import Difference, DifferenceKind
from ldap_publish.outbox import Subject
from ldap_publish.records import SubjectKind
from signetry.house import House

# After this long no further entries are looked at; one that is being looked at may take the directory's timeout_seconds more.
_BUDGET_SECONDS = 20.0
_AT_A_TIME = 20

# The place of a subject in their order.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the entries differs in; ``last`` is the place of the last one looked at, None when that was all."""

    differences: tuple[Difference, ...]
    last: Place | None


def compare(house: House, name: str, *, limit: int, after: Place | None = None, owed: bool = False) -> Part:
    """Compare up to ``limit`` entries of a directory with the records, beginning behind the place ``after``.

    All entries of which something should stand there, or once stood; with ``owed``, those that the next upload looks at. Where
    the directory cannot be used, that is the last difference.

    Raises:
        UnknownDirectory: none is configured under this name.
    """
    started = monotonic()
    found: list[Difference] = []
    with closing(house.directories.checker(name)) as checker:
        waiting = sorted(checker.owed() if owed else checker.everybody(), key=_place)
        waiting = [subject for subject in waiting if after is None or _place(subject) > after]
        done = 0
        while done < min(limit, len(waiting)) and monotonic() - started < _BUDGET_SECONDS:
            batch = waiting[done : min(done + _AT_A_TIME, limit)]
            found += checker.differences(batch)
            if found and found[-1].kind is DifferenceKind.UNREACHABLE:
                return Part(tuple(found), None)
            done += len(batch)
    return Part(tuple(found), _place(waiting[done - 1]) if done < len(waiting) else None)


def is_place(kind: str, number: int) -> bool:
    """Say whether this can be the place of a subject."""
    return kind in set(SubjectKind) and number > 0


def _place(subject: Subject) -> Place:
    return str(subject.kind), subject.id
