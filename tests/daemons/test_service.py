"""The service as it runs: its listeners, the HTTP that old clients speak, its beginning and its end."""

import base64
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID

from scep import message
from scep.algorithms import Suite
from scep.client import ScepClient, build_csr, named, throwaway_signer
from scep.message import MessageType, PkiStatus
from tests.daemons.service import Service, eventually, serving

PKI_OPERATION = "/scep/default?operation=PKIOperation"


def exchanged(service: Service, *parts: bytes) -> tuple[int, Mapping[str, str], bytes]:
    """Send ``parts`` over a connection of its own; return status, headers and body of the answer."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, body


@pytest.fixture(scope="module")
def ra(service: Service) -> x509.Certificate:
    """The certificate that requests are enveloped to."""
    with ScepClient(service.scep) as client:
        return client.ca_certificates().ra


class Request:
    """A PKCSReq of a person that is recorded for it; ``padding`` bytes make it long."""

    def __init__(self, service: Service, ra: x509.Certificate, key: rsa.RSAPrivateKey, name: str, padding: int = 0) -> None:
        service.add_person(name)
        challenge = service.challenge(name)
        builder = x509.CertificateSigningRequestBuilder(named("x"))
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
        if padding:
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), os.urandom(padding))
            builder = builder.add_extension(unknown, critical=False)
        self.signer = throwaway_signer(key, named("x"))
        self.der = message.build_request(
            self.signer,
            ra,
            builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER),
            message_type=MessageType.PKCS_REQ,
            transaction_id=name,
            sender_nonce=message.new_nonce(),
            suite=Suite(),
        )


def assert_granted(status: int, headers: Mapping[str, str], body: bytes) -> None:
    assert (status, headers["content-type"]) == (200, "application/x-pki-message")
    reply = message.parse(body)
    assert reply.pki_status == PkiStatus.SUCCESS, reply.fail_info_text


@pytest.mark.parametrize("http_version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "host", ["", "Host: pki.example.com\r\n", "Host: \r\n"], ids=["no host", "another host", "an empty host"]
)
def test_capabilities_are_told_whatever_http_is_spoken(service: Service, http_version: str, host: str) -> None:
    """Cisco IOS speaks HTTP/1.0; sscep sends no Host (facts/scep.md section 6)."""
    line = f"GET /scep/default?operation=GetCACaps HTTP/{http_version}\r\n"
    status, headers, body = exchanged(service, f"{line}{host}Connection: close\r\n\r\n".encode())
    assert (status, headers["content-type"]) == (200, "text/plain")
    assert b"POSTPKIOperation" in body


def test_a_get_with_a_request_line_beyond_16_kilobytes_is_granted(
    service: Service, ra: x509.Certificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    request = Request(service, ra, rsa_key, "long-line", padding=9000)
    line = f"GET {PKI_OPERATION}&message={quote(base64.b64encode(request.der).decode(), safe='')} HTTP/1.0\r\n\r\n".encode()
    assert len(line) > 16 * 1024
    assert_granted(*exchanged(service, line))


def test_a_post_in_chunks_is_granted(service: Service, ra: x509.Certificate, rsa_key: rsa.RSAPrivateKey) -> None:
    der = Request(service, ra, rsa_key, "chunked").der
    head = f"POST {PKI_OPERATION} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    chunks = [der[start : start + 700] for start in range(0, len(der), 700)]
    encoded = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
    assert len(encoded) > 2
    assert_granted(*exchanged(service, head, *encoded, b"0\r\n\r\n"))


def test_a_post_of_http_1_0_without_a_content_type_is_granted(
    service: Service, ra: x509.Certificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    der = Request(service, ra, rsa_key, "old-post").der
    assert_granted(*exchanged(service, f"POST {PKI_OPERATION} HTTP/1.0\r\nContent-Length: {len(der)}\r\n\r\n".encode(), der))


def test_a_post_that_waits_to_be_told_to_continue_is_granted(
    service: Service, ra: x509.Certificate, rsa_key: rsa.RSAPrivateKey
) -> None:
    """curl and .NET clients ask first when a body is long."""
    der = Request(service, ra, rsa_key, "expecting").der
    head = f"POST {PKI_OPERATION} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(der)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        connection.sendall(der)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 200 ")
    assert message.parse(received.partition(b"\r\n\r\n")[2]).pki_status == PkiStatus.SUCCESS


def test_two_requests_on_one_connection_are_both_answered(service: Service) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(request + b"\r\n" + request + b"Connection: close\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.count(b'{"status":"ok"}') == 2


@pytest.mark.parametrize("listener", ["DEVICE", "ADMIN"])
def test_https_listeners_show_a_certificate_of_the_installations_own_root(service: Service, listener: str) -> None:
    url = f"https://{service.environment[f'SIGNETRY_{listener}_LISTEN']}"
    trusting = ssl.create_default_context(cafile=str(service.home / "tls" / "root.pem"))
    with urlopen(f"{url}/healthz", context=trusting, timeout=20) as answer:
        assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')
    # The root that phones trust for mail does not vouch for it.
    (service.home / "ca-root.pem").write_bytes(root_of(service).public_bytes(Encoding.PEM))
    other = ssl.create_default_context(cafile=str(service.home / "ca-root.pem"))
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urlopen(f"{url}/healthz", context=other, timeout=20)


def root_of(service: Service) -> x509.Certificate:
    with urlopen(f"{service.url}/aia/root.cer", timeout=20) as answer:
        return x509.load_der_x509_certificate(answer.read())


def test_devices_enrol_over_https_as_well(service: Service) -> None:
    url = f"https://{service.environment['SIGNETRY_DEVICE_LISTEN']}/scep/default?operation=GetCACert"
    trusting = ssl.create_default_context(cafile=str(service.home / "tls" / "root.pem"))
    with urlopen(url, context=trusting, timeout=20) as answer:
        assert answer.headers["content-type"] == "application/x-x509-ca-ra-cert"
    with urlopen(f"{service.scep}?operation=GetCACert", timeout=20) as answer:
        assert answer.headers["content-type"] == "application/x-x509-ca-ra-cert"


def test_a_second_service_on_the_same_addresses_fails_and_leaves_the_first_alone(service: Service) -> None:
    before = service.children()
    done = service.run("signetry", "serve", succeeds=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        f"public_listen: 127.0.0.1:{service.port} is taken by another process; stop it, or set public_listen to another address"
    )
    assert "Traceback" not in done.stderr
    assert service.children() == before
    assert all(is_alive(pid) for pid in before.values())
    with urlopen(f"{service.url}/readyz", timeout=20) as answer:
        assert answer.status == 200


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_stops_when_told_to_and_starts_again_under_another_url(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    with serving(tmp_path / "home", "--ca-key", "p256") as service:
        old = issuing_of(service)
        children = service.children()
        assert set(children) == {"web-0", "web-1", "worker"}
        with socket.create_connection(("127.0.0.1", service.port)) as idle:
            started = time.monotonic()
            assert service.stop() == 0
            # An idle connection does not hold it up.
            assert time.monotonic() - started < 10
            assert idle.recv(1) == b""
        assert not any(is_alive(pid) for pid in children.values())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port))
        settings = service.home / "signetry.toml"
        new_url = f"http://localhost:{service.port}"
        settings.write_text(settings.read_text().replace(service.url, new_url))
        service.start()
        new = issuing_of(service)
        assert (new.subject, new.public_key()) == (old.subject, old.public_key())
        assert crl_of(new) == f"{new_url}/crl/root.crl" != crl_of(old)
        service.add_person()
        with ScepClient(service.scep) as client:
            bag = client.ca_certificates()
            identity = client.enrol(bag, rsa_key, build_csr(rsa_key, "x", service.challenge()))
        assert bag.issuer == new
        assert crl_of(identity.certificate) == f"{new_url}/crl/issuing.crl"
        with urlopen(crl_of(identity.certificate), timeout=20) as answer:
            assert x509.load_der_x509_crl(answer.read()).is_signature_valid(old.public_key())  # type: ignore[arg-type] # an EC key
        # A change made beside the running service is seen within a second.
        again = service.json("ca", "reissue")["serial"]
        eventually(lambda: f"{issuing_of(service).serial_number:032x}" == again, seconds=2)


def issuing_of(service: Service) -> x509.Certificate:
    with ScepClient(service.scep) as client:
        return client.ca_certificates().issuer


def crl_of(certificate: x509.Certificate) -> str:
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name is not None
    url = str(points[0].full_name[0].value)
    assert urlsplit(url).scheme == "http"
    return url


def test_interrupted_from_the_keyboard_it_ends_without_a_traceback(tmp_path: Path) -> None:
    """Ctrl-C reaches every process of the terminal's group at once."""
    service = Service(tmp_path / "home", workers=1)
    service.init("--ca-key", "p256")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["signetry", "serve"], env=service.environment, stdout=log, stderr=log, start_new_session=True)
    eventually(lambda: is_ready(service), message="it did not become ready")
    children = service.children()
    os.killpg(process.pid, 2)
    assert process.wait(20) == 0
    assert not any(is_alive(pid) for pid in children.values())
    assert "Traceback" not in (tmp_path / "log").read_text()


def is_ready(service: Service) -> bool:
    try:
        with urlopen(f"{service.url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
