"""The TLS listeners follow their files; handshakes are real, over memory."""

import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from structlog.testing import capture_logs

from foundation.files import replace_private
from signetry import tls
from signetry.errors import ConfigurationError
from signetry.settings import load_settings
from signetry.tls import TlsFiles
from signetry.tls_server import ServerTls
from tests.clocks import ManualClock
from tests.signetry.installation import clock_of_today

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture
def clock() -> ManualClock:
    """OpenSSL has its own idea of the time."""
    return clock_of_today()


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return TlsFiles(tmp_path / "server.pem", tmp_path / "server.key")


def put(files: TlsFiles, serial: int, clock: ManualClock, key: Key = EC_KEY, *, days: float = 90, only: str = "") -> None:
    """Write a self-signed certificate and its key, or ``only`` one of them."""
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "ca.example.com")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), serial)
        .not_valid_before(clock.now() - timedelta(days=10))
        .not_valid_after(clock.now() + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    if only != "certificate":
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        replace_private(files.key, pem)
    if only != "key":
        replace_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


class Connection:
    """A client and a server that shake hands in memory."""

    def __init__(self, server: ssl.SSLContext, *, ciphers: str = "", version: ssl.TLSVersion | None = None) -> None:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        if ciphers:
            client.set_ciphers(ciphers)
        if version:
            client.maximum_version = version
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        # No server name, as of clients that dial an address.
        self.client = client.wrap_bio(to_client, to_server)
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        pending = [self.client, self.server]
        for _ in range(10):
            for side in list(pending):
                try:
                    side.do_handshake()
                    pending.remove(side)
                except ssl.SSLWantReadError:
                    continue
        assert not pending

    @property
    def serial(self) -> int:
        """The serial number of the certificate that the client was shown."""
        der = self.client.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    def speaks(self) -> bool:
        """Say whether what the client sends arrives."""
        self.client.write(b"hello")
        return self.server.read() == b"hello"


def test_a_new_pair_is_served_to_new_connections_and_open_ones_live_on(files: TlsFiles, clock: ManualClock) -> None:
    put(files, 1, clock)
    served = ServerTls(files, clock)
    before = Connection(served.context)
    assert before.serial == 1
    put(files, 2, clock)
    assert Connection(served.context).serial == 1
    served.look()
    assert Connection(served.context).serial == 2
    assert before.speaks()


@pytest.mark.parametrize("first", [EC_KEY, RSA_KEY], ids=["EC to RSA", "RSA to EC"])
def test_a_key_of_another_kind_takes_the_place_of_the_one_before(files: TlsFiles, clock: ManualClock, first: Key) -> None:
    # Loaded into the same context, the two would stand side by side, and the client choose.
    put(files, 1, clock, first)
    served = ServerTls(files, clock)
    put(files, 2, clock, RSA_KEY if first is EC_KEY else EC_KEY)
    served.look()
    for _ in range(3):
        assert Connection(served.context).serial == 2


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda files, clock: put(files, 2, clock, RSA_KEY, only="certificate"), "is not the key of the certificate"),
        (lambda files, clock: put(files, 2, clock, days=-1), "which is not now"),
        (lambda files, _: files.certificate.write_text("nothing"), "holds no certificate"),
        (lambda files, _: files.key.write_text("nothing"), "holds no private key"),
        (lambda files, _: files.certificate.unlink(), "cannot be read"),
        (lambda files, _: files.key.chmod(0o644) or files.key.write_bytes(files.key.read_bytes() + b"\n"), "open to every user"),
    ],
    ids=["foreign key", "expired", "no certificate", "no key", "gone", "open to all"],
)
def test_a_pair_that_cannot_be_used_leaves_the_one_before_and_is_logged_once(
    files: TlsFiles, clock: ManualClock, break_it: object, reason: str
) -> None:
    put(files, 1, clock)
    served = ServerTls(files, clock)
    break_it(files, clock)  # type: ignore[operator] # a function
    structlog.reset_defaults()
    with capture_logs() as logged:
        served.look()
        # It may be one half of a pair that is being replaced.
        assert logged == []
        for _ in range(3):
            served.look()
    (line,) = logged
    assert (line["log_level"], line["event"]) == ("error", "tls certificate not usable, the former one stays in use")
    assert reason in line["reason"]
    assert Connection(served.context).serial == 1
    put(files, 3, clock)
    files.key.chmod(0o600)
    with capture_logs() as logged:
        served.look()
    assert [entry["event"] for entry in logged] == ["tls certificate taken up"]
    assert Connection(served.context).serial == 3


def test_a_process_does_not_start_with_a_pair_that_cannot_be_used(files: TlsFiles, clock: ManualClock) -> None:
    put(files, 1, clock, days=-1)
    with pytest.raises(ConfigurationError, match="which is not now"):
        ServerTls(files, clock)


def test_links_are_followed_as_certificate_clients_exchange_those(tmp_path: Path, clock: ManualClock) -> None:
    live = TlsFiles(tmp_path / "live.pem", tmp_path / "live.key")
    for number in (1, 2):
        put(TlsFiles(tmp_path / f"{number}.pem", tmp_path / f"{number}.key"), number, clock)
    live.certificate.symlink_to("1.pem")
    live.key.symlink_to("1.key")
    served = ServerTls(live, clock)
    for link, target in ((live.certificate, "2.pem"), (live.key, "2.key")):
        link.unlink()
        link.symlink_to(target)
    served.look()
    assert Connection(served.context).serial == 2


def test_only_sane_versions_and_ciphers_are_spoken(files: TlsFiles, clock: ManualClock) -> None:
    put(files, 1, clock, RSA_KEY)
    context = ServerTls(files, clock).context
    assert Connection(context).client.version() == "TLSv1.3"
    second = Connection(context, version=ssl.TLSVersion.TLSv1_2)
    assert second.client.version() == "TLSv1.2"
    # Neither CBC nor keys without forward secrecy.
    for ciphers in ("ECDHE+AES:!AESGCM:!AESCCM", "RSA+AESGCM"):
        with pytest.raises(ssl.SSLError):
            Connection(context, ciphers=ciphers, version=ssl.TLSVersion.TLSv1_2)
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert all("GCM" in name or "CHACHA20" in name for name in names)
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(ssl.SSLError):
        Connection(context, version=ssl.TLSVersion.TLSv1_1)


def test_two_that_find_the_own_certificate_missing_make_one(tmp_path: Path, clock: ManualClock) -> None:
    replace_private(tmp_path / "secrets" / "key-passphrase", b"sesame")
    settings = load_settings(home=tmp_path)
    made: list[bool] = []
    threads = [threading.Thread(target=lambda: made.append(tls.renew(settings, clock))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]
    ServerTls(tls.files(settings), clock)


def test_the_own_certificate_is_renewed_when_due_and_an_operators_never(tmp_path: Path, clock: ManualClock) -> None:
    replace_private(tmp_path / "secrets" / "key-passphrase", b"sesame")
    settings = load_settings(home=tmp_path)
    assert tls.renew(settings, clock)
    assert not tls.renew(settings, clock)
    clock.advance(days=368)
    assert tls.renew(settings, clock)
    assert not tls.renew(load_settings(home=tmp_path, tls_certificate="own.pem", tls_key="own.key"), clock)
