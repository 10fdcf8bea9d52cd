"""The connection to a directory, over ldap3: the only place where that library is known.

Sources: RFC 4511 (operations and result codes), RFC 4513 section 3.1.3 (the server's identity is checked), RFC 4528 (assertion).
"""

import re
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from foundation import tlv
from foundation.errors import SignetryError
from ldap_publish.directory import Assertion, Change, ChangeKind, Entry, Security, Server
from ldap_publish.errors import (
    DirectoryUnavailable,
    EntryChanged,
    EntryExists,
    EntryMissing,
    EntryRefused,
    ValueNotThere,
    ValueThereAlready,
)

with warnings.catch_warnings():
    # ldap3 2.9.1 takes pyasn1's encoder tables by the names they had before pyasn1 0.6.
    warnings.filterwarnings("ignore", r"(tag|type)Map is deprecated", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPException

Result = TypeVar("Result")

_SUCCESS = 0
_TIME_LIMIT_EXCEEDED = 3
_SIZE_LIMIT_EXCEEDED = 4
_NO_SUCH_ATTRIBUTE = 16
_ATTRIBUTE_OR_VALUE_EXISTS = 20
_NO_SUCH_OBJECT = 32
_ENTRY_ALREADY_EXISTS = 68
_ASSERTION_FAILED = 122
# They say something of the server or of who we are to it, not of the entry: operationsError (AD before a log-on),
# authMethodNotSupported, strongerAuthRequired, referral (a replica that takes no writes), confidentialityRequired,
# inappropriateAuthentication, invalidCredentials, busy, unavailable.
_OF_THE_DIRECTORY = frozenset({1, _TIME_LIMIT_EXCEEDED, 7, 8, 10, 13, 48, 49, 51, 52})
_OF_ITS_OWN_KIND: Mapping[int, type[EntryRefused]] = {
    _NO_SUCH_ATTRIBUTE: ValueNotThere,
    _ATTRIBUTE_OR_VALUE_EXISTS: ValueThereAlready,
    _NO_SUCH_OBJECT: EntryMissing,
    _ENTRY_ALREADY_EXISTS: EntryExists,
}
_ASSERTION_CONTROL = "1.3.6.1.1.12"
_EQUALITY_MATCH = 0xA3
# More than one is one too many; the second shows it.
_ENOUGH_MATCHES = 2
_CHANGES = {
    ChangeKind.ADD: ldap3.MODIFY_ADD,
    ChangeKind.DELETE: ldap3.MODIFY_DELETE,
    ChangeKind.REPLACE: ldap3.MODIFY_REPLACE,
}
# What ldap3 reads at a time. It joins the parts one by one, so that a CRL in its 4096 bytes is copied thousands of times.
_READ_SIZE = 1 << 18
# An answer, whole: an entry with a CRL of many megabytes may take its time.
_LONGEST_ANSWER_SECONDS = 60
_LIBRARY_SOURCE = re.compile(r" \(_ssl\.c:\d+\)")


class _BoundedSocket:
    """A socket that gives up on an answer that is not whole in time; its own timeout begins anew with every byte."""

    def __init__(self, plain: socket.socket, timeout: float) -> None:
        self.plain = plain
        self._timeout = timeout
        self.allow(timeout)

    def allow(self, seconds: float) -> None:
        """Give the answer to what is sent next so long."""
        self._deadline = time.monotonic() + seconds
        self.plain.settimeout(self._timeout)

    def recv(self, size: int) -> bytes:
        """Receive what is there."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.plain.settimeout(min(self._timeout, left))
        return self.plain.recv(size)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the socket has
        return getattr(self.plain, name)


class _VerifyingTls(ldap3.Tls):  # type: ignore[misc] # ldap3 has no types
    """TLS whose peer is checked by OpenSSL while it shakes hands.

    ldap3's own check comes after that, and by a function that knows no IP addresses (a copy of Python 3.4's), or that Python has
    deprecated.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:  # noqa: ANN401, ARG002, FBT001, FBT002 - ldap3's shape
        """Put TLS on the connection's socket, which has its timeout already."""
        plain = getattr(connection.socket, "plain", connection.socket)
        plain.settimeout(connection.receive_timeout)
        connection.socket = self._context.wrap_socket(plain, server_hostname=connection.server.host)


class LdapClient:
    """A ``DirectoryClient`` that connects at its first operation, and again when the connection was lost.

    A connection that served before and is found lost is made again once, and the operation repeated: servers hang up on who is
    idle. Whoever calls must bear that a change was made already (ValueThereAlready and the like). One thread at a time.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Any = None
        self._proven = False
        self._lock = threading.Lock()

    def find(self, base: str, search_filter: str, attributes: Sequence[str]) -> list[Entry]:
        """Return the entries below ``base`` that the filter matches; with two of them, perhaps not all."""
        try:
            return self._search(base, search_filter, ldap3.SUBTREE, attributes, _ENOUGH_MATCHES)
        except EntryMissing as error:
            raise DirectoryUnavailable(f"{self._server}: the search base {base!r} does not exist") from error

    def read(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        """Return one entry."""
        try:
            found = self._search(dn, "(objectClass=*)", ldap3.BASE, attributes, 1)
        except EntryMissing:
            return None
        return found[0] if found else None

    def add(self, dn: str, classes: Sequence[str], attributes: Mapping[str, Sequence[bytes]]) -> None:
        """Add an entry."""
        self._ask(
            dn, lambda connection: connection.add(dn, list(classes), {name: list(each) for name, each in attributes.items()})
        )

    def modify(self, dn: str, changes: Sequence[Change], assertion: Assertion | None = None) -> None:
        """Make all the changes of an entry, or none of them."""
        by_attribute: dict[str, list[tuple[str, list[bytes]]]] = {}
        for change in changes:
            by_attribute.setdefault(change.attribute, []).append((_CHANGES[change.kind], list(change.values)))
        controls = None if assertion is None else [(_ASSERTION_CONTROL, True, _equality(assertion))]
        self._ask(dn, lambda connection: connection.modify(dn, by_attribute, controls=controls))

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            self._drop()

    def _search(self, base: str, search_filter: str, scope: str, attributes: Sequence[str], limit: int) -> list[Entry]:
        def search(connection: Any) -> None:  # noqa: ANN401 - ldap3 has no types
            connection.search(
                base,
                search_filter,
                scope,
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=list(attributes) or [ldap3.NO_ATTRIBUTES],
                size_limit=limit,
                time_limit=self._server.timeout_seconds,
            )

        response = self._ask(base, search, acceptable=(_SUCCESS, _SIZE_LIMIT_EXCEEDED))
        return [_entry(item) for item in response or () if item["type"] == "searchResEntry"]

    def _ask(self, dn: str, operation: Callable[[Any], object], acceptable: Sequence[int] = (_SUCCESS,)) -> Any:  # noqa: ANN401 - see above
        """Run one operation and return ldap3's response to it."""
        with self._lock:
            try:
                try:
                    result, response = self._run(operation)
                except (LDAPException, OSError):
                    if not self._proven:
                        raise
                    self._drop()
                    result, response = self._run(operation)
            except (LDAPException, OSError) as error:
                reason = _reason(error, self._connection)
                self._drop()
                raise DirectoryUnavailable(f"{self._server}: {reason}") from error
            code = result["result"]
            if code in acceptable:
                self._proven = True
                return response
            if code in _OF_THE_DIRECTORY:
                self._drop()
                raise DirectoryUnavailable(_said_by(self._server, result))
            self._proven = True
        if code == _ASSERTION_FAILED:
            raise EntryChanged(f"{dn} was changed by somebody else just now")
        raise _OF_ITS_OWN_KIND.get(code, EntryRefused)(code, result["description"], _diagnostic(result), dn)

    def _run(self, operation: Callable[[Any], object]) -> tuple[Any, Any]:
        if self._connection is None:
            self._connect()
        self._connection.socket.allow(_LONGEST_ANSWER_SECONDS)
        operation(self._connection)
        return self._connection.result, self._connection.response

    def _connect(self) -> None:
        """Connect, secure the connection and log on. Raises DirectoryUnavailable, LDAPException, OSError."""
        self._connection = connection = self._new_connection()
        connection.open(read_server_info=False)
        self._bound(connection)
        if self._server.security is Security.START_TLS:
            connection.start_tls(read_server_info=False)
            self._bound(connection)
        if not connection.bind(read_server_info=False):
            result = connection.result
            self._drop()
            raise DirectoryUnavailable(f"{_said_by(self._server, result)}, to a log-on as {self._server.bind_dn}")

    def _bound(self, connection: Any) -> None:  # noqa: ANN401 - see above
        """Bound the time of the answers on a connection's socket."""
        connection.socket = _BoundedSocket(connection.socket, self._server.timeout_seconds)

    def _new_connection(self) -> Any:  # noqa: ANN401 - see above
        # Each connection has a server object of its own: ldap3 remembers in it which addresses did not answer.
        server = ldap3.Server(
            self._server.host,
            self._server.port,
            use_ssl=self._server.security is Security.LDAPS,
            get_info=ldap3.NONE,
            tls=None if self._server.security is Security.NONE else _VerifyingTls(self._context()),
            connect_timeout=self._server.timeout_seconds,
        )
        try:
            password = self._server.password()
        except SignetryError as error:
            raise DirectoryUnavailable(f"{self._server}: {error}") from error
        connection = ldap3.Connection(
            server,
            self._server.bind_dn,
            password,
            receive_timeout=self._server.timeout_seconds,
            auto_referrals=False,
            auto_escape=False,
            # Names come from the server or from a template that has escaped them; ldap3 would parse and rewrite them.
            check_names=False,
            return_empty_attributes=False,
        )
        connection.strategy.socket_size = _READ_SIZE
        return connection

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._server.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # On by default from Python 3.13, it refuses certificates without an authority key identifier (RFC 5280 section 4.2.1.1);
        # directories often have theirs from something home-made.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._proven = False
        if connection is not None:
            _hang_up(connection)


def _hang_up(connection: Any) -> None:  # noqa: ANN401 - see above
    """Close the socket at once; an unbind request would be one more thing to wait for."""
    sock = connection.socket
    if sock is not None:
        sock.close()


def _entry(item: Mapping[str, Any]) -> Entry:
    return Entry(item["dn"], {name.lower(): tuple(values) for name, values in item["raw_attributes"].items()})


def _equality(assertion: Assertion) -> bytes:
    """Encode the assertion's filter (RFC 4511 section 4.5.1.7)."""
    return tlv.tlv(_EQUALITY_MATCH, tlv.octet_string(assertion.attribute.encode()) + tlv.octet_string(assertion.value))


def _diagnostic(result: Mapping[str, Any]) -> str:
    return " ".join(str(result["message"] or "").replace("\x00", "").split())


def _said_by(server: Server, result: Mapping[str, Any]) -> str:
    diagnostic = _diagnostic(result)
    return f"{server} answers {result['description']}, code {result['result']}" + (f" ({diagnostic})" if diagnostic else "")


def _reason(error: Exception, connection: Any) -> str:  # noqa: ANN401 - see above
    """Return what went wrong, in one line: ldap3 keeps it with the connection and dresses its exceptions in it."""
    said = str(getattr(connection, "last_error", "") or error)
    if said == "invalid server address":
        return "its host name cannot be resolved"
    return " ".join(_LIBRARY_SOURCE.sub("", said).split()) or type(error).__name__
