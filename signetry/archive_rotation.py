"""Wrapping the archive to its newest key: a process of its own, which holds the archive's private keys while it lasts.

``signetry archive rotate`` starts it and shows how far it is, which it tells on standard output: a JSON document in each line.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session

from audit.log import Actor
from foundation.clock import Clock, SystemClock
from foundation.errors import SignetryError
from foundation.transactions import Transactions
from pkcs_import.archive_keys import retire_archive_keys
from pkcs_import.errors import ArchiveUnavailable
from pkcs_import.opening import Opener
from pkcs_import.rotation import left_to_rewrap, rewrap_batch
from signetry import archive_messages, logging
from signetry.archive_keystore import open_archive_keystores
from signetry.archive_process import keep_memory_to_oneself
from signetry.child import die_with_parent
from signetry.database import open_database
from signetry.settings import Settings, load_settings

# Told how many are done, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation came to: how many keys were wrapped again, of which the seal is broken, which archive keys retired."""

    rewrapped: int
    broken: tuple[int, ...]
    retired: tuple[str, ...]


def rotate(transactions: Transactions, opener: Opener, clock: Clock, actor: Actor, progress: Progress) -> Rotated:
    """Wrap everything to the newest archive key, then retire those before it that nothing is sealed to any more.

    Raises:
        NoArchiveKey: there is none.
        KeyUnavailable: a key that something is sealed to cannot be used; what was wrapped before stays so.
    """
    with transactions.reading() as session:
        total = left_to_rewrap(session)
    rewrapped, broken, last = 0, list[int](), 0
    progress(0, total)
    while (batch := rewrap_batch(transactions, opener, after=last)).last is not None:
        rewrapped, last = rewrapped + batch.rewrapped, batch.last
        broken += batch.broken
        progress(rewrapped + len(broken), total)

    def retire(session: Session) -> list[str]:
        return retire_archive_keys(session, actor=actor, now=clock.now())

    return Rotated(rewrapped, tuple(broken), tuple(transactions.write(retire)))


def run(settings: Settings, actor: Actor, progress: Progress | None) -> Rotated:
    """Have a process of its own do ``rotate``, and tell ``progress`` how far it is. Raises as ``rotate``; ArchiveUnavailable."""
    command = [sys.executable, "-P", "-m", "signetry.archive_rotation", "--actor", actor.name, "--parent", str(os.getpid())]
    environment = {**os.environ, "SIGNETRY_HOME": str(settings.home)}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603 - our own module
        assert process.stdout is not None  # noqa: S101 - a pipe
        for line in process.stdout:
            told = json.loads(line)
            if "rotated" in told:
                found = told["rotated"]
                return Rotated(found["rewrapped"], tuple(found["broken"]), tuple(found["retired"]))
            archive_messages.require_no_refusal(told)
            if progress is not None:
                progress(told["done"], told["total"])
    raise ArchiveUnavailable("the rotation was broken off: signetry archive rotate goes on where it stopped")


def _tell(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run a rotation, for the command at the other end of standard output."""
    parser = argparse.ArgumentParser(prog="signetry.archive_rotation")
    parser.add_argument("--actor", required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    keep_memory_to_oneself()
    # Ctrl-C in a terminal reaches the command, too, and this process ends with that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.configure("warning", "console")
    try:
        settings = load_settings()
        opener = Opener(open_archive_keystores(settings))
        database = open_database(settings)
        try:
            rotated = rotate(
                database,
                opener,
                SystemClock(),
                Actor(arguments.actor),
                lambda done, total: _tell({"done": done, "total": total}),
            )
        finally:
            opener.close()
            database.close()
    except SignetryError as error:
        _tell(archive_messages.refusal(error))
    else:
        _tell({"rotated": {"rewrapped": rotated.rewrapped, "broken": rotated.broken, "retired": rotated.retired}})


if __name__ == "__main__":
    main()
