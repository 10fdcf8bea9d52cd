"""The archive process: the only one that holds the archive's private keys. It does two things, ``deliver`` and ``recover``.

It either listens beside the service on ``run/archive.sock``, started by the supervisor (``archive.online``), or serves the one
command that has started it, over a socket it inherits. It trusts neither: whoever asks, everything is checked here, against the
database. docs/archive.md says what that is worth.
"""

import argparse
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import structlog

from ca.errors import TokenUnavailable
from foundation.clock import Clock, SystemClock
from foundation.errors import SignetryError, Unavailable
from foundation.transactions import Transactions
from pkcs_import import unsealing
from pkcs_import.archive import Delivered, Recovered
from pkcs_import.delivery import Method
from pkcs_import.opening import Opener
from pkcs_import.recovery import Duty
from pkcs_import.unsealing import DeliveryRules, RecoveryExport
from pkcs_import.workshop_messages import ChannelBroken, Message, receive, send
from signetry import archive_messages, logging
from signetry.access import dual_control
from signetry.archive_keystore import open_archive_keystores
from signetry.archive_messages import LONGEST_QUESTION, DeliverQuestion, RecoverQuestion
from signetry.archive_socket import listening, require_same_user
from signetry.child import die_with_parent
from signetry.database import open_database
from signetry.intune_connector import connector_key
from signetry.logging import log_reference
from signetry.settings import Settings, load_settings

_PR_SET_DUMPABLE: Final = 4
# Who asks sends at once; who is answered reads at once.
_PATIENCE_SECONDS: Final = 10.0
# After so long nothing more is heard from a connection: a byte now and then holds nobody else up for ever.
_ASKING_SECONDS: Final = 30.0
_THREADS: Final = 4
# Those that wait for a thread included; more wait in the kernel's queue.
_CONVERSATIONS: Final = 16

_log = structlog.get_logger("signetry.archive")


class Archive:
    """Answers questions. Shared by threads.

    Args:
        settings: what the installation has decided.
        transactions: the store.
        clock: tells the time.
        opener: has the archive's private keys.
    """

    def __init__(self, settings: Settings, transactions: Transactions, clock: Clock, opener: Opener) -> None:
        self._settings = settings
        self._transactions = transactions
        self._clock = clock
        self._opener = opener

    def answer(self, message: Message) -> Message:
        """Return the answer to a message; what is refused, or fails, is answered, too."""
        try:
            return archive_messages.answer(self._found(archive_messages.read_question(message)))
        except SignetryError as error:
            detail = error.detail if isinstance(error, TokenUnavailable) else str(error)
            _log.info("refused", kind=type(error).__name__, reason=detail)
            return archive_messages.refusal(error)
        except Exception as error:  # noqa: BLE001 - who asked is told that it failed; why stands in the log alone
            reference = log_reference(error, "the archive process failed")
            return archive_messages.refusal(Unavailable(f"the archive process failed (log reference {reference})"))

    def _found(self, asked: archive_messages.Question) -> Delivered | Recovered:
        return self._deliver(asked) if isinstance(asked, DeliverQuestion) else self._recover(asked)

    def _deliver(self, asked: DeliverQuestion) -> Delivered:
        connector = connector_key(self._settings.intune) if asked.order.method == Method.INTUNE else None
        rules = DeliveryRules(self._settings.archive.delivery_methods, None if connector is None else connector.encrypt)
        now = self._clock.now()
        return unsealing.deliver(self._transactions, self._opener, asked.order, rules, actor=asked.actor, now=now)

    def _recover(self, asked: RecoverQuestion) -> Recovered:
        now = self._clock.now()
        with self._transactions.reading() as session:
            by = dual_control.participant(session, asked.token, Duty.ASKING, origin=asked.origin, now=now)
        export = RecoveryExport(asked.request_id, asked.encoding, asked.separate, by)
        return unsealing.recover(self._transactions, self._opener, export, dual_control.in_office, now=now)


def converse(archive: Archive, channel: socket.socket) -> None:
    """Answer what comes over a channel until the other side asks no more, breaks the form, or falls silent."""
    with channel:
        try:
            while True:
                send(channel, archive.answer(receive(channel, LONGEST_QUESTION)))
        except (ChannelBroken, TimeoutError):
            return


def listen(archive: Archive, listener: socket.socket) -> None:
    """Take connections until an exception, as SIGTERM raises one; what is under way then is finished."""
    places = threading.BoundedSemaphore(_CONVERSATIONS)

    def serve(channel: socket.socket) -> None:
        hearing = threading.Timer(_ASKING_SECONDS, _hear_no_more, [channel])
        hearing.daemon = True
        hearing.start()
        try:
            require_same_user(channel)
            converse(archive, channel)
        except PermissionError as error:
            _log.warning("a stranger was turned away", reason=str(error))
            channel.close()
        finally:
            hearing.cancel()
            places.release()

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="archive") as executor:
        while True:
            places.acquire()
            channel, _ = listener.accept()
            channel.settimeout(_PATIENCE_SECONDS)
            executor.submit(serve, channel)


def _hear_no_more(channel: socket.socket) -> None:
    # Whoever is being answered gets the answer; it may be closed already.
    with suppress(OSError):
        channel.shutdown(socket.SHUT_RD)


def keep_memory_to_oneself() -> None:
    """Let nobody but root look into this process, not even our own user's other processes, and leave no core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


@contextmanager
def _opened(settings: Settings) -> Iterator[Archive]:
    """Yield the archive. Raises ConfigurationError, KeyUnavailable: its keys cannot be reached."""
    opener = Opener(open_archive_keystores(settings))
    database = open_database(settings)
    try:
        yield Archive(settings, database, SystemClock(), opener)
    finally:
        opener.close()
        database.close()


def _serve_command(settings: Settings, channel: socket.socket) -> None:
    with channel, suppress(ChannelBroken):
        while True:
            message = receive(channel, LONGEST_QUESTION)
            try:
                with _opened(settings) as archive:
                    send(channel, archive.answer(message))
                    converse(archive, channel)
                    return
            except SignetryError as error:
                # It could not be opened; when it is asked again, perhaps it can.
                send(channel, archive_messages.refusal(error))


def _serve_beside(settings: Settings) -> None:
    try:
        with _opened(settings) as archive, listening(settings.home) as listener:
            _log.info("archive ready", pid=os.getpid())
            listen(archive, listener)
    except SignetryError as error:
        _log.error("the archive cannot be opened", reason=str(error))
        sys.exit(1)


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    """Run the archive process."""
    parser = argparse.ArgumentParser(prog="signetry.archive_process")
    # The command at its other end is served, and nobody else; it may ask from a thread, whose end is not the command's.
    parser.add_argument("--channel", type=int)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    if arguments.parent is not None:
        die_with_parent(arguments.parent)
    keep_memory_to_oneself()
    settings = load_settings()
    if arguments.channel is None:
        logging.configure(settings.log_level, settings.log_format)
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        _serve_beside(settings)
    else:
        # A command tells by itself what it was refused; and Ctrl-C, which reaches this process, too, is for the command.
        logging.configure("warning", "console")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _serve_command(settings, socket.socket(fileno=arguments.channel))


if __name__ == "__main__":
    main()
