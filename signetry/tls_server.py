"""The TLS context of the device and administrative listeners, which follows its files without a restart.

A changed pair is judged whole before it is used: certificate and key belong together, and the certificate is valid now. While it
is not, the one before stays in use. Connections that are open keep what they were opened with.
"""

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from foundation.clock import Clock
from signetry.errors import ConfigurationError
from signetry.tls import TlsFiles, TlsPair, read_pair

_log = structlog.get_logger("signetry.tls")

# How often a web process looks at the files.
LOOK_EVERY_SECONDS = 1.0
# For TLS 1.2: forward secrecy and authenticated encryption; Debian's Python would also take CBC and SHA-1. The suites of TLS 1.3
# are all of that kind.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_State = tuple[tuple[int, ...] | None, ...]


class ServerTls:
    """What the listeners of one web process serve TLS with.

    Raises:
        ConfigurationError: the pair cannot be used at the start.
    """

    def __init__(self, files: TlsFiles, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self._seen = _state(files)
        self._refused: _State | None = None
        self._is_reported = False
        self._lock = threading.Lock()
        self._current = _context(read_pair(files, clock))
        self.context = _context(read_pair(files, clock))
        # Called in every handshake, whether or not the client names a server. A certificate that is loaded into a context beside
        # one with another kind of key does not take its place; another context does.
        self.context.sni_callback = self._choose

    def look(self) -> None:
        """Take the files up where they have changed; a pair that cannot be used is logged once."""
        with self._lock:
            state = _state(self._files)
            if state == self._seen:
                return
            try:
                pair = read_pair(self._files, self._clock)
                self._current = _context(pair)
            except ConfigurationError as error:
                self._report(state, error)
                return
            self._seen, self._refused, self._is_reported = state, None, False
            _log.info("tls certificate taken up", subject=pair.subject, valid_until=pair.not_after.isoformat())

    def _report(self, state: _State, error: ConfigurationError) -> None:
        # Two files are not replaced at one moment: what is refused must be found so twice before it is worth a line.
        if state != self._refused:
            self._refused, self._is_reported = state, False
        elif not self._is_reported:
            self._is_reported = True
            _log.error("tls certificate not usable, the former one stays in use", reason=str(error))

    def _choose(self, connection: ssl.SSLObject, _server_name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current


def _context(pair: TlsPair) -> ssl.SSLContext:
    """Return a context that asks nobody for a certificate: macOS and Windows renewals break when a server does.

    See facts/scep.md section 3.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # What was judged is what is loaded, whatever becomes of the files meanwhile.
    with _in_memory(pair.certificates) as certificates, _in_memory(pair.key) as key:
        context.load_cert_chain(certificates, key)
    return context


@contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    """Give ``content`` a path, as the library reads files only."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{descriptor}")


def _state(files: TlsFiles) -> _State:
    """Return what changes with the files; links are followed, as programs that renew certificates exchange those."""
    return tuple(_state_of(path) for path in (files.certificate, files.key))


def _state_of(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
