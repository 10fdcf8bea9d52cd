"""The supervisor: starts child processes, replaces the dead, and takes everything down with it when it is told to stop."""

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import structlog

# A child that lives this long was a success, and its successor starts at once.
_SETTLED_SECONDS = 5.0
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 5.0
# What the children get to finish their requests; then they are killed.
_GRACE_SECONDS = 10.0

_log = structlog.get_logger("signetry.supervisor")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child to keep running.

    Attributes:
        name: in the logs.
        command: without the supervisor's process id, which is appended.
        descriptors: file descriptors it inherits.
    """

    name: str
    command: Sequence[str]
    descriptors: tuple[int, ...] = ()


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float = 0.0
    # When to start it (again); None while it runs.
    due: float | None = field(default=0.0)


class Supervisor:
    """Keeps children running until SIGTERM or SIGINT.

    Args:
        children: what to keep running.
        on_change: told the process id of every living child by name, whenever one was started.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        on_change: Callable[[Mapping[str, int]], None] = lambda _pids: None,
    ) -> None:
        self._children = [_Child(spec) for spec in children]
        self._on_change = on_change
        self._stopping = False

    def run(self) -> None:
        """Run until told to stop; call it from the main thread, which the children's lives are bound to."""
        with self._signals() as wake:
            try:
                while not self._stopping:
                    self._start_due()
                    wake(self._until_next_start())
                    self._bury_dead()
            finally:
                self._stop_all(wake)

    @contextmanager
    def _signals(self) -> Iterator[Callable[[float | None], None]]:
        """Take over the signals; yield a function that waits for the next one, or so many seconds."""

        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        def ignore(_number: int, _frame: FrameType | None) -> None:
            """Only wake up: the wake-up descriptor needs a handler."""

        # SIGHUP: a terminal that closes, or an administrator used to "reload": neither is a reason to stop.
        handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGCHLD: ignore, signal.SIGHUP: ignore}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        receiver, sender = socket.socketpair()
        with receiver, sender, selectors.DefaultSelector() as selector:
            receiver.settimeout(0)
            sender.settimeout(0)
            former = signal.set_wakeup_fd(sender.fileno())
            selector.register(receiver, selectors.EVENT_READ)

            def wake(seconds: float | None) -> None:
                if selector.select(seconds):
                    receiver.recv(4096)

            try:
                yield wake
            finally:
                signal.set_wakeup_fd(former)
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _start_due(self) -> None:
        now = time.monotonic()
        due = [child for child in self._children if child.due is not None and child.due <= now]
        for child in due:
            self._start(child, now)
        if due:
            try:
                self._on_change({child.spec.name: child.process.pid for child in self._children if child.process is not None})
            except OSError as error:
                # A full disk is no reason to stop serving.
                _log.warning("the record of running processes cannot be written", reason=str(error))

    def _start(self, child: _Child, now: float) -> None:
        try:
            # No new session, but a process group: Ctrl-C in a terminal reaches the supervisor alone, which then stops the others.
            child.process = subprocess.Popen(  # noqa: S603 - our own modules
                [*child.spec.command, str(os.getpid())],
                pass_fds=child.spec.descriptors,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            child.delay = _LONGEST_DELAY
            child.due = now + child.delay
            _log.error("child cannot be started", child=child.spec.name, reason=str(error), again_in_seconds=child.delay)
            return
        child.started, child.due = now, None
        _log.info("child started", child=child.spec.name, pid=child.process.pid)

    def _until_next_start(self) -> float | None:
        waiting = [child.due for child in self._children if child.due is not None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _bury_dead(self) -> None:
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            lived = time.monotonic() - child.started
            child.delay = _delay(child.process.returncode, lived, child.delay)
            child.due = time.monotonic() + child.delay
            if not self._stopping:
                _log.error(
                    "child died",
                    child=child.spec.name,
                    pid=child.process.pid,
                    status=child.process.returncode,
                    restart_in_seconds=child.delay,
                )
            child.process = None

    def _stop_all(self, wake: Callable[[float | None], None]) -> None:
        self._stopping = True
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
        while any(child.process for child in self._children) and (left := deadline - time.monotonic()) > 0:
            wake(left)
            self._bury_dead()
        for child in self._children:
            if child.process is not None:
                _log.warning("child did not stop in time and is killed", child=child.spec.name, pid=child.process.pid)
                child.process.kill()
                child.process.wait()
        _log.info("stopped")


def _delay(status: int, lived: float, former: float) -> float:
    """Return how many seconds to wait before a child is started again.

    One that ended by itself soon after its start will do so again, and is given time; one that was killed is needed back.
    """
    if lived >= _SETTLED_SECONDS:
        return 0.0
    return _FIRST_DELAY if status < 0 else min(max(former * 2, _FIRST_DELAY), _LONGEST_DELAY)
