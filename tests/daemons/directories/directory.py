"""What the directories of the tests share: a process that stops and comes back, an administrator's eyes, a site for each test.

The administrator works through OpenLDAP's command-line tools, so that what a test sees does not depend on the client under test.
"""

import base64
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.daemons.directories.changes import Change
from tests.daemons.directories.tls import ServerTls

_START_SECONDS = 60
_STOP_SECONDS = 30
PASSWORD = "Passw0rd-of-the-tests"
# The classes of folders, by their naming attribute.
FOLDERS = {"ou": "organizationalUnit", "cn": "container"}
_NO_SUCH_OBJECT = 32


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who binds to a directory; every account of the tests has the same password."""

    dn: str


class Directory(ABC):
    """A directory server in ``folder``, listening on ``host`` alone; its data outlives ``stop`` and ``kill``.

    ``writer`` may write what is published below ``people_base`` and ``authorities_base`` and nothing else, ``reader`` may only
    read, ``administrator`` may do everything.
    """

    kind: ClassVar[str]
    administrator: Account
    writer: Account
    reader: Account
    people_base: str
    authorities_base: str
    # The naming attribute of what authorities are kept in.
    authorities_folder: ClassVar[str] = "ou"

    def __init__(self, folder: Path, tls: ServerTls, *, host: str, port: int, tls_port: int) -> None:
        self.folder = folder
        self.tls = tls
        self.host = host
        self.port = port
        self.tls_port = tls_port
        self.password_file = folder / "password"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(PASSWORD)

    @property
    def url(self) -> str:
        """Where it listens, with StartTLS on offer."""
        return f"ldap://{self._authority}:{self.port}"

    @property
    def tls_url(self) -> str:
        """Where it listens for TLS from the first byte."""
        return f"ldaps://{self._authority}:{self.tls_port}"

    @property
    def _authority(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def log(self) -> str:
        """What the server has written to its standard output and error."""
        return (self.folder / "server.log").read_text(errors="replace")

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return what runs the server in the foreground."""

    @abstractmethod
    def changes(self) -> list[Change]:
        """Return what was changed in the directory so far, in order, from the server's own audit log."""

    @abstractmethod
    def person_ldif(self, name: str, mail: str) -> str:
        """Return what makes an entry a person with an address, below its ``dn`` line."""

    def start(self) -> None:
        """Start the server, and return once it answers."""
        with (self.folder / "server.log").open("ab") as log:
            # It ends with the tests, however those end.
            command = ["setpriv", "--pdeathsig", "SIGKILL", *self.command()]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers():
                return
            time.sleep(0.05)
        status = self._process.poll()
        self.kill()
        raise RuntimeError(f"{self.kind} did not start (status {status}):\n{self.log[-3000:]}")

    def _answers(self) -> bool:
        ask = ["ldapsearch", "-x", "-o", "nettimeout=2", "-H", self.url, "-b", "", "-s", "base", "1.1"]
        return subprocess.run(ask, capture_output=True, check=False, env=self._environment()).returncode == 0

    def stop(self) -> None:
        """Stop it in the orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop it as a power failure would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def modify(self, ldif: str) -> None:
        """Apply LDIF as administrator; a record without ``changetype`` is an addition."""
        done = self.tool("ldapmodify", "-a", text=ldif)
        assert done.returncode == 0, f"{done.stderr}\n{ldif}"

    def values(self, dn: str, attribute: str) -> list[bytes]:
        """Return the values of an attribute, whatever its option, in the server's order; none where the entry is missing."""
        done = self.tool("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", dn, "-s", "base", "(objectClass=*)", attribute)
        assert done.returncode in {0, _NO_SUCH_OBJECT}, done.stderr
        return [value for name, value in _ldif_lines(done.stdout) if name.split(";")[0].lower() == attribute.lower()]

    def entries(self, base: str, search: str = "(objectClass=*)") -> list[str]:
        """Return the DNs of the entries below ``base`` that meet a filter."""
        done = self.tool("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", base, "-s", "sub", search, "1.1")
        assert done.returncode in {0, _NO_SUCH_OBJECT}, done.stderr
        return [value.decode() for name, value in _ldif_lines(done.stdout) if name == "dn"]

    def tool(self, tool: str, *arguments: str, text: str = "", dn: str = "") -> subprocess.CompletedProcess[str]:
        """Run one of OpenLDAP's tools as the administrator, or as the account ``dn``."""
        command = [
            tool,
            "-x",
            "-H",
            self.administrator_url,
            "-D",
            dn or self.administrator.dn,
            "-y",
            str(self.password_file),
            *arguments,
        ]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=60, env=self._environment()
        )

    @property
    def administrator_url(self) -> str:
        """Where the administrator binds."""
        return self.url

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LDAPTLS_CACERT": str(self.tls.ca), "LDAPTLS_REQCERT": "demand"}

    def site(self, name: str) -> "Site":
        """Make the two folders of one test's own: for its persons and for its authorities."""
        site = Site(self, f"ou={name},{self.people_base}", f"{self.authorities_folder}={name},{self.authorities_base}")
        self.modify(f"dn: {site.people}\nobjectClass: organizationalUnit\n")
        self.modify(f"dn: {site.authorities}\nobjectClass: {FOLDERS[self.authorities_folder]}\n")
        return site


@dataclass(frozen=True, slots=True)
class Site:
    """A part of a directory that one test has to itself."""

    directory: Directory
    people: str
    authorities: str

    def settings(self, name: str = "main", *, tls: str = "starttls", **overrides: str | bool) -> str:
        """Return the section of signetry.toml by which the service publishes here, as the account with limited rights."""
        section: dict[str, str | bool] = {
            "kind": self.directory.kind,
            "url": self.directory.tls_url if tls == "ldaps" else self.directory.url,
            "ca_file": str(self.directory.tls.ca),
            "bind_dn": self.directory.writer.dn,
            "password_file": str(self.directory.password_file),
            "search_base": self.people,
            "search_filter": "(mail={email})",
            "authority_base": self.authorities,
            **overrides,
        }
        lines = [f"{key} = {str(value).lower() if isinstance(value, bool) else _toml(value)}" for key, value in section.items()]
        return "\n".join([f"\n[directories.{name}]", *lines, ""])

    def dn(self, name: str) -> str:
        """Return the DN of the entry that ``add_person`` makes for ``name``."""
        return f"cn={name},{self.people}"

    def add_person(self, name: str = "alice", mail: str | None = None) -> str:
        """Add a person and return the DN."""
        self.directory.modify(f"dn: {self.dn(name)}\n{self.directory.person_ldif(name, mail or f'{name}@example.com')}")
        return self.dn(name)

    def add_people(self, names: Iterable[str]) -> None:
        """Add many persons at once."""
        persons = {name: self.directory.person_ldif(name, f"{name}@example.com") for name in names}
        self.directory.modify("\n".join(f"dn: {self.dn(name)}\n{ldif}" for name, ldif in persons.items()))

    def add_values(self, dn: str, attribute: str, values: Iterable[bytes]) -> None:
        """Add values as administrator: somebody else's, as far as the service is concerned."""
        encoded = "".join(f"{attribute}:: {base64.b64encode(value).decode()}\n" for value in values)
        self.directory.modify(f"dn: {dn}\nchangetype: modify\nadd: {attribute}\n{encoded}")

    def everybodys_certificates(self) -> dict[str, list[bytes]]:
        """Return what stands in the ``userCertificate`` of every person of the site, by DN in lower case."""
        done = self.directory.tool(
            "ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", self.people, "(objectClass=person)", "userCertificate"
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, list[bytes]] = {}
        values: list[bytes] = []
        for name, value in _ldif_lines(done.stdout):
            if name == "dn":
                values = found.setdefault(value.decode().lower(), [])
            elif name.split(";")[0].lower() == "usercertificate":
                values.append(value)
        return found

    def replace_values(self, dn: str, attribute: str, values: Iterable[bytes]) -> None:
        """Replace an attribute's values as administrator."""
        encoded = "".join(f"{attribute}:: {base64.b64encode(value).decode()}\n" for value in values)
        self.directory.modify(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{encoded}")

    def certificates(self, name: str = "alice") -> list[bytes]:
        """Return what stands in a person's ``userCertificate``."""
        return self.directory.values(self.dn(name), "userCertificate")

    def changes(self) -> list[Change]:
        """Return what was changed in this site so far, in order."""
        bases = (self.people.lower(), self.authorities.lower())
        return [change for change in self.directory.changes() if change.dn.lower().endswith(bases)]


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _ldif_lines(ldif: str) -> Iterable[tuple[str, bytes]]:
    for line in ldif.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            yield name, base64.b64decode(value[1:]) if value.startswith(":") else value.strip().encode()
