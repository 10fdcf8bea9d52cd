"""``signetry scep``: asking a server as its clients do."""

from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from scep import reply
from scep.algorithms import Digest
from scep.client import ScepClient
from scep.errors import FailInfo
from scep.message import MessageType, ReceivedMessage
from scep.queries import read_issuer_and_serial
from scep.signing import certificates_only, crl_only, sign
from signetry.cli import scep as commands_of_scep
from signetry.cli.enrolment_folder import EnrolmentFolder
from signetry.database import Database
from tests.clocks import ManualClock
from tests.scep.test_client import certified
from tests.scep.test_client_queries import Server, crl_of, found, next_ca
from tests.scep.world import World
from tests.signetry.installation import Commands

URL = "http://scep.test/scep/default"


@pytest.fixture
def server(sqlite_store: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server for the commands to talk to, which refuses until a test tells it otherwise."""
    world = World(sqlite_store, clock)

    def refuse(received: ReceivedMessage, _opened: object) -> bytes:
        return reply.failure(world.ra, received.exchange, FailInfo.BAD_CERT_ID, "there is none")

    made = Server(world, refuse)
    transport = httpx2.MockTransport(made._serve)  # noqa: SLF001 - the fake's own
    monkeypatch.setattr(commands_of_scep, "ScepClient", lambda url, **options: ScepClient(url, transport=transport, **options))
    return made


def fingerprint(server: Server) -> str:
    with server.client() as ours:
        return ours.ca_certificates().fingerprint


def test_show_says_what_the_server_is_and_can_do(commands: Commands, server: Server) -> None:
    told = commands.json("scep", "show", URL)
    assert told["capabilities"] == ["GetNextCACert", "SCEPStandard"]
    assert told["ca_fingerprint"] == fingerprint(server)
    assert "SCEPStandard" in commands.text("scep", "show", URL)


def test_a_certificate_is_got_by_its_serial_number(
    commands: Commands, server: Server, rsa_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    der = certified(server.world, rsa_key)
    certificate = x509.load_der_x509_certificate(der)
    serial = f"{certificate.serial_number:032x}"
    server.answer = found(server.world, certificates_only([der]))
    pem = certificate.public_bytes(Encoding.PEM).decode()
    assert commands.text("scep", "get-cert", URL, serial) == pem
    told = commands.json("scep", "get-cert", URL, serial.upper())
    assert (told["serial"], told["subject"], told["pem"]) == (serial, "CN=Alice", pem)
    commands.json("scep", "get-cert", URL, serial, "--out", tmp_path / "c.pem")
    assert (tmp_path / "c.pem").read_text() == pem
    assert {each.message_type for each in server.asked} == {MessageType.GET_CERT}


def test_a_crl_is_got(commands: Commands, server: Server, tmp_path: Path) -> None:
    der = crl_of(server.world)
    contents: list[bytes] = []

    def answer(received: ReceivedMessage, opened: object) -> bytes:
        contents.append(opened.content)  # type: ignore[attr-defined]
        return found(server.world, crl_only(der))(received, opened)  # type: ignore[arg-type]

    server.answer = answer
    told = commands.json("scep", "get-crl", URL, "--out", tmp_path / "crl.pem")
    assert told["revoked"] == 0
    assert x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes()).public_bytes(Encoding.DER) == der
    assert commands.text("scep", "get-crl", URL, "--serial", "ff").startswith("-----BEGIN X509 CRL-----")
    assert [read_issuer_and_serial(each).serial_number for each in contents] == [
        server.world.ra.certificate.serial_number,
        255,
    ]


def test_who_has_a_certificate_may_ask_with_it(
    commands: Commands, server: Server, rsa_key: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    held = x509.load_der_x509_certificate(certified(server.world, rsa_key))
    folder = EnrolmentFolder(tmp_path / "alice")
    folder.write_key(rsa_key)
    folder.write_certificate(held)
    server.answer = found(server.world, crl_only(crl_of(server.world)))
    commands.json("scep", "get-crl", URL, "--as", tmp_path / "alice")
    assert server.asked[0].signer.x509 == held
    assert "certificate.pem is missing" in commands.refused("scep", "get-crl", URL, "--as", tmp_path / "bob", status=2)


def test_the_next_ca_is_got_when_it_is_signed_for(commands: Commands, server: Server, tmp_path: Path) -> None:
    following = next_ca(server.world)
    server.next_ca = sign(server.world.ra, certificates_only([following]), (), Digest.SHA256)
    (told,) = commands.json("scep", "next-ca", URL)
    assert told["subject"] == "CN=next"
    assert "written to" in commands.text("scep", "next-ca", URL, "--out", tmp_path / "next.pem")
    (written,) = x509.load_pem_x509_certificates((tmp_path / "next.pem").read_bytes())
    assert written.public_bytes(Encoding.DER) == following
    assert commands.text("scep", "next-ca", URL) == (tmp_path / "next.pem").read_text()
    assert written.not_valid_after_utc - written.not_valid_before_utc == timedelta(days=9)


@pytest.mark.parametrize("words", [("get-cert", URL, "1f"), ("get-crl", URL)])
def test_a_refusal_is_told_in_the_servers_words(commands: Commands, server: Server, words: tuple[str, ...]) -> None:
    assert commands.refused("scep", *words) == "signetry: the server refused: there is none"
    assert len(server.asked) == 1


def test_a_server_without_the_operation_is_told_so(commands: Commands, server: Server) -> None:
    server.capabilities = "SCEPStandard"
    assert "does not list GetNextCACert" in commands.refused("scep", "next-ca", URL)
    server.capabilities = "DES3\nSHA-1\nPOSTPKIOperation"
    assert "permitted as legacy" in commands.refused("scep", "get-crl", URL)
    assert "there is none" in commands.refused("scep", "get-crl", URL, "--legacy")


def test_what_makes_no_sense_is_bad_usage(commands: Commands, server: Server) -> None:
    assert "no serial number in hex" in commands.refused("scep", "get-cert", URL, "swordfish", status=2)
    for words in (("show",), ("get-crl",), ("next-ca",)):
        assert "not the expected one" in commands.refused("scep", *words, URL, "--fingerprint", "0" * 64)
    assert server.asked == []
