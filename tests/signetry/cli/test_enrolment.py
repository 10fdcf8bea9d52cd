"""``signetry enrol``: what it leaves in its directory, whatever becomes of the connection."""

import json
import stat
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scep import client
from scep.client import ScepClient
from signetry.cli import enrolment
from signetry.database import Database
from tests.clocks import ManualClock
from tests.scep.world import World
from tests.signetry.installation import Commands

URL = "http://scep.test/scep/default"


class Server:
    """A world behind ``signetry enrol``, whose answers may get lost."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lose = 0
        self.requests: list[bytes] = []

    def connect(self, url: str, *, fingerprint: str = "") -> ScepClient:
        """Stand in for the client's class."""
        return ScepClient(url, fingerprint=fingerprint, transport=httpx2.MockTransport(self._serve))

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        responder = self.world.responder
        if request.url.params["operation"] == "GetCACert":
            return httpx2.Response(200, content=responder.ca_certificates("default")[1])
        self.requests.append(request.content)
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
    return made


@pytest.fixture
def challenge_file(server: Server, tmp_path: Path) -> Path:
    """A live challenge in a file as it should be."""
    return written(tmp_path / "challenge.txt", server.world.challenge(server.world.add_person()) + "\n")


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


@pytest.mark.parametrize("kind", ["EC", "encrypted", "none"])
def test_a_key_that_cannot_be_used_is_not_overwritten_either(
    commands: Commands, server: Server, challenge_file: Path, out: Path, rsa_key: rsa.RSAPrivateKey, kind: str
) -> None:
    out.mkdir()
    protection = serialization.BestAvailableEncryption(b"x") if kind == "encrypted" else NoEncryption()
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa_key
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


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_renewal_interrupted_anywhere_is_completed_by_the_next_run(
    commands: Commands, server: Server, challenge_file: Path, out: Path, interrupting: pytest.MonkeyPatch, at: int
) -> None:
    """The new key, the chain, the new certificate; then the move of the one and of the other."""
    commands.json("enrol", URL, "--challenge-file", challenge_file, "--out", out)
    old = assert_complete(out, server)
    interrupted_before(interrupting, Path, "replace", at)
    with pytest.raises(Interruption):
        commands.run("enrol", URL, "--renew", "--out", out)
    interrupting.undo()
    if at <= 3:
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
    assert "either --challenge-file, to enrol, or --renew" in commands.refused(*enrol, status=2)
    assert "either --challenge-file" in commands.refused(*enrol, "--challenge-file", challenge_file, "--renew", status=2)
    challenge = (*enrol, "--challenge-file", challenge_file)
    assert "--key-size is 2048" in commands.refused(*challenge, "--key-size", "1024", status=2)
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


def test_key_size_and_name_are_as_asked_for(commands: Commands, server: Server, challenge_file: Path, out: Path) -> None:
    server.lose = 3
    options = ("--key-size", "3072", "--common-name", "kiosk 7")
    commands.refused("enrol", URL, "--challenge-file", challenge_file, "--out", out, *options)
    csr = x509.load_pem_x509_csr((out / "request.pem").read_bytes())
    assert csr.subject == client.named("kiosk 7")
    key = csr.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072


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
