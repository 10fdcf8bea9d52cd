"""The connection, against a real slapd and against servers that say nothing."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ldap_publish.client import LdapClient
from ldap_publish.directory import Assertion, Change, ChangeKind, Security, Server
from ldap_publish.errors import (
    DirectoryUnavailable,
    EntryChanged,
    EntryExists,
    EntryMissing,
    EntryRefused,
    ValueNotThere,
    ValueThereAlready,
)
from tests.daemons.directories.directory import PASSWORD, Site
from tests.daemons.directories.openldap import OpenLdap, running_openldap
from tests.daemons.directories.tls import TestAuthority

SMIME = "userSMIMECertificate"


@pytest.fixture
def site(slapd: OpenLdap, request: pytest.FixtureRequest) -> Site:
    """A part of the directory that a test has to itself."""
    return slapd.site(str(abs(hash(request.node.nodeid))))


def server_of(
    slapd: OpenLdap, security: Security = Security.START_TLS, *, password: str = PASSWORD, ca: Path | None = None
) -> Server:
    port = slapd.tls_port if security is Security.LDAPS else slapd.port
    return Server(slapd.host, port, security, slapd.writer.dn, lambda: password, ca or slapd.tls.ca, timeout_seconds=5)


@contextmanager
def client_of(server: Server) -> Iterator[LdapClient]:
    client = LdapClient(server)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("security", [Security.START_TLS, Security.LDAPS, Security.NONE])
def test_an_entry_is_found_read_and_changed(slapd: OpenLdap, site: Site, security: Security) -> None:
    dn = site.add_person()
    with client_of(server_of(slapd, security)) as client:
        (found,) = client.find(site.people, "(mail=alice@example.com)", [SMIME, "entryCSN"])
        assert (found.dn, found.values(SMIME)) == (dn, ())
        client.modify(dn, [Change(ChangeKind.ADD, SMIME, (b"0\0",))])
        read = client.read(dn, [SMIME, "entryCSN"])
        assert read is not None
        assert read.values(SMIME) == (b"0\0",)
        with pytest.raises(EntryChanged):
            client.modify(dn, [Change(ChangeKind.REPLACE, SMIME, ())], Assertion("entryCSN", found.values("entryCSN")[0]))
        client.modify(dn, [Change(ChangeKind.REPLACE, SMIME, ())], Assertion("entryCSN", read.values("entryCSN")[0]))
        assert client.read(dn, []) is not None
    assert slapd.values(dn, SMIME) == []


def test_what_a_server_refuses_comes_back_in_its_own_words(slapd: OpenLdap, site: Site) -> None:
    dn = site.add_person()
    with client_of(server_of(slapd)) as client:
        with pytest.raises(EntryRefused, match=r"^cn=alice,.* answers insufficientAccessRights, code 50$") as refused:
            client.modify(dn, [Change(ChangeKind.REPLACE, "sn", (b"x",))])
        assert refused.value.code == 50
        client.modify(dn, [Change(ChangeKind.ADD, SMIME, (b"0\0",))])
        with pytest.raises(EntryRefused, match=r"code 18 \(modify/add: userSMIMECertificate: no equality matching rule\)"):
            client.modify(dn, [Change(ChangeKind.ADD, SMIME, (b"0\1\0",))])
        with pytest.raises(EntryMissing):
            client.modify(f"cn=nobody,{site.people}", [Change(ChangeKind.REPLACE, SMIME, ())])
        assert client.read(f"cn=nobody,{site.people}", []) is None
        with pytest.raises(EntryExists):
            client.add(dn, ["inetOrgPerson"], {"cn": [b"alice"], "sn": [b"x"]})


def test_a_value_that_is_there_and_one_that_is_not(slapd: OpenLdap, site: Site) -> None:
    certificate = (Path(slapd.tls.certificate)).read_text()
    der = ssl.PEM_cert_to_DER_cert(certificate)
    dn = site.add_person()
    with client_of(server_of(slapd)) as client:
        add = Change(ChangeKind.ADD, "userCertificate;binary", (der,))
        client.modify(dn, [add])
        with pytest.raises(ValueThereAlready):
            client.modify(dn, [add])
        delete = Change(ChangeKind.DELETE, "userCertificate;binary", (der,))
        client.modify(dn, [delete])
        with pytest.raises(ValueNotThere):
            client.modify(dn, [delete])


def test_a_filter_means_what_it_says(slapd: OpenLdap, site: Site) -> None:
    names = {"star": "a*b@example.com", "paren": "a(b)@example.com", "slash": r"a\b@example.com", "plain": "axb@example.com"}
    for name, mail in names.items():
        site.add_person(name, mail)
    with client_of(server_of(slapd)) as client:
        for name, escaped in (("star", r"a\2ab"), ("paren", r"a\28b\29"), ("slash", r"a\5cb")):
            (found,) = client.find(site.people, f"(mail={escaped}@example.com)", [])
            assert found.dn == site.dn(name)
        assert client.find(site.people, r"(mail=\00)", []) == []
        assert len(client.find(site.people, "(mail=*)", [])) == 2


def test_a_search_base_that_does_not_exist_is_the_directorys_own_failure(slapd: OpenLdap) -> None:
    with client_of(server_of(slapd)) as client, pytest.raises(DirectoryUnavailable, match=r"the search base 'ou=no,.*' does not"):
        client.find("ou=no,dc=example,dc=com", "(mail=x)", [])


@pytest.mark.parametrize("security", [Security.START_TLS, Security.LDAPS])
def test_a_server_that_nobody_vouches_for_gets_no_password(slapd: OpenLdap, tmp_path: Path, security: Security) -> None:
    stranger = TestAuthority(tmp_path / "stranger").file

    def password() -> str:
        return "canary"

    server = Server(slapd.host, server_of(slapd, security).port, security, slapd.writer.dn, password, stranger)
    with client_of(server) as client, pytest.raises(DirectoryUnavailable, match="certificate verify failed") as caught:
        client.read(slapd.people_base, [])
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("security", [Security.START_TLS, Security.LDAPS])
def test_a_certificate_for_another_name_is_refused(slapd: OpenLdap, security: Security) -> None:
    """The server's certificate is for 127.0.0.1 and for nothing else."""
    server = Server("localhost", server_of(slapd, security).port, security, slapd.writer.dn, lambda: PASSWORD, slapd.tls.ca)
    with client_of(server) as client, pytest.raises(DirectoryUnavailable, match="not valid for 'localhost'"):
        client.read(slapd.people_base, [])


def test_a_wrong_password_is_said_and_not_repeated(slapd: OpenLdap) -> None:
    with client_of(server_of(slapd, password="canary")) as client:
        with pytest.raises(DirectoryUnavailable, match=r"invalidCredentials, code 49, to a log-on as cn=signetry") as caught:
            client.read(slapd.people_base, [])
        assert "canary" not in str(caught.value)
        assert "canary" not in repr(client)
    assert "canary" not in repr(server_of(slapd, password="canary"))


def test_a_server_without_starttls_gets_no_password(tmp_path: Path, tls_authority: TestAuthority) -> None:
    tls = tls_authority.issue("plain", "127.0.0.1")
    with (
        running_openldap(tmp_path / "slapd", tls, start_tls=False) as plain,
        client_of(server_of(plain)) as client,
        pytest.raises(DirectoryUnavailable, match="startTLS failed"),
    ):
        client.read(plain.people_base, [])


def test_a_connection_that_was_lost_is_made_again(tmp_path: Path, tls_authority: TestAuthority) -> None:
    tls = tls_authority.issue("restarted", "127.0.0.1")
    with running_openldap(tmp_path / "slapd", tls) as server, client_of(server_of(server)) as client:
        assert client.read(server.people_base, []) is not None
        server.kill()
        with pytest.raises(DirectoryUnavailable, match="Connection refused"):
            client.read(server.people_base, [])
        server.start()
        assert client.read(server.people_base, []) is not None
        server.stop()
        server.start()
        # Nobody was told of the restart, and nobody notices.
        assert client.read(server.people_base, []) is not None


def test_a_name_that_does_not_resolve_is_said() -> None:
    server = Server("nowhere.invalid", 389, Security.START_TLS, "cn=x", lambda: "x")
    with client_of(server) as client, pytest.raises(DirectoryUnavailable, match="its host name cannot be resolved"):
        client.read("dc=x", [])


@contextmanager
def silent_server(answer: bytes = b"", *, pause: float = 0) -> Iterator[int]:
    """Listen, say ``answer`` to the first message, byte by byte with a ``pause`` after each if there is one, and nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                if answer:
                    connection.recv(4096)
                    for part in (answer,) if not pause else (bytes([byte]) for byte in answer):
                        connection.sendall(part)
                        time.sleep(pause)
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            connection.close()


# A StartTLS that is granted, and a bind that is (RFC 4511 sections 4.14.2 and 4.2.2), as messages 1.
GRANTED = bytes.fromhex("300c02010178070a010004000400")
BOUND = bytes.fromhex("300c02010161070a010004000400")


@pytest.mark.parametrize(
    ("security", "answer"),
    [
        (Security.NONE, b""),
        (Security.START_TLS, b""),
        (Security.START_TLS, GRANTED),
        (Security.LDAPS, b""),
        (Security.NONE, b"0\x0c\2"),
    ],
    ids=["bind", "start-tls", "handshake", "ldaps", "half an answer"],
)
def test_a_server_that_says_nothing_is_not_waited_for_for_long(slapd: OpenLdap, security: Security, answer: bytes) -> None:
    with silent_server(answer) as port:
        server = Server("127.0.0.1", port, security, "cn=x", lambda: "x", slapd.tls.ca, timeout_seconds=1)
        started = time.monotonic()
        with client_of(server) as client, pytest.raises(DirectoryUnavailable):
            client.read("dc=example,dc=com", [])
        assert time.monotonic() - started < 4


@pytest.mark.parametrize("security", [Security.NONE, Security.START_TLS])
def test_a_server_that_answers_byte_by_byte_is_not_waited_for_for_long(slapd: OpenLdap, security: Security) -> None:
    with silent_server(b"0\x84\0\0\1\0" + bytes(60), pause=0.1) as port:
        server = Server("127.0.0.1", port, security, "cn=x", lambda: "x", slapd.tls.ca, timeout_seconds=1)
        started = time.monotonic()
        with client_of(server) as client, pytest.raises(DirectoryUnavailable, match="timed out"):
            client.read("dc=example,dc=com", [])
        assert time.monotonic() - started < 4
