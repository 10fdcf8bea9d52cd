"""Comparing a directory with the records in parts, each of which takes seconds, whatever the directory does."""

from contextlib import closing, suppress
from dataclasses import dataclass
from time import monotonic

from ldap_publish.checking import Difference, DifferenceKind
from ldap_publish.outbox import Subject
from ldap_publish.records import SubjectKind
from signetry.house import House

# After this long no further entries are looked at; one that is being looked at may take the directory's timeout_seconds more.
_BUDGET_SECONDS = 20.0

# The place of a subject in their order.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What a part of the entries differs in; ``last`` is the place of the last one looked at, None when that was all."""

    differences: tuple[Difference, ...]
    last: Place | None


class _TimeIsUp(Exception):
    """Ends the comparison behind an entry."""


def compare(house: House, name: str, *, limit: int, after: Place | None = None, owed: bool = False) -> Part:
    """Compare up to ``limit`` entries of a directory with the records, beginning behind the place ``after``.

    All entries of which something should stand there, or once stood; with ``owed``, those that the next upload looks at. Where
    the directory cannot be used, that is the last difference.

    Raises:
        UnknownDirectory: none is configured under this name.
    """
    started = monotonic()
    found: list[Difference] = []
    looked_at = 0

    def note(done: int, _total: int) -> None:
        nonlocal looked_at
        looked_at = done
        if monotonic() - started >= _BUDGET_SECONDS:
            raise _TimeIsUp

    with closing(house.directories.checker(name)) as checker:
        waiting = sorted(checker.owed() if owed else checker.everybody(), key=_place)
        waiting = [subject for subject in waiting if after is None or _place(subject) > after]
        with suppress(_TimeIsUp):
            for difference in checker.differences(waiting[:limit], note):
                found.append(difference)  # noqa: PERF402 - what was found before the time is up counts
    is_away = bool(found) and found[-1].kind is DifferenceKind.UNREACHABLE
    is_all = is_away or looked_at == len(waiting)
    return Part(tuple(found), None if is_all else _place(waiting[looked_at - 1]))


def is_place(kind: str, number: int) -> bool:
    """Say whether this can be the place of a subject."""
    return kind in set(SubjectKind) and number > 0


def _place(subject: Subject) -> Place:
    return str(subject.kind), subject.id
