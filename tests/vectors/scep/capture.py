"""Capture PKIOperation messages of the SCEP clients installed here: ``python -m tests.vectors.scep.capture``.

A server on loopback answers GetCACaps and GetCACert with the fixed RA and CA beside this file and keeps what the clients send. It
answers no PKIOperation, so every client fails in the end, which is expected. Keys and certificates are made only when missing.
"""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from scep.signing import certificates_only

HERE = Path(__file__).parent
STRONG_CAPABILITIES = "AES\nPOSTPKIOperation\nRenewal\nSCEPStandard\nSHA-1\nSHA-256\nSHA-384\nSHA-512\n"
WEAK_CAPABILITIES = "DES3\nPOSTPKIOperation\nRenewal\nSHA-1\nSHA-256\n"
# strongSwan 5.9.8 mixes up the bits of what it has read, and takes 3DES only from a server that knows everything.
ALL_CAPABILITIES = "DES3\n" + STRONG_CAPABILITIES
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(2049, 12, 31, tzinfo=UTC)


# --- the fixed authority and the fixed client key ---


def key(name: str) -> rsa.RSAPrivateKey:
    """Return the key ``name``, made when it is missing."""
    path = HERE / f"{name}.key.pem"
    if not path.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        path.write_bytes(
            made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    return loaded


def certificate(name: str) -> x509.Certificate:
    """Return the certificate ``name`` (``ca``, ``ra`` or ``client``), made when it is missing."""
    path = HERE / f"{name}.pem"
    if not path.exists():
        is_ca = name == "ca"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Captured {name}")])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Captured ca")])
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=not is_ca,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=is_ca,
            crl_sign=is_ca,
            encipher_only=False,
            decipher_only=False,
        )
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key(name).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key(name).public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key("ca").public_key()), critical=False)
            .sign(key("ca"), hashes.SHA256())
        )
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return x509.load_pem_x509_certificate(path.read_bytes())


# --- the server ---


class CapturingServer(ThreadingHTTPServer):
    """Keeps the messages it is sent."""

    def __init__(self, capabilities: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.capabilities = capabilities
        self.messages: list[bytes] = []

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.server_address[1]}/scep"


class _Handler(BaseHTTPRequestHandler):
    server: CapturingServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        match query.get("operation", [""])[0]:
            case "GetCACaps":
                self._answer("text/plain", self.server.capabilities.encode())
            case "GetCACert":
                pair = [certificate(name).public_bytes(serialization.Encoding.DER) for name in ("ra", "ca")]
                self._answer("application/x-x509-ca-ra-cert", certificates_only(pair))
            case _:
                text = query["message"][0].translate({ord(" "): "+", ord("-"): "+", ord("_"): "/", ord("\n"): None})
                self.server.messages.append(base64.b64decode(text + "=" * (-len(text) % 4)))
                self.send_error(503)

    def do_POST(self) -> None:
        self.server.messages.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_error(503)

    def _answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Stay quiet."""


# --- the clients ---


def _run(command: Sequence[str], **options: object) -> None:
    # Exit codes say nothing here: no client gets an answer.
    subprocess.run(command, timeout=60, check=False, **options)  # type: ignore[call-overload]


def strongswan(*more: str) -> Callable[[str, Path], None]:
    """Return an enrolment by strongSwan's ``pki --scep``."""

    def enrol(url: str, directory: Path) -> None:
        client_key = directory / "client.der"
        client_key.write_bytes(
            key("client").private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
        command = ["pki", "--scep", "--url", url, "--in", str(client_key), "--cacert-enc", str(HERE / "ra.pem")]
        _run([*command, "--cacert-sig", str(HERE / "ca.pem"), *more], capture_output=True)

    return enrol


def micromdm(*, renewing: bool) -> Callable[[str, Path], None]:
    """Return an enrolment by micromdm's ``scepclient``, or a renewal."""

    def enrol(url: str, directory: Path) -> None:
        shutil.copy(HERE / "client.key.pem", directory / "client.key")
        if renewing:
            shutil.copy(HERE / "client.pem", directory / "client.crt")
        command = ["scepclient", "-server-url", url, "-private-key", "client.key", "-certificate", "client.crt"]
        _run([*command, "-challenge", "micromdm-challenge", "-cn", "ann"], cwd=directory, capture_output=True)

    return enrol


def certmonger(url: str, directory: Path) -> None:
    """Enrol by certmonger, on a session bus of its own."""
    home = directory / "home"
    home.mkdir()
    shutil.copy(HERE / "client.key.pem", directory / "client.key")
    script = f"""
        certmonger-session -n -s >/dev/null 2>&1 & daemon=$!
        sleep 1
        getcert add-scep-ca -s -c captured -u {url} -R {HERE / "ca.pem"} -r {HERE / "ra.pem"}
        getcert request -s -c captured -k {directory}/client.key -f {directory}/client.crt -N 'CN=ann@example.com' \\
            -E ann@example.com -L certmonger-challenge
        sleep 8
        kill $daemon
    """
    _run(
        ["dbus-run-session", "--", "sh", "-c", script],
        env={**os.environ, "HOME": str(home), "PATH": f"{os.environ['PATH']}:/usr/lib/certmonger"},
        capture_output=True,
    )


_SAN = ("--san", "ann@example.com", "--password", "strongswan-challenge")
_RENEWED = ("--cert", str(HERE / "client.pem"), "--key", str(HERE / "client.key.pem"))
CAPTURES: dict[str, tuple[str, Callable[[str, Path], None]]] = {
    "strongswan-aes": (STRONG_CAPABILITIES, strongswan("--dn", "C=CH, O=Example, CN=Ann", *_SAN)),
    "strongswan-3des": (ALL_CAPABILITIES, strongswan("--dn", "CN=Ann", *_SAN, "--cipher", "des3")),
    "strongswan-sha512": (STRONG_CAPABILITIES, strongswan("--dn", "CN=Ann", *_SAN, "--digest", "sha512")),
    "strongswan-renewal": (STRONG_CAPABILITIES, strongswan("--dn", "CN=Ann", "--san", "ann@example.com", *_RENEWED)),
    "micromdm": (STRONG_CAPABILITIES, micromdm(renewing=False)),
    "micromdm-renewal": (STRONG_CAPABILITIES, micromdm(renewing=True)),
    "certmonger": (STRONG_CAPABILITIES, certmonger),
    "certmonger-3des": (WEAK_CAPABILITIES, certmonger),
}


def capture(name: str) -> bytes:
    """Return the first PKIOperation that the client of ``name`` sends."""
    capabilities, client = CAPTURES[name]
    server = CapturingServer(capabilities)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as directory:
            client(server.url, Path(directory))
    finally:
        server.shutdown()
        server.server_close()
    if not server.messages:
        message = f"{name}: the client sent no PKIOperation"
        raise RuntimeError(message)
    return server.messages[0]


def main() -> None:
    """Capture the vectors named on the command line, all without names."""
    for name in ("ca", "ra", "client"):
        certificate(name)
    for name in sys.argv[1:] or CAPTURES:
        began = time.monotonic()
        message = capture(name)
        (HERE / f"{name}.der").write_bytes(message)
        sys.stdout.write(f"{name}: {len(message)} bytes in {time.monotonic() - began:.1f} s\n")


if __name__ == "__main__":
    main()
