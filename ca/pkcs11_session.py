"""A session with a PKCS #11 token: opened when it is first needed, by the process that needs it, and again when it is lost.

Sessions of hardware come to an end: idle connections are cut, devices are reset, a cluster fails over (facts/ca.md section 2).
So what fails is tried again in a new session, and then once more after the library itself was started again (C_Finalize), which
is what some need. Only then is the token unavailable.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pkcs11
import structlog
from pkcs11 import TokenFlag

from ca.errors import KeyMissing, KeyUnavailable, TokenUnavailable
from ca.pkcs11_errors import describe, is_refusal
from ca.pkcs11_pin import PinFile

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib as Library  # noqa: N812 - a class in spite of its name

# How long a thread waits for those before it; PKCS #11 knows no time limits.
_PATIENCE_SECONDS = 30.0
# After a failure nobody tries again for so long: opening can take seconds, and requests would queue behind each other's attempts.
_REST_SECONDS = 1.0

_log = structlog.get_logger("ca.pkcs11")
_T = TypeVar("_T")


class _Cryptoki:
    """What PKCS #11 has once in a process: libraries are started once, and used by one thread at a time.

    python-pkcs11 0.10 starts them without CKF_OS_LOCKING_OK, which promises them just that: of SoftHSM, four threads in a session
    each made a segmentation fault (docs/decisions/0015).
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._started: set[str] = set()
        self._inherited: set[str] = set()
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.lock = threading.Lock()
        self._inherited, self._started = self._started, set()

    def library(self, module: str) -> "Library":
        """Return a library, started."""
        # Noted before: what began to start may have to be ended.
        self._started.add(module)
        library = pkcs11.lib(module)
        if module in self._inherited:
            # The parent's, as it was when this process was forked: using it is undefined (PKCS #11 v2.40 section 2.6.1).
            self._inherited.discard(module)
            self.restart(library)
        return library

    def restart(self, library: "Library") -> None:
        """End a library, whatever state it is in, and start it anew."""
        with suppress(pkcs11.PKCS11Error):
            library.finalize()
        library.initialize()

    def end(self, module: str) -> None:
        """End a library, if this process has started it."""
        if module in self._started:
            self._started.discard(module)
            with suppress(pkcs11.PKCS11Error):
                pkcs11.lib(module).finalize()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the library to oneself while the block runs."""
        lock = self.lock
        if not lock.acquire(timeout=_PATIENCE_SECONDS):
            raise TokenUnavailable(f"it has not answered for {_PATIENCE_SECONDS:.0f} seconds")
        try:
            yield
        finally:
            lock.release()


_CRYPTOKI = _Cryptoki()


@dataclass(frozen=True, slots=True)
class TokenLocation:
    """Where a token is: the vendor's library, the token's label, and the PIN of its user."""

    module: Path
    label: str
    pin: PinFile = field(repr=False)


class Token:
    """A token, as the threads of a process share it."""

    def __init__(self, location: TokenLocation) -> None:
        self._location = location
        self._session: pkcs11.Session | None = None
        self._process = 0
        self._rests_until = 0.0
        self._trouble = ""
        self._answered_at = float("-inf")

    def run(self, operation: Callable[[pkcs11.Session], _T]) -> _T:
        """Return what ``operation`` makes of a session, tried again in a new one where the session or the token was lost.

        It may therefore run up to three times. Whatever it keeps of a session is good while the session is the same object.

        Raises:
            TokenUnavailable: the token cannot be used.
            KeyMissing: ``operation`` said NoSuchKey, in a new session, too.
            KeyUnavailable: the token refuses what ``operation`` asks of it.
        """
        with _CRYPTOKI.held():
            if time.monotonic() < self._rests_until:
                raise TokenUnavailable(self._trouble)
            try:
                return self._run(operation)
            except TokenUnavailable as error:
                self._trouble, self._rests_until = error.detail, time.monotonic() + _REST_SECONDS
                raise

    def _run(self, operation: Callable[[pkcs11.Session], _T]) -> _T:
        failure = ""
        for recover in (self._opened, self._reopened, self._restarted):
            is_new = self._session is None or recover != self._opened
            try:
                answer = operation(recover())
            except pkcs11.NoSuchKey as error:
                # A token that is gone may also seem empty (SoftHSM 2.6): only a new session is believed.
                if is_new:
                    raise KeyMissing(str(error)) from None
                failure = str(error)
            except pkcs11.PKCS11Error as error:
                failure = describe(error)
                if is_refusal(error):
                    raise KeyUnavailable(f"the token refuses what is asked of it: {failure}") from None
            else:
                if failure:
                    _log.info("the token answers again", after=failure)
                self._answered_at = time.monotonic()
                return answer
        self._drop()
        _log.info("the token cannot be used", reason=failure)
        raise TokenUnavailable(failure)

    def has_answered_within(self, seconds: float) -> bool:
        """Say whether the token did something for us so recently."""
        return time.monotonic() - self._answered_at < seconds

    def close(self) -> None:
        """End the session and the library; the next use starts them again."""
        with suppress(TokenUnavailable), _CRYPTOKI.held():
            if self._process == os.getpid():
                self._drop()
            _CRYPTOKI.end(str(self._location.module))

    def _opened(self) -> pkcs11.Session:
        if self._process != os.getpid():
            self._session, self._process = None, os.getpid()
        if self._session is None:
            self._session = self._connect()
        return self._session

    def _reopened(self) -> pkcs11.Session:
        self._drop()
        return self._opened()

    def _restarted(self) -> pkcs11.Session:
        self._drop()
        _CRYPTOKI.restart(_CRYPTOKI.library(str(self._location.module)))
        return self._opened()

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(pkcs11.PKCS11Error):
                session.close()

    def _connect(self) -> pkcs11.Session:
        token = self._find(_CRYPTOKI.library(str(self._location.module)))
        is_writable = not token.flags & TokenFlag.WRITE_PROTECTED
        with self._location.pin.offered_to(token) as pin:
            try:
                return token.open(rw=is_writable, user_pin=pin)
            except pkcs11.UserAlreadyLoggedIn:
                # Who is logged in in one session is so in all sessions of the process.
                return token.open(rw=is_writable)

    def _find(self, library: "Library") -> pkcs11.Token:
        tokens = []
        for slot in library.get_slots(token_present=True):
            # Another slot's trouble is not ours.
            with suppress(pkcs11.PKCS11Error):
                tokens.append(slot.get_token())
        found = [token for token in tokens if token.label == self._location.label]
        if len(found) > 1:
            raise TokenUnavailable(f"there are {len(found)} tokens called {self._location.label!r}")
        if not found:
            names = ", ".join(sorted(repr(token.label) for token in tokens if token.label)) or "none"
            raise pkcs11.NoSuchToken(f"there is no token called {self._location.label!r}; there are: {names}")
        return found[0]
