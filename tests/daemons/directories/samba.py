"""Samba as an Active Directory domain controller: a real AD schema and its rules, in a temporary folder.

Its ports are fixed (389, 636, 88), so every domain controller has a loopback address of its own; it must run as root.
"""

import os
import random
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tests.daemons.directories import changes
from tests.daemons.directories.directory import PASSWORD, Account, Directory
from tests.daemons.directories.tls import ServerTls, TestAuthority

REALM = "CORP.EXAMPLE.COM"
SUFFIX = "DC=corp,DC=example,DC=com"
# schemaIDGUID of userCertificate, userSMIMECertificate and contact ([MS-ADA3], [MS-ADSC]).
_USER_CERTIFICATE = "bf967a7f-0de6-11d0-a285-00aa003049e2"
_USER_SMIME_CERTIFICATE = "e16a9db2-403c-11d1-a9c0-0000f80367c1"
_CONTACT = "5cb41ed0-0e4c-11d0-a286-00aa003049e2"


def free_address() -> str:
    """Return a loopback address that hardly anybody else uses."""
    choice = random.SystemRandom()
    return f"127.{choice.randint(1, 254)}.{choice.randint(1, 254)}.{choice.randint(2, 254)}"


class Samba(Directory):
    """A domain controller of a domain of its own."""

    kind: ClassVar[str] = "ad"
    administrator = Account(f"CN=Administrator,CN=Users,{SUFFIX}")
    writer = Account(f"CN=signetry,CN=Users,{SUFFIX}")
    reader = Account(f"CN=reader,CN=Users,{SUFFIX}")
    people_base = f"OU=people,{SUFFIX}"
    authorities_base = f"CN=authorities,{SUFFIX}"
    # Authorities and distribution points are children of containers only, as under CN=Public Key Services.
    authorities_folder: ClassVar[str] = "cn"

    def __init__(self, folder: Path, tls: ServerTls, address: str) -> None:
        super().__init__(folder, tls, host=address, port=389, tls_port=636)
        if os.geteuid() != 0:
            raise PermissionError("Samba's domain controller runs as root only; so must the tests that need it")

    def provision(self) -> None:
        """Make the domain and its accounts, with the server not running yet."""
        (self.folder / "run").mkdir()
        options = {"interfaces": f"{self.host}/8", "bind interfaces only": "yes"}
        self._samba_tool(
            "domain",
            "provision",
            f"--realm={REALM}",
            "--domain=CORP",
            f"--adminpass={PASSWORD}",
            "--server-role=dc",
            f"--targetdir={self.folder}/dc",
            "--dns-backend=NONE",
            f"--host-ip={self.host}",
            *(f"--option={name}={value}" for name, value in options.items()),
        )
        local = ["-H", f"{self.folder}/dc/private/sam.ldb", "-s", f"{self.folder}/dc/etc/smb.conf"]
        for account in ("signetry", "reader"):
            self._samba_tool("user", "create", account, PASSWORD, *local)

    def _samba_tool(self, *arguments: str) -> str:
        done = subprocess.run(["samba-tool", *arguments], capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def command(self) -> Sequence[str | Path]:
        """Return the command line: LDAP and Kerberos only, in the foreground, its audit log beside it."""
        options = {
            "server services": "ldap,kdc",
            "tls keyfile": self.tls.key,
            "tls certfile": self.tls.certificate,
            "tls cafile": self.tls.ca,
            # Its own, or a second domain controller on the machine would not start.
            "pid directory": self.folder / "run",
            "ncalrpc dir": self.folder / "run" / "ncalrpc",
            "log file": self.folder / "samba.log",
            "max log size": 0,
            "log level": f"1 dsdb_json_audit:5@{self.folder}/audit.log",
        }
        given = [f"--option={name}={value}" for name, value in options.items()]
        return ["samba", "-F", "--no-process-group", "-M", "single", "-s", self.folder / "dc" / "etc" / "smb.conf", *given]

    @property
    def administrator_url(self) -> str:
        """Over TLS: a domain controller takes no simple bind without."""
        return self.tls_url

    def changes(self) -> list[changes.Change]:
        """Read the audit log."""
        log = self.folder / "audit.log"
        return changes.from_samba_json(log.read_text()) if log.exists() else []

    def person_ldif(self, name: str, mail: str) -> str:
        """A user without userPrincipalName, which is one in the whole forest: tests share it, and their persons' names."""
        return f"objectClass: user\ncn: {name}\nmail: {mail}\n"

    def furnish(self) -> None:
        """Add the folders and the rights on them."""
        self.modify(f"dn: {self.people_base}\nobjectClass: organizationalUnit\n")
        self.modify(f"dn: {self.authorities_base}\nobjectClass: container\n")
        sid = self.sid(self.writer.dn)
        write = "".join(f"(OA;CI;WP;{attribute};;{sid})" for attribute in (_USER_CERTIFICATE, _USER_SMIME_CERTIFICATE))
        self._grant(self.people_base, f"{write}(OA;CI;CC;{_CONTACT};;{sid})")
        self._grant(self.authorities_base, f"(A;CI;CCWPLCRPRC;;;{sid})")

    def _grant(self, dn: str, sddl: str) -> None:
        local = ["-H", f"{self.folder}/dc/private/sam.ldb", "-s", f"{self.folder}/dc/etc/smb.conf"]
        self._samba_tool("dsacl", "set", "--action=allow", f"--objectdn={dn}", f"--sddl={sddl}", *local)

    def sid(self, dn: str) -> str:
        """Return the security identifier of an account as text ([MS-DTYP] 2.4.2)."""
        (binary,) = self.values(dn, "objectSid")
        authority = int.from_bytes(binary[2:8], "big")
        parts = [int.from_bytes(binary[at : at + 4], "little") for at in range(8, len(binary), 4)]
        return "-".join(["S", str(binary[0]), str(authority), *map(str, parts)])


@contextmanager
def running_samba(folder: Path, authority: TestAuthority) -> Iterator[Samba]:
    """Make a domain and run its controller while the block runs."""
    address = free_address()
    server = Samba(folder, authority.issue("samba", address), address)
    server.provision()
    server.start()
    try:
        server.furnish()
        yield server
    finally:
        server.stop()
