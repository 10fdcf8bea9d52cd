"""How commands, web processes and worker ask the archive process for what only it can do."""

import os
import socket
import subprocess
import sys
import threading
import weakref
from typing import Final

from audit.log import Actor
from pkcs_import.archive import Delivered, DeliveryOrder, Recovered
from pkcs_import.errors import ArchiveUnavailable
from pkcs_import.packing import Encoding
from pkcs_import.workshop_messages import ChannelBroken, Message, receive, send
from signetry import archive_messages
from signetry.archive_messages import LONGEST_ANSWER, DeliverQuestion, Question, RecoverQuestion
from signetry.archive_socket import connected
from signetry.settings import Settings

# A token that answers slowly, and keys that are many.
_PATIENCE_SECONDS: Final = 120.0
_GRACE_SECONDS: Final = 5.0


class ArchiveClient:
    """The archive process, as those who ask see it. Threads may share it.

    Where it listens beside the service (``archive.online``), it is asked there. Otherwise a command starts one of its own, which
    lives until ``close``; web processes and worker do not.

    Args:
        settings: where the installation is.
        may_start: whether to start a process where none listens, as a command may.
    """

    def __init__(self, settings: Settings, *, may_start: bool) -> None:
        self._settings = settings
        self._may_start = may_start
        self._lock = threading.Lock()
        self._own: _OwnProcess | None = None

    def deliver(self, order: DeliveryOrder, *, actor: Actor) -> Delivered:
        """Have keys packed; the delivery is recorded when this returns.

        Raises:
            DeliveryRefused: the device or the person gets nothing.
            ArchiveUnavailable: the archive process does not answer, or is not online and this process may not start it.
            SealBroken, KeyUnavailable: what is stored cannot be opened.
        """
        return archive_messages.read_delivered(self._ask(DeliverQuestion(order, actor)))

    def recover(
        self,
        request_id: int,
        *,
        token: str,
        encoding: Encoding = Encoding.MODERN,
        separate: bool = False,
        origin: str = "local",
    ) -> Recovered:
        """Have the keys of an approved recovery request exported, once.

        Args:
            request_id: its number.
            token: the API token of who exports, as it was presented: the archive process looks at it itself.
            encoding: how the PKCS #12 is encrypted.
            separate: a PKCS #12 for each key, instead of one for all.
            origin: from where it was presented, for the audit record.

        Raises:
            UnknownRecovery, RecoveryRefused: there is no such request, or it is not approved, too old, or was used.
            NotAuthorised: the token is not good, or may not do this.
            ArchiveUnavailable, SealBroken, KeyUnavailable: as ``deliver``.
        """
        return archive_messages.read_recovered(self._ask(RecoverQuestion(request_id, encoding, separate, token, origin)))

    def is_listening(self) -> bool:
        """Say whether the archive process takes connections beside the service."""
        try:
            connected(self._settings.home).close()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the process that was started, if one was."""
        with self._lock:
            self._end()

    def _ask(self, asked: Question) -> Message:
        if self._settings.archive.online:
            try:
                channel = connected(self._settings.home)
            except OSError:
                if not self._may_start:
                    raise ArchiveUnavailable("the archive process does not answer") from None
            else:
                with channel:
                    return _asked(channel, asked)
        if not self._may_start:
            raise ArchiveUnavailable("the archive is not online (archive.online): this is done by a command on its own machine")
        with self._lock:
            if self._own is None or not self._own.is_running:
                self._end()
                self._own = _OwnProcess(self._settings)
            try:
                return _asked(self._own.channel, asked)
            except BaseException:
                # Whatever ended this early, an interrupt above all, may have left half an answer behind.
                self._end()
                raise

    def _end(self) -> None:
        if self._own is not None:
            self._own.end()
            self._own = None


class _OwnProcess:
    """An archive process of a command's own. It ends when it is told to, when nobody refers to it any more, or with us."""

    def __init__(self, settings: Settings) -> None:
        """Start it. Raises ArchiveUnavailable."""
        self.channel, theirs = socket.socketpair()
        # -P: what is imported comes from the installation, never from the directory that an administrator happens to be in.
        command = [sys.executable, "-P", "-m", "signetry.archive_process", "--channel", str(theirs.fileno())]
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    command,
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "SIGNETRY_HOME": str(settings.home)},
                )
        except OSError as error:
            self.channel.close()
            raise ArchiveUnavailable(f"the archive process cannot be started: {error.strerror}") from None
        self.end = weakref.finalize(self, _end, self._process, self.channel)

    @property
    def is_running(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    # It ends when nobody can ask it any more.
    channel.close()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _asked(channel: socket.socket, asked: Question) -> Message:
    channel.settimeout(_PATIENCE_SECONDS)
    try:
        send(channel, archive_messages.question(asked))
        return receive(channel, LONGEST_ANSWER)
    except (ChannelBroken, TimeoutError):
        raise ArchiveUnavailable("the archive process does not answer") from None
