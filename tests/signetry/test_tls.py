"""The web server's own certificate: made, renewed, kept apart from the mail root; the operator's is checked."""

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from foundation.files import replace_private
from signetry import tls
from signetry.errors import ConfigurationError
from signetry.settings import Settings, load_settings
from signetry.tls_server import ServerTls
from tests.clocks import ManualClock

Key = ec.EllipticCurvePrivateKey


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    replace_private(tmp_path / "secrets" / "key-passphrase", b"sesame")
    return load_settings(
        home=tmp_path, public_url="http://ca.example.com", admin_listen="10.1.2.3:8443", device_listen="0.0.0.0:8444"
    )


def load(path: Path | None) -> x509.Certificate:
    assert path is not None
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_certificate_is_made_for_every_name_clients_use(settings: Settings, clock: ManualClock) -> None:
    files = tls.ensure(settings, clock)
    certificate, root = load(files.certificate), load(files.root)
    certificate.verify_directly_issued_by(root)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"localhost", "127.0.0.1", "::1", "10.1.2.3", "ca.example.com"}
    assert load(files.certificate).not_valid_after_utc - clock.now() == timedelta(days=397)
    ServerTls(files, clock)


def test_the_root_can_vouch_for_web_servers_only(settings: Settings, clock: ManualClock) -> None:
    root = load(tls.ensure(settings, clock).root)
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    usages = root.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_keys_are_private_and_the_roots_is_encrypted(settings: Settings, clock: ManualClock) -> None:
    files = tls.ensure(settings, clock)
    root_key = files.key.with_name("root.key")
    for path in (files.key, root_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"ENCRYPTED" in root_key.read_bytes()
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700


def test_it_is_renewed_when_its_end_is_near_under_the_same_root(settings: Settings, clock: ManualClock) -> None:
    first = tls.ensure(settings, clock)
    before, root = load(first.certificate), load(first.root)
    clock.advance(days=366)
    assert load(tls.ensure(settings, clock).certificate) == before
    clock.advance(days=2)
    after = load(tls.ensure(settings, clock).certificate)
    assert after.not_valid_after_utc > before.not_valid_after_utc
    after.verify_directly_issued_by(root)
    ServerTls(tls.files(settings), clock)


def test_it_is_made_anew_when_the_names_change(settings: Settings, clock: ManualClock) -> None:
    before = load(tls.ensure(settings, clock).certificate)
    renamed = load_settings(home=settings.home, public_url="http://new.example.com")
    after = load(tls.ensure(renamed, clock).certificate)
    assert after != before
    assert "new.example.com" in str(after.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_a_root_that_would_end_before_the_certificate_is_replaced(settings: Settings, clock: ManualClock) -> None:
    before = load(tls.ensure(settings, clock).root)
    clock.advance(days=3650 - 200)
    files = tls.ensure(settings, clock)
    assert load(files.root) != before
    load(files.certificate).verify_directly_issued_by(load(files.root))


def test_an_interrupted_run_is_completed_by_the_next(settings: Settings, clock: ManualClock) -> None:
    files = tls.ensure(settings, clock)
    files.certificate.unlink()
    tls.ensure(settings, clock)
    ServerTls(files, clock)


@pytest.mark.parametrize("name", ["server.pem", "server.key"])
@pytest.mark.parametrize("content", [b"damaged", None], ids=["damaged", "missing"])
def test_what_is_damaged_of_ours_is_made_anew(settings: Settings, clock: ManualClock, name: str, content: bytes | None) -> None:
    path = tls.ensure(settings, clock).certificate.with_name(name)
    if content is None:
        path.unlink()
    else:
        replace_private(path, content)
    assert tls.renew(settings, clock)
    ServerTls(tls.files(settings), clock)


def operators(home: Path, key: Key, clock: ManualClock, *, certified: Key | None = None) -> Settings:
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "ca.example.com")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key((certified or key).public_key())
        .serial_number(1)
        .not_valid_before(clock.now())
        .not_valid_after(clock.now() + timedelta(days=90))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    replace_private(home / "own.key", pem)
    replace_private(home / "own.pem", certificate.public_bytes(serialization.Encoding.PEM))
    return load_settings(home=home, tls_certificate="own.pem", tls_key="own.key")


def test_the_operators_certificate_is_used_and_nothing_is_made(tmp_path: Path, clock: ManualClock, ec_key: Key) -> None:
    settings = operators(tmp_path, ec_key, clock)
    assert tls.ensure(settings, clock) == tls.TlsFiles(tmp_path / "own.pem", tmp_path / "own.key")
    assert not (tmp_path / "tls").exists()


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, clock: ManualClock, ec_key: Key) -> None:
    settings = operators(tmp_path, ec_key, clock, certified=ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ConfigurationError, match=r"tls_key: .* is not the key of the certificate"):
        tls.ensure(settings, clock)


@pytest.mark.parametrize("days", [-1, 91])
def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path, clock: ManualClock, ec_key: Key, days: int) -> None:
    settings = operators(tmp_path, ec_key, clock)
    clock.advance(days=days)
    with pytest.raises(ConfigurationError, match=r"tls_certificate: .* is valid from .* which is not now"):
        tls.ensure(settings, clock)


def test_a_key_that_everybody_reads_is_refused(tmp_path: Path, clock: ManualClock, ec_key: Key) -> None:
    settings = operators(tmp_path, ec_key, clock)
    (tmp_path / "own.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"tls_key: .* open to every user"):
        tls.ensure(settings, clock)


@pytest.mark.parametrize(("name", "setting"), [("own.pem", "tls_certificate"), ("own.key", "tls_key")])
def test_a_missing_file_is_named(tmp_path: Path, clock: ManualClock, ec_key: Key, name: str, setting: str) -> None:
    settings = operators(tmp_path, ec_key, clock)
    (tmp_path / name).unlink()
    with pytest.raises(ConfigurationError, match=f"{setting}: .*{name} cannot be read"):
        tls.ensure(settings, clock)


def test_a_file_without_a_certificate_is_refused(tmp_path: Path, clock: ManualClock, ec_key: Key) -> None:
    settings = operators(tmp_path, ec_key, clock)
    (tmp_path / "own.pem").write_text("hello")
    with pytest.raises(ConfigurationError, match=r"tls_certificate: .* holds no certificate"):
        tls.ensure(settings, clock)


def test_a_chain_is_not_cut_off_in_silence(tmp_path: Path, clock: ManualClock, ec_key: Key) -> None:
    settings = operators(tmp_path, ec_key, clock)
    pem = (tmp_path / "own.pem").read_bytes()
    (tmp_path / "own.pem").write_bytes(pem * (64 * 1024 // len(pem) + 1))
    with pytest.raises(ConfigurationError, match=r"tls_certificate: .* is larger than 65536 bytes"):
        tls.ensure(settings, clock)


def test_no_client_certificate_is_asked_for(settings: Settings, clock: ManualClock) -> None:
    context = ServerTls(tls.ensure(settings, clock), clock).context
    assert context.verify_mode is ssl.CERT_NONE
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
