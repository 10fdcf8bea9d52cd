"""Publishing to directories at once, checking them, saying how they stand: what the command line and the API have in common."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from sqlmodel import Session

from audit.log import Event, record
from ldap_publish import outbox, standing
from ldap_publish.checking import Difference
from ldap_publish.directory import Directory
from ldap_publish.errors import StillConfigured
from ldap_publish.publishing import Publisher
from ldap_publish.status import DirectoryReport, report
from signetry.administration import rehearsal
from signetry.house import House

Progress = Callable[[int, int], None]

# How long to wait for what another worker has claimed; its lease lapses sooner.
_PATIENCE_SECONDS = 40.0
_LOOK_EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of a directory's backlog.

    Attributes:
        directory: its name.
        published: entries that are as they should be now.
        failed: entries that the directory refuses.
        waiting: persons who have no entry yet.
        error: why the directory itself cannot be used; empty where it can.
        left: entries that another worker has claimed and not finished with.
    """

    directory: str
    published: int
    failed: int
    waiting: int
    error: str
    left: int

    @property
    def succeeded(self) -> bool:
        """Whether nothing stands in the way; who waits for an entry is no failure."""
        return not (self.failed or self.error or self.left)


def chosen(house: House, name: str | None) -> list[str]:
    """Return the names of the directories meant: the one, or all of them. Raises UnknownDirectory."""
    return sorted(house.directories.configured) if name is None else [house.directories.named(name).name]


def owe_now(house: House, names: Sequence[str], *, everything: bool) -> None:
    """Make due what failed; with ``everything``, every entry. A service beside this process begins at once.

    Raises:
        UnknownDirectory: one of the names is not configured.
    """
    directories = [house.directories.named(name) for name in names]
    house.transactions.write(partial(_owe_now, house, directories, everything))


def drain(house: House, name: str, progress: Progress | None = None) -> Drained:
    """Work off what a directory is owed, and wait for what another worker has in hand; call ``owe_now`` before.

    ``progress`` gets the entries done and those there are. Raises UnknownDirectory.
    """
    with closing(house.directories.publisher(name)) as publisher:
        return _drain(house, publisher, progress)


def check(house: House, names: Sequence[str], progress: Progress | None = None) -> Iterator[Difference]:
    """Yield the differences between directories and records. Raises UnknownDirectory."""
    for name in names:
        with closing(house.directories.checker(name)) as checker:
            yield from checker.differences(checker.everybody(), progress)


def preview(house: House, names: Sequence[str], *, everything: bool, progress: Progress | None = None) -> Iterator[Difference]:
    """Yield what the next upload would find different, of the entries that are owed or of all. Raises UnknownDirectory.

    A directory that is new, or configured otherwise than before, is owed all.
    """
    for name in names:
        with house.transactions.reading() as session:
            is_noted = standing.is_noted(session, house.directories.named(name))
        with closing(house.directories.checker(name)) as checker:
            yield from checker.differences(checker.everybody() if everything or not is_noted else checker.owed(), progress)


def reports(house: House, names: Sequence[str] | None = None, *, most: int = 100) -> list[DirectoryReport]:
    """Return how directories stand: those named, or all of which something is recorded, configured or not."""
    with house.transactions.reading() as session:
        found = report(session, house.directories.configured, house.clock.now(), most=most)
    return [each for each in found if names is None or each.backlog.directory in names]


def forget(house: House, name: str, *, dry_run: bool = False) -> int:
    """Delete what is recorded of a directory that has left the settings; return how many values of ours it is left with.

    A dry run deletes nothing.

    Raises:
        StillConfigured: the settings name it.
        UnknownDirectory: nothing is recorded of it.
    """
    if name in house.directories.configured:
        raise StillConfigured(f"the settings name the directory {name!r}: take its section out, and restart the service")
    now = house.clock.now()

    def act(session: Session) -> int:
        left = standing.forget(session, name)
        record(session, Event(house.actor, "directory.forgotten", f"directory:{name}", details={"values": left}), now=now)
        return left

    return house.transactions.write(lambda session: rehearsal.perform(session, act, dry_run=dry_run))


def _owe_now(house: House, directories: Sequence[Directory], everything: bool, session: Session) -> None:  # noqa: FBT001 - for partial
    now = house.clock.now()
    foreign = house.directories.foreign
    standing.take_note(session, directories, now, foreign)
    for directory in directories:
        if everything:
            outbox.owe_everything(session, directory, now, foreign)
        outbox.hasten(session, directory.name, now)


def _drain(house: House, publisher: Publisher, progress: Progress | None) -> Drained:
    name = publisher.directory.name
    done = failed = waiting = 0
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        batch = publisher.run()
        done, failed, waiting = done + batch.done, failed + batch.failed, waiting + batch.waiting
        with house.transactions.reading() as session:
            left = outbox.count_due(session, name, house.clock.now())
        settled = done + failed + waiting
        if progress is not None:
            progress(settled, settled + left)
        if batch.settled:
            deadline = time.monotonic() + _PATIENCE_SECONDS
        elif batch.unavailable or not left or time.monotonic() > deadline:
            return Drained(name, done, failed, waiting, batch.unavailable, 0 if batch.unavailable else left)
        else:
            time.sleep(_LOOK_EVERY_SECONDS)
