"""A recovered history reads old mail: openssl and gpgsm encrypted it two renewals ago, openssl, gpgsm and NSS decrypt it."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from signetry.access.roles import Role
from signetry.administration.tokens import TokenRequest, make
from signetry.house import open_house
from tests.daemons.service import Service
from tests.signetry.archived import Identity, archive_history

ALICE = "alice@example.com"
# Of every length that padding treats differently, and of bytes that mail does not: what comes out is what went in.
LETTER = "Grüße aus dem alten Jahr\r\n".encode() * 41
_PEM_KEY = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\n", re.DOTALL)


@dataclass(frozen=True)
class Office:
    """An installation that has three of Alice's keys in its archive, and the token files of those who recover them."""

    service: Service
    history: Sequence[Identity] = field(repr=False)

    def token(self, name: str) -> tuple[str, str]:
        """Return the option that shows who acts."""
        return "--token-file", str(self.service.home / f"{name}.token")

    def recover(self, out: Path, *options: str) -> "Recovery":
        """Have Alice's whole history exported."""
        recover = ("pfx", "recover")
        reason = ("--reason", "mail of two years ago")
        asked = self.service.json(*recover, "ask", "--upn", ALICE, "--key-history", *reason, *self.token("olga"))
        number = str(asked["id"])
        self.service.signetry(*recover, "approve", number, *self.token("rita"))
        exported = self.service.json(*recover, "export", number, "--out", str(out), *options, *self.token("olga"))
        return Recovery([Path(each["file"]) for each in exported["files"]], exported["passphrase"])


@dataclass(frozen=True)
class Recovery:
    """The files of an export, and what opens them."""

    files: Sequence[Path]
    passphrase: str = field(repr=False)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """Alice's certificates end last year but one, last year, and this year; nobody has to serve for that."""
    service = Service(tmp_path_factory.mktemp("office"))
    service.init("--ca-key", "p256")
    for name in ("alice", "olga", "rita"):
        service.add_person(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNETRY_HOME", str(service.home))
        house = open_house()
        history = archive_history(house, ALICE, [rsa.generate_private_key(65537, 2048) for _ in range(3)])
        for name, role in (("olga", Role.OFFICER), ("rita", Role.RECOVERY)):
            request = TokenRequest(name, role, person=f"{name}@example.com")
            # By two administrators: one alone does not make both.
            made = house.transactions.write(lambda s: make(s, house, request, administrator=f"cli:{role}"))  # noqa: B023 - called at once
            path = service.home / f"{name}.token"
            path.touch(mode=0o600)
            path.write_text(made.text)
        house.close()
    return Office(service, history)


@pytest.fixture(scope="module")
def recovery(office: Office, tmp_path_factory: pytest.TempPathFactory) -> Recovery:
    """All keys in one file, as they are exported unless somebody asks for something else."""
    found = office.recover(tmp_path_factory.mktemp("recovery") / "alice")
    assert len(found.files) == 1
    return found


def run(*command: str, data: bytes = b"", environment: dict[str, str] | None = None, succeeds: bool = True) -> bytes:
    """Run a program; return what it wrote."""
    done = subprocess.run(
        command, input=data, env={**os.environ, **(environment or {})}, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode == 0) == succeeds, (command, done.stdout, done.stderr)
    return done.stdout


class Gpgsm:
    """A GnuPG home of its own. Passphrases come over a pipe; CRLs and the clock are no matter of this test."""

    def __init__(self, home: Path) -> None:
        self._environment = {"GNUPGHOME": str(home), "LC_ALL": "C.UTF-8"}
        self._home = home
        (home / "gpg-agent.conf").write_text("allow-loopback-pinentry\n")

    def __call__(self, *arguments: str, passphrase: str = "", succeeds: bool = True) -> bytes:
        """Run gpgsm with a passphrase on its standard input."""
        quietly = ("--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase-fd", "0")
        offline = ("--disable-dirmngr", "--disable-crl-checks")
        return run(
            "gpgsm", *quietly, *offline, *arguments, data=passphrase.encode(), environment=self._environment, succeeds=succeeds
        )

    def trust(self, certificate: x509.Certificate) -> None:
        """Have a certificate in the key ring, and trust who signed it: itself."""
        path = self._home / "certificate.der"
        path.write_bytes(certificate.public_bytes(Encoding.DER))
        self("--import", str(path))
        with (self._home / "trustlist.txt").open("a") as file:
            file.write(f"{self.fingerprint(certificate)} S relax\n")

    def fingerprint(self, certificate: x509.Certificate) -> str:
        """Return what gpgsm calls a certificate."""
        return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, no proof


@contextmanager
def gpgsm_home() -> Iterator[Gpgsm]:
    """Yield gpgsm with a home under a short path, as its sockets need, and end its agent."""
    with tempfile.TemporaryDirectory(prefix="gpgsm-") as home:
        try:
            yield Gpgsm(Path(home))
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": home}, check=False)


def encrypted_by_openssl(identity: Identity, folder: Path) -> Path:
    """Return a message as openssl encrypts it."""
    certificate, letter, message = folder / "to.pem", folder / "letter", folder / "openssl.p7m"
    certificate.write_bytes(identity.certificate.public_bytes(Encoding.PEM))
    letter.write_bytes(LETTER)
    run(
        *("openssl", "cms", "-encrypt", "-binary", "-aes-256-cbc", "-in", str(letter)),
        *("-outform", "DER", "-out", str(message), str(certificate)),
    )
    return message


def encrypted_by_gpgsm(identity: Identity, folder: Path) -> Path:
    """Return a message as gpgsm encrypted it when the certificate was in force: today it would refuse."""
    letter, message = folder / "letter", folder / "gpgsm.p7m"
    letter.write_bytes(LETTER)
    then = f"{identity.certificate.not_valid_before_utc:%Y%m%dT%H%M%S}"
    with gpgsm_home() as gpgsm:
        gpgsm.trust(identity.certificate)
        recipient = gpgsm.fingerprint(identity.certificate)
        encrypting = ("--encrypt", "--recipient", recipient, "--output", str(message), str(letter))
        gpgsm(*encrypting, succeeds=False)
        gpgsm("--faked-system-time", then, *encrypting)
    return message


@pytest.fixture(scope="module", params=[encrypted_by_openssl, encrypted_by_gpgsm], ids=["openssl", "gpgsm"])
def old_message(request: pytest.FixtureRequest, office: Office, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A message to Alice's certificate of two renewals ago."""
    made: Path = request.param(office.history[0], tmp_path_factory.mktemp("message"))
    assert LETTER[:20] not in made.read_bytes()
    return made


def test_openssl_reads_old_mail(recovery: Recovery, old_message: Path, tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(recovery.passphrase)
    opened = run("openssl", "pkcs12", "-in", str(recovery.files[0]), "-passin", f"file:{passphrase}", "-nodes")
    keys = _PEM_KEY.findall(opened)
    assert (len(keys), opened.count(b"BEGIN CERTIFICATE")) == (3, 3)
    read = []
    for number, pem in enumerate(keys):
        key = tmp_path / f"{number}.pem"
        key.write_bytes(pem)
        decrypting = ("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", str(old_message), "-inkey", str(key))
        done = subprocess.run(decrypting, capture_output=True, timeout=60, check=False)
        # With a key that is none of the recipients' openssl makes up a content key, against Bleichenbacher, and most often fails.
        read.append(done.stdout == LETTER)
    # The newest comes first.
    assert read == [False, False, True]


def test_nss_reads_old_mail(recovery: Recovery, old_message: Path, tmp_path: Path) -> None:
    database = f"sql:{tmp_path}"
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(recovery.passphrase)
    run("certutil", "-N", "-d", database, "--empty-password")
    run("pk12util", "-i", str(recovery.files[0]), "-d", database, "-w", str(passphrase))
    assert run("certutil", "-K", "-d", database).count(b"rsa") == 3
    run("cmsutil", "-D", "-d", database, "-i", str(old_message), "-o", str(tmp_path / "read"))
    assert (tmp_path / "read").read_bytes() == LETTER


def test_gpgsm_reads_old_mail(office: Office, old_message: Path, tmp_path: Path) -> None:
    """gpgsm 2.2 reads the first key of a file only, and no AES: its history comes in separate files under 3DES."""
    separate = office.recover(tmp_path / "alice", "--separate", "--encoding", "3des")
    assert len(separate.files) == 3
    with gpgsm_home() as gpgsm:
        for path in separate.files:
            gpgsm("--import", str(path), passphrase=separate.passphrase)
        gpgsm("--output", str(tmp_path / "read"), "--decrypt", str(old_message), passphrase=separate.passphrase)
    assert (tmp_path / "read").read_bytes() == LETTER


def test_the_current_key_alone_does_not_read_old_mail(office: Office, old_message: Path, tmp_path: Path) -> None:
    """What the history is for."""
    recover = ("pfx", "recover")
    asked = office.service.json(*recover, "ask", "--upn", ALICE, "--reason", "current mail", *office.token("olga"))
    assert [key["id"] for key in asked["keys"]] == [office.history[-1].archived]
    office.service.signetry(*recover, "approve", str(asked["id"]), *office.token("rita"))
    out = ("--out", str(tmp_path / "alice"))
    exported = office.service.json(*recover, "export", str(asked["id"]), *out, *office.token("olga"))
    (tmp_path / "passphrase").write_text(exported["passphrase"])
    database = f"sql:{tmp_path}"
    run("certutil", "-N", "-d", database, "--empty-password")
    run("pk12util", "-i", exported["files"][0]["file"], "-d", database, "-w", str(tmp_path / "passphrase"))
    run("cmsutil", "-D", "-d", database, "-i", str(old_message), "-o", str(tmp_path / "read"), succeeds=False)
