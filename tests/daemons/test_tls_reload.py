"""A running service takes up new TLS certificates, and keeps what it has when they are broken."""

import http.client
import socket
import ssl
from collections.abc import Iterator

import pytest
from cryptography import x509

from tests.daemons.service import Service, eventually

WORKERS = 2
_REFUSED = "tls certificate not usable"


def unverified() -> ssl.SSLContext:
    """Return a client's context that takes any certificate: it is looked at, not trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def address(service: Service, listener: str) -> tuple[str, int]:
    host, _, port = service.environment[f"SIGNETRY_{listener.upper()}_LISTEN"].rpartition(":")
    return host, int(port)


def common_name(service: Service, listener: str) -> str:
    """Return whom a new connection meets."""
    with (
        socket.create_connection(address(service, listener), timeout=10) as plain,
        unverified().wrap_socket(plain) as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


def everybody_shows(service: Service, name: str) -> bool:
    """Say whether many new connections, which reach every process, meet ``name`` on both listeners."""
    return all(common_name(service, listener) == f"CN={name}" for listener in ("device", "admin") for _ in range(4 * WORKERS))


def make_pair(service: Service, name: str, key: str = "ec") -> None:
    """Have OpenSSL make ``tls.pem`` and ``tls.key`` anew in the service's folder."""
    kind = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256") if key == "ec" else ("rsa:2048",)
    new = ("-x509", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}", "-days", "30")
    folder = service.home.parent
    service.run("openssl", "req", *new, "-keyout", "new.key", "-out", "new.pem", cwd=folder)
    (folder / "new.key").chmod(0o600)
    # One after the other, as certbot does.
    (folder / "new.pem").replace(folder / "tls.pem")
    (folder / "new.key").replace(folder / "tls.key")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the operator's certificate, which is called ``first.example.com``."""
    folder = tmp_path_factory.mktemp("tls")
    running = Service(folder / "home", workers=WORKERS)
    make_pair(running, "first.example.com")
    running.environment |= {
        "SIGNETRY_TLS_CERTIFICATE": str(folder / "tls.pem"),
        "SIGNETRY_TLS_KEY": str(folder / "tls.key"),
    }
    running.init("--ca-key", "p256")
    running.start()
    try:
        yield running
    finally:
        running.stop()


def test_a_new_pair_is_shown_within_seconds_and_open_connections_live_on(service: Service) -> None:
    open_before = http.client.HTTPSConnection(*address(service, "device"), context=unverified(), timeout=10)
    open_before.request("GET", "/healthz")
    assert open_before.getresponse().read() == b'{"status":"ok"}'
    make_pair(service, "second.example.com", "rsa")
    eventually(lambda: everybody_shows(service, "second.example.com"), seconds=20, message="the new certificate is not shown")
    open_before.request("GET", "/healthz")
    assert open_before.getresponse().read() == b'{"status":"ok"}'
    open_before.close()


def test_a_broken_pair_leaves_the_one_before_is_logged_once_and_the_doctor_tells(service: Service) -> None:
    make_pair(service, "third.example.com")
    eventually(lambda: everybody_shows(service, "third.example.com"), seconds=20)
    before = service.log.count(_REFUSED)
    (service.home.parent / "tls.key").write_text("no key\n")
    eventually(lambda: service.log.count(_REFUSED) == before + WORKERS, seconds=20, message="it was not logged by every process")
    assert everybody_shows(service, "third.example.com")
    done = service.run("signetry", "doctor", "--json", succeeds=False)
    assert "holds no private key in PEM" in done.stdout
    make_pair(service, "fourth.example.com")
    eventually(lambda: everybody_shows(service, "fourth.example.com"), seconds=20)
    assert service.log.count(_REFUSED) == before + WORKERS


def test_browsers_are_bound_to_tls_by_the_tls_listeners_only(service: Service) -> None:
    for listener in ("device", "admin"):
        connection = http.client.HTTPSConnection(*address(service, listener), context=unverified(), timeout=10)
        connection.request("GET", "/healthz", headers={"Host": "mdm.example.com"})
        assert connection.getresponse().getheader("Strict-Transport-Security") == "max-age=31536000"
        connection.close()
    plain = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    plain.request("GET", "/healthz")
    assert plain.getresponse().getheader("Strict-Transport-Security") is None
    plain.close()


def test_openssl_finds_neither_old_versions_nor_weak_ciphers(service: Service) -> None:
    host, port = address(service, "device")
    connect = ("openssl", "s_client", "-connect", f"{host}:{port}", "-brief")
    for options in (
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "AES128-SHA"),
        ("-tls1_2", "-cipher", "kRSA"),
    ):
        service.run("sh", "-c", f"{' '.join((*connect, *options))} </dev/null", succeeds=False)
    for version in ("-tls1_2", "-tls1_3"):
        service.run("sh", "-c", f"{' '.join((*connect, version))} </dev/null")
