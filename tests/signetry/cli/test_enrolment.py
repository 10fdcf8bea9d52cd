"""``signetry enrol``: what it leaves in its directory, whatever becomes of the connection."""

import json
import stat
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scep import client, message, reply
from scep.algorithms import Digest
from scep.client import ScepClient
from scep.errors import FailInfo
from scep.message import MessageType, ReceivedMessage
from scep.signing import certificates_only, sign
from signetry.cli import enrolment
from signetry.cli.enrolment_folder import EnrolmentFolder
from signetry.database import Database
from tests.clocks import ManualClock
from tests.scep.messages import success
from tests.scep.test_client import certified
from tests.scep.world import World
from tests.signetry.installation import Commands

URL = "http://scep.test/scep/default"


class Server:
    """A world behind ``signetry enrol``, whose answers may get lost."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lose = 0
        self.requests: list[bytes] = []
        self.more_capabilities, self.next_ca = "", b""
        self.pending = 0
        self.slept: list[float] = []
        self.person = world.add_person()
        self.at_poll: Callable[[ReceivedMessage], bytes] | None = None

    def connect(self, url: str, **options: Any) -> ScepClient:  # noqa: ANN401 - whatever the class takes
        """Stand in for the client's class."""
        return ScepClient(url, transport=httpx2.MockTransport(self._serve), **options)

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        responder = self.world.responder
        match request.url.params["operation"]:
            case "GetCACaps":
                return httpx2.Response(200, text=responder.capabilities("default") + self.more_capabilities)
            case "GetCACert":
                return httpx2.Response(200, content=responder.ca_certificates("default")[1])
            case "GetNextCACert":
                return httpx2.Response(200, content=self.next_ca)
        self.requests.append(request.content)
        received = message.parse(request.content)
        if self.pending:
            self.pending -= 1
            return httpx2.Response(200, content=reply.pending(self.world.ra, received.exchange))
        if received.message_type == MessageType.CERT_POLL and self.at_poll is not None:
            return httpx2.Response(200, content=self.at_poll(received))
        answer = responder.pki_operation("default", request.content, origin="test")
        if self.lose:
            self.lose -= 1
            raise httpx2.ReadError("the connection broke")
        return httpx2.Response(200, content=answer)


_GENERATE = rsa.generate_private_key


@cache
def key_made_before(size: int, which: int) -> rsa.RSAPrivateKey:
    """Return the same key for the same ``which`` throughout the test run: making one takes longer than an enrolment."""
    assert which < 10
    return _GENERATE(65537, size)


@pytest.fixture(autouse=True)
def _keys_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count()
    monkeypatch.setattr(rsa, "generate_private_key", lambda _exponent, size: key_made_before(size, next(numbers)))


@pytest.fixture
def server(sqlite_store: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server for the command to talk to."""
    made = Server(World(sqlite_store, clock))
    made.world.configure(renew_after=0.0)
    monkeypatch.setattr(enrolment, "ScepClient", made.connect)
    monkeypatch.setattr(enrolment, "sleep", made.slept.append)
    return made


@pytest.fixture
def challenge_file(server: Server, tmp_path: Path) -> Path:
    """A live challenge in a file as it should be."""
    return written(tmp_path / "challenge.txt", server.world.challenge(server.person) + "\n")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where it goes."""
    return tmp_path / "alice"


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def pair(directory: Path) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    certificate = x509.load_pem_x509_certificate((directory / "certificate.pem").read_bytes())
    key = serialization.load_pem_private_key((directory / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return certificate, key


def assert_complete(directory: Path, server: Server) -> x509.Certificate:
    certificate, key = pair(directory)
    assert certificate.public_key() == key.public_key()
    assert files(directory) == {"key.pem", "certificate.pem", "chain.pem"}
    chain = x509.load_pem_x509_certificates((directory / "chain.pem").read_bytes())
    assert [each.public_bytes(Encoding.DER) for each in chain] == [
        server.world.authority.certificate_der,
        *server.world.authority.chain,
    ]
    certificate.verify_directly_issued_by(chain[0])
    return certificate


def test_it_leaves_key_certificate_and_chain_and_nothing_else(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    told = commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    certificate = assert_complete(out, server)
    assert told["serial"] == f"{certificate.serial_number:032x}"
    assert told["subject"] == "CN=Alice Smith"
    assert told["certificate"] == str(out / "certificate.pem")
    assert len(told["ca_fingerprint"]) == 64
    assert {stat.S_IMODE((out / name).stat().st_mode) for name in files(out)} == {0o600}
    assert pair(out)[1].key_size == 2048


def test_the_key_and_the_request_are_kept_before_anything_is_sent(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    server.lose = 3
    refusal = commands.refused("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert "does not answer: ReadError" in refusal
    assert files(out) == {"key.pem", "request.pem"}
    assert {stat.S_IMODE((out / name).stat().st_mode) for name in files(out)} == {0o600}
    # The server issued it and the answer was lost: the next run gets the same one.
    assert server.world.counts()["certificates"] == 1
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert_complete(out, server)
    assert server.world.counts()["certificates"] == 1
    assert len(server.requests) == 4


def test_a_certificate_that_is_there_is_not_overwritten(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert "renew it with --renew" in commands.refused("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert len(server.requests) == 1


def test_a_key_that_is_there_is_used(
    commands: Commands, server: Server, challenge_file: Path, out: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    out.mkdir()
    pem = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    written(out / "key.pem", pem.decode())
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert assert_complete(out, server).public_key() == rsa_key.public_key()
    assert (out / "key.pem").read_bytes() == pem


@pytest.mark.parametrize("kind", ["Ed25519", "brainpool", "encrypted", "none"])
def test_a_key_that_cannot_be_used_is_not_overwritten_either(
    commands: Commands, server: Server, challenge_file: Path, out: Path, rsa_key: rsa.RSAPrivateKey, kind: str
) -> None:
    out.mkdir()
    protection = serialization.BestAvailableEncryption(b"x") if kind == "encrypted" else NoEncryption()
    unknown: dict[str, Any] = {
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
        "brainpool": ec.generate_private_key(ec.BrainpoolP256R1()),
    }
    key = unknown.get(kind, rsa_key)
    pem = b"no key" if kind == "none" else key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)
    (out / "key.pem").write_bytes(pem)
    assert "key.pem" in commands.refused("enrol", URL, "--challenge-file", challenge_file, "--out", out, status=2)
    assert (out / "key.pem").read_bytes() == pem
    assert server.requests == []


def test_after_a_refusal_another_challenge_is_tried_with_another_request(
    commands: Commands, server: Server, challenge_file: Path, out: Path, tmp_path: Path
) -> None:
    wrong = written(tmp_path / "wrong.txt", "WRONG")
    assert "challenge password" in commands.refused("enrol", URL, "--challenge-file", wrong, "--out", out)
    # No challenge stays behind, and the key is good for the next attempt.
    assert files(out) == {"key.pem"}
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert_complete(out, server)


def test_another_challenge_makes_another_request_even_without_a_refusal(
    commands: Commands, server: Server, challenge_file: Path, out: Path, tmp_path: Path
) -> None:
    lost = written(tmp_path / "lost.txt", "LOST")
    server.lose = 3
    commands.refused("enrol", URL, "--challenge-file", lost, "--out", out)
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert_complete(out, server)


class Interruption(BaseException):
    """Something that no handler of ours knows."""


def interrupted_before(patch: pytest.MonkeyPatch, owner: object, name: str, at: int) -> None:
    """Make the ``at``-th call of ``owner.name`` end the run."""
    real: Callable[..., object] = getattr(owner, name)
    left = [at]

    def replacement(*arguments: object, **options: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise Interruption
        return real(*arguments, **options)

    patch.setattr(owner, name, replacement)


@pytest.fixture
def interrupting() -> Iterator[pytest.MonkeyPatch]:
    """What can be undone before the test ends."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize(("name", "at"), [("replace", 1), ("replace", 2), ("replace", 3), ("replace", 4), ("unlink", 1)])
def test_interrupted_anywhere_the_next_run_completes_it(
    commands: Commands, server: Server, challenge_file: Path, out: Path, interrupting: pytest.MonkeyPatch, name: str, at: int
) -> None:
    """Key, request, chain, certificate; then the request goes."""
    interrupted_before(interrupting, Path, name, at)
    with pytest.raises(Interruption):
        commands.run("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    interrupting.undo()
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert_complete(out, server)
    assert server.world.counts()["certificates"] == 1


def test_a_renewal_puts_the_new_pair_in_the_place_of_the_old(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    old, old_key = pair(out)
    told = commands.json("enrol", URL, "--renew", "--out", out)
    new = assert_complete(out, server)
    assert told["serial"] == f"{new.serial_number:032x}" != f"{old.serial_number:032x}"
    assert new.public_key() != old_key.public_key()
    assert new.subject == old.subject
    commands.json("enrol", URL, "--renew", "--out", out)
    assert assert_complete(out, server).serial_number not in (old.serial_number, new.serial_number)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
def test_a_renewal_interrupted_anywhere_is_completed_by_the_next_run(
    commands: Commands, server: Server, challenge_file: Path, out: Path, interrupting: pytest.MonkeyPatch, at: int
) -> None:
    """The new key, its request, the chain, the new certificate; then the move of the one and of the other."""
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    old = assert_complete(out, server)
    interrupted_before(interrupting, Path, "replace", at)
    with pytest.raises(Interruption):
        commands.run("enrol", URL, "--renew", "--out", out)
    interrupting.undo()
    if at <= 4:
        certificate, key = pair(out)
        assert (certificate, certificate.public_key()) == (old, key.public_key())
    commands.json("enrol", URL, "--renew", "--out", out)
    assert assert_complete(out, server) != old
    assert server.world.counts()["certificates"] == 2


def test_a_renewal_whose_answer_was_lost_gets_the_same_certificate(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    server.lose = 3
    commands.refused("enrol", URL, "--renew", "--out", out)
    commands.json("enrol", URL, "--renew", "--out", out)
    assert_complete(out, server)
    assert server.world.counts()["certificates"] == 2


def test_a_refused_renewal_leaves_the_old_pair_in_place(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    old = pair(out)[0]
    server.world.configure(renew_after=0.66)
    assert "may be renewed from" in commands.refused("enrol", URL, "--renew", "--out", out)
    certificate, key = pair(out)
    assert (certificate, certificate.public_key()) == (old, key.public_key())


@pytest.mark.usefixtures("server")
def test_there_must_be_something_to_renew(commands: Commands, out: Path) -> None:
    assert "certificate.pem is missing" in commands.refused("enrol", URL, "--renew", "--out", out, status=2)
    out.mkdir()
    (out / "certificate.pem").write_text("no certificate")
    assert "holds no certificate" in commands.refused("enrol", URL, "--renew", "--out", out, status=2)


@pytest.mark.usefixtures("server")
def test_what_makes_no_sense_is_bad_usage(commands: Commands, challenge_file: Path, out: Path, tmp_path: Path) -> None:
    enrol = ("enrol", URL, "--out", out)
    assert "give --challenge-file or --no-challenge, to enrol, or --renew" in commands.refused(*enrol, status=2)
    both = (*enrol, "--challenge-file", challenge_file, "--no-challenge")
    assert "give --challenge-file or --no-challenge" in commands.refused(*both, status=2)
    assert "where the renewal needs a fresh" in commands.refused(*enrol, "--renew", "--no-challenge", status=2)
    challenge = (*enrol, "--challenge-file", challenge_file)
    unknown_kind = commands.run(*challenge, "--key", "rsa1024")
    assert unknown_kind.status == 2
    assert "rsa1024" in unknown_kind.stderr
    assert "--same-key goes with --renew" in commands.refused(*challenge, "--same-key", status=2)
    assert "is no duration" in commands.refused(*challenge, "--poll-interval", "soon", status=2)
    assert "once a second at most" in commands.refused(*challenge, "--poll-interval", "0s", status=2)
    assert "--common-name has at most 64" in commands.refused(*challenge, "--common-name", "x" * 65, status=2)
    assert "64 hexadecimal digits" in commands.refused(*challenge, "--fingerprint", "abc", status=2)
    assert "begins with http" in commands.refused("enrol", "scep.test", *challenge[2:], status=2)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\xfd")
    binary.chmod(0o600)
    assert "holds no text" in commands.refused(*enrol, "--challenge-file", binary, status=2)
    assert not out.exists()


def test_a_challenge_that_everybody_can_read_is_taken_with_a_warning(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    """A shell's redirection leaves it so."""
    challenge_file.chmod(0o644)
    done = commands.run("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--json")
    assert done.status == 0
    assert server.requests
    assert json.loads(done.stdout)["certificate"] == str(out / "certificate.pem")
    assert "open to every user of this machine" in done.stderr


def test_a_file_without_a_challenge_is_refused(commands: Commands, server: Server, out: Path, tmp_path: Path) -> None:
    for content in ("", "\n"):
        empty = written(tmp_path / "empty", content)
        assert "between 1 and" in commands.refused("enrol", URL, "--challenge-file", empty, "--out", out, status=2)
    gone = tmp_path / "gone"
    assert "cannot be read" in commands.refused("enrol", URL, "--challenge-file", gone, "--out", out, status=2)
    assert server.requests == []


def test_another_ca_than_the_one_expected_gets_no_request(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    options = ("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--fingerprint")
    assert "not the expected one" in commands.refused(*options, "0" * 64)
    assert server.requests == []
    with server.connect(URL) as ours:
        commands.json(*options, ours.ca_certificates().fingerprint)


def test_kind_of_key_and_name_are_as_asked_for(commands: Commands, server: Server, challenge_file: Path, out: Path) -> None:
    server.lose = 3
    options = ("--key", "rsa3072", "--common-name", "kiosk 7")
    commands.refused("enrol", URL, "--challenge-file", challenge_file, "--out", out, *options)
    csr = x509.load_pem_x509_csr((out / "request.pem").read_bytes())
    assert csr.subject == client.named("kiosk 7")
    key = csr.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072


# --- EC keys ---


@pytest.mark.parametrize(("kind", "curve"), [("p256", "secp256r1"), ("p384", "secp384r1"), ("p521", "secp521r1")])
def test_an_ec_key_enrols(commands: Commands, server: Server, challenge_file: Path, out: Path, kind: str, curve: str) -> None:
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--key", kind)
    certificate = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    key = serialization.load_pem_private_key((out / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert (key.curve.name, key.public_key()) == (curve, certificate.public_key())
    # ``identity`` lets an EC key sign and nothing else, so that a renewal needs a challenge to be sealed with.
    refusal = commands.refused("enrol", URL, "--renew", "--out", out, "--key", kind)
    assert "can only sign, and the request has no challenge" in refusal
    fresh = written(out.parent / "fresh.txt", server.world.challenge(server.person))
    commands.json("enrol", URL, "--renew", "--challenge-file", fresh, "--out", out, "--key", kind)
    renewed = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    assert renewed.serial_number != certificate.serial_number
    assert files(out) == {"key.pem", "certificate.pem", "chain.pem"}


def test_an_ec_renewal_whose_answer_was_lost_gets_the_same_certificate(
    commands: Commands, server: Server, out: Path, tmp_path: Path
) -> None:
    """ECDSA never signs a request the same way twice: what is sent again is what was kept."""
    challenge = server.world.challenge(server.person, profile="smime-dual")
    first = written(tmp_path / "dual.txt", challenge)
    commands.json("enrol", URL, "--challenge-file", first, "--out", out, "--key", "p256")
    server.lose = 3
    commands.refused("enrol", URL, "--renew", "--out", out, "--key", "p256")
    commands.json("enrol", URL, "--renew", "--out", out, "--key", "p256")
    assert files(out) == {"key.pem", "certificate.pem", "chain.pem"}
    assert server.world.counts()["certificates"] == 2


def test_a_renewal_keeps_its_key_when_told_to(commands: Commands, server: Server, challenge_file: Path, out: Path) -> None:
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    old, key = pair(out)
    commands.json("enrol", URL, "--renew", "--same-key", "--out", out)
    new = assert_complete(out, server)
    assert new.serial_number != old.serial_number
    assert new.public_key() == key.public_key()


def test_what_is_left_of_an_earlier_renewal_does_not_spoil_the_next(
    commands: Commands, server: Server, challenge_file: Path, out: Path, other_rsa_key: rsa.RSAPrivateKey
) -> None:
    """A request over another key, as a crash between the last two removals leaves it."""
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    (out / "next").mkdir()
    (out / "next" / "request.pem").write_bytes(client.build_csr(other_rsa_key, "x").public_bytes(Encoding.PEM))
    commands.json("enrol", URL, "--renew", "--out", out)
    assert_complete(out, server)


# --- waiting for approval ---


def test_a_pending_request_is_polled_until_it_is_granted(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    server.pending = 3
    server.at_poll = granted_to(server, out)
    done = commands.run("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--poll-interval", "7s", "--json")
    assert done.status == 0, done.stderr
    assert done.stderr == "the request waits for approval: asked after every 7 seconds, for 3600 at most\n"
    assert server.slept == [7.0, 7.0, 7.0]
    assert [message.parse(each).message_type for each in server.requests] == [19, 20, 20, 20]
    assert len({message.parse(each).transaction_id for each in server.requests}) == 1
    assert_complete(out, server)


def granted_to(server: Server, out: Path) -> Callable[[ReceivedMessage], bytes]:
    """Return an answer to a CertPoll: the certificate, as soon as somebody has approved."""

    def answer(received: ReceivedMessage) -> bytes:
        der = certified(server.world, pair_key(out))
        return success(server.world.ra, received, message.recognise_envelope(received, [server.world.ra]), der)

    return answer


def pair_key(out: Path) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key((out / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def test_patience_at_its_end_the_next_run_goes_on_polling(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    server.pending = 4
    server.at_poll = granted_to(server, out)
    enrol = ("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--poll-interval", "10s", "--max-poll")
    assert "run the same command again" in commands.refused(*enrol, "0s")
    assert (server.slept, len(server.requests)) == ([], 1)
    assert files(out) == {"key.pem", "request.pem", "pending.json"}
    # Killed meanwhile or not: what is on disk is all it needs. It asks at once, and then in turns.
    assert "run the same command again" in commands.refused(*enrol, "20s")
    assert server.slept == [10.0, 10.0]
    commands.json(*enrol, "0s")
    assert [message.parse(each).message_type for each in server.requests] == [19, 20, 20, 20, 20]
    assert_complete(out, server)


def test_a_pending_request_that_is_rejected_is_forgotten(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    server.pending = 1
    server.at_poll = lambda received: reply.failure(server.world.ra, received.exchange, FailInfo.BAD_REQUEST, "not you")
    done = commands.run("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert done.status == 1
    assert done.stderr.endswith("signetry: the server refused: not you\n")
    assert files(out) == {"key.pem"}


def test_where_an_administrator_decides_no_challenge_is_needed(commands: Commands, server: Server, out: Path) -> None:
    server.pending = 2
    server.at_poll = granted_to(server, out)
    commands.json("enrol", URL, "--no-challenge", "--out", out)
    assert [message.parse(each).message_type for each in server.requests] == [19, 20, 20]
    assert_complete(out, server)


def test_another_challenge_is_another_request_and_not_a_poll(
    commands: Commands, server: Server, challenge_file: Path, out: Path, tmp_path: Path
) -> None:
    server.pending = 1
    waiting = written(tmp_path / "waiting.txt", "WAITING")
    commands.refused("enrol", URL, "--challenge-file", waiting, "--out", out, "--max-poll", "0s")
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert [message.parse(each).message_type for each in server.requests] == [19, 19]
    assert_complete(out, server)


def test_a_pending_renewal_is_polled_with_the_old_certificate(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    old, server.pending, server.requests = pair(out)[0], 2, []
    server.at_poll = granted_to(server, out / "next")
    commands.refused("enrol", URL, "--renew", "--out", out, "--max-poll", "0s")
    assert pair(out)[0] == old
    commands.json("enrol", URL, "--renew", "--out", out)
    asked = [message.parse(each) for each in server.requests]
    assert [each.message_type for each in asked] == [17, 20, 20]
    assert {each.signer.x509 for each in asked} == {old}
    assert assert_complete(out, server) != old


# --- the next CA ---


def test_the_next_ca_is_kept_and_believed_once_it_is_there(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    with server.connect(URL) as ours:
        today = ours.ca_certificates().fingerprint
    following = server.world.authority.chain[0]
    server.more_capabilities = "GetNextCACert\n"
    server.next_ca = sign(server.world.ra, certificates_only([following]), (), Digest.SHA256)
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--fingerprint", today)
    kept = x509.load_pem_x509_certificates((out / "next-ca.pem").read_bytes())
    assert [each.public_bytes(Encoding.DER) for each in kept] == [following]
    # A CA that nobody named is refused as ever; one that was, is accepted though its fingerprint is another.
    folder = EnrolmentFolder(out)
    folder.write_next_ca((server.world.authority.certificate,), "0" * 64)
    renew = ("enrol", URL, "--renew", "--out", out, "--fingerprint", "0" * 64)
    commands.json(*renew)
    # It stays trusted when it names the one after it.
    kept = x509.load_pem_x509_certificates((out / "next-ca.pem").read_bytes())
    assert [each.public_bytes(Encoding.DER) for each in kept] == [server.world.authority.certificate_der, following]
    # What one CA has named, another fingerprint does not make good.
    folder.write_next_ca((server.world.authority.certificate,), "1" * 64)
    assert "not the expected one" in commands.refused(*renew)
    (out / "next-ca.pem").unlink()
    assert "not the expected one" in commands.refused(*renew)


def test_a_next_ca_is_not_believed_for_having_been_named_to_a_run_without_a_fingerprint(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    server.more_capabilities = "GetNextCACert\n"
    own = server.world.authority.certificate_der
    server.next_ca = sign(server.world.ra, certificates_only([own]), (), Digest.SHA256)
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    assert "not the expected one" in commands.refused("enrol", URL, "--renew", "--out", out, "--fingerprint", "0" * 64)


def test_a_next_ca_that_is_not_believed_spoils_no_enrolment(
    commands: Commands, server: Server, challenge_file: Path, out: Path
) -> None:
    server.more_capabilities, server.next_ca = "GetNextCACert\n", b"<html>"
    with server.connect(URL) as ours:
        today = ours.ca_certificates().fingerprint
    done = commands.run("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--fingerprint", today)
    assert done.status == 0
    assert "the next CA is not known" in done.stderr
    assert_complete(out, server)


def test_no_challenge_reaches_the_output(commands: Commands, server: Server, challenge_file: Path, out: Path) -> None:
    challenge = challenge_file.read_text().strip()
    server.lose = 3
    done = commands.run("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    again = commands.run("enrol", URL, "--challenge-file", challenge_file, "--out", out, "--json")
    assert json.loads(again.stdout)
    assert challenge not in done.stdout + done.stderr + again.stdout + again.stderr


def test_a_directory_that_cannot_be_written_is_told(
    commands: Commands, server: Server, challenge_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refusal = commands.refused("enrol", URL, "--challenge-file", challenge_file, "--out", tmp_path / "file" / "x")
    assert refusal == f"signetry: {tmp_path}/file/x: Not a directory"
    assert server.requests == []
