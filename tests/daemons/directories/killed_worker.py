"""A worker that is killed at a chosen LDAP operation: its process ends by SIGKILL, as a kill -9 would have it."""

import itertools
import multiprocessing
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

from ldap_publish import client
from tests.clocks import ManualClock
from tests.signetry.installation import opened

_OPERATIONS = ("start_tls", "bind", "search", "modify", "add")
_SECONDS = 60
_CONNECTION = vars(client)["ldap3"].Connection
# A server of processes that has imported everything: a worker begins within milliseconds.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def work_until_killed(home: Path, now: datetime, operation: int, *, after: bool) -> bool:
    """Work in a process of its own that dies at its LDAP operation number ``operation``; return whether it got there.

    It dies before the operation is sent, or ``after`` its answer has come. Its clock stands at ``now``.
    """
    process = _PROCESSES.Process(target=_work, args=(str(home), now.timestamp(), operation, after))
    process.start()
    process.join(_SECONDS)
    if process.exitcode not in {0, -signal.SIGKILL}:
        process.kill()
        raise AssertionError(f"the worker ended with {process.exitcode}")
    return process.exitcode != 0


def _work(home: str, timestamp: float, operation: int, after: bool) -> None:  # noqa: FBT001 - passed on by multiprocessing
    os.environ["SIGNETRY_HOME"] = home
    die_at(operation, after=after)
    with opened(ManualClock(datetime.fromtimestamp(timestamp, UTC))) as house:
        for name in house.directories.configured:
            publisher = house.directories.publisher(name)
            while publisher.run().settled:
                pass
            publisher.close()


def die_at(number: int, *, after: bool) -> None:
    """Have this process kill itself at its LDAP operation of this number, the first being 1, in whatever thread that is."""
    counter = itertools.count(1)

    def wrapped(name: str) -> None:
        method = getattr(_CONNECTION, name)

        def counted(self: object, *arguments: object, **options: object) -> object:
            is_last = next(counter) == number
            if is_last and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(self, *arguments, **options)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(_CONNECTION, name, counted)

    for name in _OPERATIONS:
        wrapped(name)
