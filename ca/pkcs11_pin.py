"""The PIN of a token: read from a file when it is needed, and not offered again once the token has refused it.

Three wrong PINs lock many a token, and a service has several processes that are started again when they fail. So the first
refusal is noted where all of them look before they try.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pkcs11
from pkcs11 import TokenFlag

from ca.errors import PinRefused, TokenUnavailable, UnsafeSecretFile
from ca.keys import read_secret_file
from ca.pkcs11_errors import describe

_WRONG = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange)
_UNUSABLE = (pkcs11.PinLocked, pkcs11.PinExpired, pkcs11.UserPinNotInitialized)


@dataclass(frozen=True, slots=True)
class PinFile:
    """A PIN, by the file that holds it.

    Attributes:
        path: readable by its owner only.
        refused: the file in which a refusal is noted, by the PIN file's identity and date, never by what is in it.
    """

    path: Path
    refused: Path

    @contextmanager
    def offered_to(self, token: pkcs11.Token) -> Iterator[str]:
        """Yield the PIN for one attempt; other processes wait until it is over.

        Raises:
            PinRefused: the token refuses it, has refused it before, or would lock if it were wrong.
            TokenUnavailable: the file cannot be used.
        """
        with self._noted() as descriptor:
            pin, identity = self._read(token)
            if os.pread(descriptor, 1024, 0) == identity:
                raise PinRefused(
                    f"the token refused the PIN in {self.path}, and may lock when it is tried again: write the right one, "
                    "or touch the file if the token has changed"
                )
            _require_attempts(token)
            try:
                yield pin
            except _WRONG as error:
                _write(descriptor, identity)
                raise PinRefused(f"the token refuses the PIN in {self.path} ({describe(error)})") from None
            except _UNUSABLE as error:
                raise PinRefused(f"the token does not let its user in ({describe(error)})") from None
            _write(descriptor, b"")

    @contextmanager
    def _noted(self) -> Iterator[int]:
        try:
            self.refused.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.refused, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TokenUnavailable(f"{self.refused} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, token: pkcs11.Token) -> tuple[str, bytes]:
        try:
            pin = read_secret_file(self.path).decode()
            status = self.path.stat()
        except UnsafeSecretFile as error:
            raise TokenUnavailable(str(error)) from None
        except OSError as error:
            raise TokenUnavailable(f"the PIN file {self.path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise TokenUnavailable(f"the PIN file {self.path} is not text") from None
        if not pin or "\0" in pin or "\n" in pin:
            raise TokenUnavailable(f"the PIN file {self.path} must hold one line")
        serial = token.serial.hex()
        return pin, f"{serial} {status.st_dev}:{status.st_ino} {status.st_mtime_ns} {status.st_size}\n".encode()


def _require_attempts(token: pkcs11.Token) -> None:
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise PinRefused("the token has locked its user's PIN: its security officer can set a new one")
    if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise PinRefused("the token has one attempt left before it locks: log in once with its own tool, then start again")


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)
