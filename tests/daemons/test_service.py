"""The service as it runs: its listeners, the HTTP that old clients speak, its beginning and its end."""

import base64
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID

from benchmarks.running import wait_for
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


class Requests:
    """PKCSReqs with a live challenge each."""

    def __init__(self, service: Service, key: rsa.RSAPrivateKey) -> None:
        service.add_person("transport")
        arguments = ("--upn", "transport@example.com", "--count", "10")
        self._challenges = iter(service.signetry("challenge", "create", *arguments).split())
        with ScepClient(service.scep) as client:
            self._ra = client.ca_certificates().ra
        self._key = key

    def next(self, padding: int = 0) -> bytes:
        """Return another request; ``padding`` bytes in it make it long."""
        builder = x509.CertificateSigningRequestBuilder(named("x"))
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, next(self._challenges).encode())
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), os.urandom(padding))
        return message.build_request(
            throwaway_signer(self._key, named("x")),
            self._ra,
            builder.add_extension(unknown, critical=False).sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER),
            message_type=MessageType.PKCS_REQ,
            transaction_id="1",
            sender_nonce=message.new_nonce(),
            suite=Suite(),
        )


@pytest.fixture(scope="module")
def requests(service: Service, rsa_key: rsa.RSAPrivateKey) -> Requests:
    """What to send."""
    return Requests(service, rsa_key)


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


def test_a_get_with_a_request_line_beyond_16_kilobytes_is_granted(service: Service, requests: Requests) -> None:
    encoded = quote(base64.b64encode(requests.next(padding=10000)), safe="")
    line = f"GET {PKI_OPERATION}&message={encoded} HTTP/1.0\r\n\r\n".encode()
    assert len(line) > 16 * 1024
    assert_granted(*exchanged(service, line))


def test_a_post_in_chunks_is_granted(service: Service, requests: Requests) -> None:
    der = requests.next()
    head = f"POST {PKI_OPERATION} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    chunks = [der[start : start + 700] for start in range(0, len(der), 700)]
    encoded = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
    assert len(encoded) > 2
    assert_granted(*exchanged(service, head, *encoded, b"0\r\n\r\n"))


def test_a_post_of_http_1_0_without_a_content_type_is_granted(service: Service, requests: Requests) -> None:
    der = requests.next()
    assert_granted(*exchanged(service, f"POST {PKI_OPERATION} HTTP/1.0\r\nContent-Length: {len(der)}\r\n\r\n".encode(), der))


def test_a_post_that_waits_to_be_told_to_continue_is_granted(service: Service, requests: Requests) -> None:
    """curl and .NET clients ask first when a body is long."""
    der = requests.next()
    head = f"POST {PKI_OPERATION} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(der)}\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
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


def trusting(root: bytes) -> httpx2.Client:
    return httpx2.Client(verify=ssl.create_default_context(cadata=root.decode()), timeout=20)


@pytest.mark.parametrize("listener", ["DEVICE", "ADMIN"])
def test_https_listeners_show_a_certificate_of_a_root_of_their_own(service: Service, listener: str) -> None:
    url = f"https://{service.environment[f'SIGNETRY_{listener}_LISTEN']}/healthz"
    with trusting((service.home / "tls" / "root.pem").read_bytes()) as client:
        answer = client.get(url)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    # The root that phones trust for mail does not vouch for it.
    root = x509.load_der_x509_certificate(httpx2.get(f"{service.url}/aia/root.cer").content)
    with (
        trusting(root.public_bytes(Encoding.PEM)) as client,
        pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get(url)


def test_devices_reach_scep_over_https_as_well(service: Service) -> None:
    url = f"https://{service.environment['SIGNETRY_DEVICE_LISTEN']}/scep/default?operation=GetCACert"
    with trusting((service.home / "tls" / "root.pem").read_bytes()) as client:
        assert client.get(url).content == httpx2.get(f"{service.scep}?operation=GetCACert").content


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
    assert httpx2.get(f"{service.url}/readyz").status_code == 200


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_stops_when_told_to_and_starts_again_under_another_url(tmp_path: Path, rsa_key: rsa.RSAPrivateKey) -> None:
    with serving(tmp_path / "home", "--ca-key", "p256", workers=1) as service:
        old = issuing_of(service)
        children = service.children()
        assert set(children) == {"web-0", "worker"}
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
        start_in_a_terminal(service)
        new = issuing_of(service)
        assert (new.subject, new.public_key()) == (old.subject, old.public_key())
        assert crl_of(new) == f"{new_url}/crl/root.crl" != crl_of(old)
        service.add_person()
        with ScepClient(service.scep) as client:
            bag = client.ca_certificates()
            identity = client.enrol(bag, rsa_key, build_csr(rsa_key, "x", service.challenge()))
        assert bag.issuer == new
        assert crl_of(identity.certificate) == f"{new_url}/crl/issuing.crl"
        crl = x509.load_der_x509_crl(httpx2.get(crl_of(identity.certificate)).content)
        assert crl.is_signature_valid(old.public_key())  # type: ignore[arg-type] # it is an EC key
        # A change made beside the running service is seen within a second.
        again = service.json("ca", "reissue")["serial"]
        eventually(lambda: f"{issuing_of(service).serial_number:032x}" == again, seconds=2)
        # Ctrl-C reaches every process of the terminal at once.
        children = service.children()
        assert service.process is not None
        os.killpg(service.process.pid, signal.SIGINT)
        assert service.process.wait(20) == 0
        assert not any(is_alive(pid) for pid in children.values())
    assert "Traceback" not in service.log


def start_in_a_terminal(service: Service) -> None:
    """Start serving in a process group of its own, as a shell does."""
    with (service.home / "serve.log").open("ab") as log:
        service.process = subprocess.Popen(
            ["signetry", "serve"], env=service.environment, stdout=log, stderr=log, start_new_session=True
        )
    wait_for(f"{service.url}/readyz", service.process)


def issuing_of(service: Service) -> x509.Certificate:
    with ScepClient(service.scep) as client:
        return client.ca_certificates().issuer


def crl_of(certificate: x509.Certificate) -> str:
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert points[0].full_name is not None
    url = str(points[0].full_name[0].value)
    assert urlsplit(url).scheme == "http"
    return url
