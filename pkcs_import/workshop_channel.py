"""One process of a workshop, seen from the one that started it: started, asked, and given up when it does not answer."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import weakref

from pkcs_import import errors
from pkcs_import.errors import BadContainer, ContainerTooBig, ContainerTooSlow, NotPkcs12, WorkshopUnavailable
from pkcs_import.workshop_messages import IDLE_SECONDS, ChannelBroken, Message, receive, send

# It is given up before it would leave by itself.
_RESTED_AT_MOST = IDLE_SECONDS / 2
# It ends itself when its time is up; this is for one that cannot.
_GRACE = 5.0
_REFUSALS = {each.__name__: each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BadContainer)}


class Bench:
    """A process of a workshop. For one thread at a time."""

    def __init__(self, seconds: float) -> None:
        """Start the process, which has ``seconds`` for each request. Raises WorkshopUnavailable: it does not start."""
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(seconds + _GRACE)
        self._seconds = seconds
        self._told: Message | None = None
        self._broken = False
        self._used = time.monotonic()
        # -P: what is imported comes from the installation, never from the directory that an administrator happens to be in.
        command = [sys.executable, "-P", "-m", "pkcs_import.workshop_process", str(theirs.fileno()), str(seconds)]
        # Settings and whatever else is secret in the environment is none of its business.
        environment = {name: os.environ[name] for name in ("LANG", "SSL_CERT_FILE", "TZ") if name in os.environ}
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
                )
            except OSError as error:
                self._channel.close()
                raise WorkshopUnavailable("the process that opens files cannot be started") from error
        self._end = weakref.finalize(self, _end, self._channel, self._process)

    @property
    def process_id(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        """Whether it can be asked for something new."""
        rested = time.monotonic() - self._used
        return not self._broken and rested < _RESTED_AT_MOST and self._process.poll() is None

    def tell_once(self, message: Message) -> None:
        """Tell it something, unless it was the last thing that it was told in this way."""
        if message != self._told:
            self.tell(message)
            self._told = message

    def tell(self, message: Message) -> None:
        """Tell it something that has no answer; one that is lost is found out about at the next question."""
        if self._broken:
            return
        # Whatever ends this early, an interrupt above all, leaves half a message behind.
        self._broken = True
        with contextlib.suppress(ChannelBroken, TimeoutError):
            send(self._channel, message)
            self._broken = False

    def ask(self, message: Message) -> Message:
        """Return its answer.

        Raises:
            BadContainer: it refuses the file, or the file was too much for it.
        """
        answer = self._exchanged(message)
        if "refused" in answer:
            raise _REFUSALS.get(answer["refused"], NotPkcs12)(answer["why"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._broken = True
        self._end()

    def _exchanged(self, message: Message) -> Message:
        if self._broken:
            raise WorkshopUnavailable("the process that opens files is gone; try again")
        self._broken = True
        try:
            send(self._channel, message)
            answer = receive(self._channel)
        except TimeoutError:
            raise self._too_slow() from None
        except ChannelBroken:
            raise self._lost() from None
        self._broken = False
        self._used = time.monotonic()
        return answer

    def _lost(self) -> BadContainer:
        self._channel.close()
        try:
            status = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return self._too_slow()
        if status == -signal.SIGALRM:
            return self._too_slow()
        if status == -signal.SIGKILL:
            return ContainerTooBig("the process that opened it was killed, as it is when memory runs out")
        return NotPkcs12("the process that opened it broke down over it")

    def _too_slow(self) -> ContainerTooSlow:
        return ContainerTooSlow(f"it takes longer than the {self._seconds:g} seconds that a file is given")


def _end(channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
    channel.close()
    # One that waits leaves by itself; one at work has nobody to answer any more.
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
