"""The certificate of the device and administrative listeners: the operator's, or one of our own making.

Ours comes from a root that vouches for nothing else: the root that phones trust for mail must never be able to vouch for a web
server, nor the other way round (design.md section 3).
"""

import fcntl
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from foundation.clock import Clock
from foundation.files import replace_private
from signetry.errors import ConfigurationError
from signetry.files import read_secret
from signetry.settings import Settings

_ROOT_VALIDITY = timedelta(days=3650)
# What browsers take at most from public roots; nobody minds the same from a private one.
_SERVER_VALIDITY = timedelta(days=397)
_RENEW_BEFORE = timedelta(days=30)
_BACKDATED = timedelta(minutes=5)
_PEM_AT_MOST = 64 * 1024
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - left out of certificates


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the server's certificate (with its chain) and its key are; ``root`` is what clients must trust, where it is ours."""

    certificate: Path
    key: Path
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class TlsPair:
    """A certificate with its chain, and its key, in PEM, that can be served now."""

    certificates: bytes = field(repr=False)
    key: bytes = field(repr=False)
    subject: str
    not_after: datetime


def files(settings: Settings) -> TlsFiles:
    """Return which files the listeners use."""
    if settings.tls_certificate is not None and settings.tls_key is not None:
        return TlsFiles(settings.tls_certificate, settings.tls_key)
    directory = settings.home / "tls"
    return TlsFiles(directory / "server.pem", directory / "server.key", directory / "root.pem")


def ensure(settings: Settings, clock: Clock) -> TlsFiles:
    """Return the files, checked if they are the operator's; if they are ours, made or renewed where that is due.

    Raises:
        ConfigurationError: the operator's certificate and key cannot be used, and why.
    """
    found = files(settings)
    if found.root is None:
        read_pair(found, clock)
    else:
        renew(settings, clock)
    return found


def renew(settings: Settings, clock: Clock) -> bool:
    """Make the service's own certificate where it is missing or due; say whether that was done. Operators renew theirs.

    Two processes that find it due at once make one certificate.
    """
    found = files(settings)
    if found.root is None or not _is_due(found, settings, clock):
        return False
    with _one_at_a_time(found.root.parent):
        # Who waited for the lock may find it done.
        if not _is_due(found, settings, clock):
            return False
        _make(found, found.root, settings, clock)
    return True


def read_pair(found: TlsFiles, clock: Clock) -> TlsPair:
    """Read and judge a certificate with its chain, and its key.

    Raises:
        ConfigurationError: a file cannot be read, they do not belong together, or the certificate is not valid now.
    """
    key = read_secret(found.key, "tls_key", at_most=_PEM_AT_MOST)
    certificates = _read_certificates(found.certificate)
    try:
        certificate = x509.load_pem_x509_certificates(certificates)[0]
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"tls_certificate: {found.certificate} holds no certificate in PEM") from None
    if b"ENCRYPTED" in key:
        raise ConfigurationError(f"tls_key: {found.key} is encrypted; the service needs it without a passphrase, mode 600")
    if not certificate.not_valid_before_utc <= clock.now() <= certificate.not_valid_after_utc:
        raise ConfigurationError(
            f"tls_certificate: {found.certificate} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d}, which is not now",
        )
    try:
        private_key = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"tls_key: {found.key} holds no private key in PEM") from None
    if private_key.public_key() != public_key:
        raise ConfigurationError(
            f"tls_key: {found.key} is not the key of the certificate that comes first in {found.certificate}"
        )
    return TlsPair(certificates, key, certificate.subject.rfc4514_string(), certificate.not_valid_after_utc)


def _read_certificates(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_PEM_AT_MOST + 1)
    except OSError as error:
        raise ConfigurationError(f"tls_certificate: {path} cannot be read: {error.strerror}") from None
    if len(content) > _PEM_AT_MOST:
        # Cut off, it would be a chain with its end missing.
        raise ConfigurationError(f"tls_certificate: {path} is larger than {_PEM_AT_MOST} bytes; name the server's chain only")
    return content


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of this machine at a time into the block."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Given up with the descriptor, however the process ends.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _names(settings: Settings) -> list[x509.GeneralName]:
    """Return what clients may call the listeners, sorted."""
    hosts = {"localhost", "127.0.0.1", "::1", settings.device_listen.host, settings.admin_listen.host}
    hosts.update(urlsplit(url).hostname or "localhost" for url in (settings.public_url, settings.device_url))
    return [_general_name(host) for host in sorted(hosts) if host not in _WILDCARDS]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _is_due(found: TlsFiles, settings: Settings, clock: Clock) -> bool:
    try:
        pair = read_pair(found, clock)
        certificate = x509.load_pem_x509_certificate(pair.certificates)
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ConfigurationError, x509.ExtensionNotFound):
        # Missing, damaged, or half of a pair whose making was interrupted.
        return True
    return list(present) != _names(settings) or pair.not_after - clock.now() < _RENEW_BEFORE


def _make(found: TlsFiles, root_path: Path, settings: Settings, clock: Clock) -> None:
    root, root_key = _root(root_path, settings, clock)
    key = ec.generate_private_key(ec.SECP256R1())
    names = _names(settings)
    certificate = (
        _builder(root.subject, _name(str(names[-1].value)), key.public_key(), clock, _SERVER_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    # The key first: a run that ends between the two leaves a pair that does not match, and no certificate that is not due.
    found.certificate.unlink(missing_ok=True)
    replace_private(found.key, _pem(key, serialization.NoEncryption()))
    replace_private(found.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _root(path: Path, settings: Settings, clock: Clock) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    passphrase = read_secret(settings.key_passphrase_file, "key_passphrase_file")
    key_path = path.with_suffix(".key")
    if path.exists() and key_path.exists():
        root = x509.load_pem_x509_certificate(path.read_bytes())
        key = serialization.load_pem_private_key(read_secret(key_path, "TLS root", at_most=_PEM_AT_MOST), passphrase)
        if isinstance(key, ec.EllipticCurvePrivateKey) and root.not_valid_after_utc - clock.now() > _SERVER_VALIDITY:
            return root, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Signetry TLS root (web servers of this installation only)")
    root = (
        _builder(name, name, key.public_key(), clock, _ROOT_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    replace_private(key_path, _pem(key, serialization.BestAvailableEncryption(passphrase)))
    replace_private(path, root.public_bytes(serialization.Encoding.PEM))
    return root, key


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    clock: Clock,
    validity: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - _BACKDATED)
        .not_valid_after(clock.now() + validity)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
