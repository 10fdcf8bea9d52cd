"""389 Directory Server in a temporary folder, made by hand: ``dscreate`` wants systemd's folders, ns-slapd does not."""

import getpass
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from benchmarks.running import free_port
from tests.daemons.directories import changes
from tests.daemons.directories.directory import PASSWORD, Account, Directory
from tests.daemons.directories.tls import ServerTls

SUFFIX = "dc=example,dc=com"
_TEMPLATES = Path("/usr/share/dirsrv/data")
_CONFIG = Path("/etc/dirsrv/config")
_NICKNAME = "Server-Cert"

_BACKEND = f"""
dn: cn=userRoot,cn=ldbm database,cn=plugins,cn=config
objectclass: top
objectclass: extensibleObject
objectclass: nsBackendInstance
nsslapd-suffix: {SUFFIX}
cn: userRoot

dn: cn="{SUFFIX}",cn=mapping tree,cn=config
objectclass: top
objectclass: extensibleObject
objectclass: nsMappingTree
cn: {SUFFIX}
nsslapd-state: backend
nsslapd-backend: userRoot
"""


class Ds389(Directory):
    """An ns-slapd with one backend."""

    kind: ClassVar[str] = "389ds"
    administrator = Account("cn=Directory Manager")
    writer = Account(f"cn=signetry,ou=services,{SUFFIX}")
    reader = Account(f"cn=reader,ou=services,{SUFFIX}")
    people_base = f"ou=people,{SUFFIX}"
    authorities_base = f"ou=authorities,{SUFFIX}"

    def __init__(self, folder: Path, tls: ServerTls) -> None:
        super().__init__(folder, tls, host="127.0.0.1", port=free_port(), tls_port=free_port())
        for name in ("etc", "etc/schema", "bak", "db", "inst", "ldif", "lock", "log", "run", "tmp"):
            (folder / name).mkdir()
        for name in ("certmap.conf", "slapd-collations.conf"):
            (folder / "etc" / name).write_bytes((_CONFIG / name).read_bytes())
        # The schema itself is read from where the package has it; the server wants this file for what is added to it.
        (folder / "etc" / "schema" / "99user.ldif").write_text("dn: cn=schema\nobjectclass: top\ncn: schema\n")
        (folder / "etc" / "dse.ldif").write_text(self._configuration())
        self._import_tls()

    def _configuration(self) -> str:
        places = {
            **{f"{name}_dir": f"{self.folder}/{name}" for name in ("bak", "db", "inst", "ldif", "lock", "log", "run", "tmp")},
            **dict.fromkeys(("cert_dir", "config_dir"), f"{self.folder}/etc"),
            "schema_dir": f"{self.folder}/etc/schema",
            "db_home_dir": f"{self.folder}/db",
            "db_lib": "bdb",
            "ds_user": getpass.getuser(),
            "ds_port": str(self.port),
            "ds_passwd": f"{{clear}}{PASSWORD}",
            "ds_suffix": SUFFIX,
            "fqdn": self.host,
            "rootdn": self.administrator.dn,
            "ldapi": f"{self.folder}/run/ldapi.socket",
            "ldapi_enabled": "off",
            "ldapi_autobind": "off",
        }
        text = re.sub(r"%([a-z_]+)%", lambda found: places[found[1]], (_TEMPLATES / "template-dse.ldif").read_text())
        extra = (
            f"nsslapd-listenhost: {self.host}\nnsslapd-securelistenhost: {self.host}\nnsslapd-security: on\n"
            f"nsslapd-securePort: {self.tls_port}\nnsslapd-auditlog-logging-enabled: on\n"
            "nsslapd-accesslog-logging-enabled: off\n"
        )
        text = text.replace("objectclass:nsslapdConfig\n", f"objectclass:nsslapdConfig\n{extra}", 1)
        return f"{text.rstrip()}\n{_BACKEND}"

    def _import_tls(self) -> None:
        store, bundle = f"{self.folder}/etc", f"{self.folder}/server.p12"
        files = ["-in", str(self.tls.certificate), "-inkey", str(self.tls.key), "-out", bundle]
        for command in (
            ["openssl", "pkcs12", "-export", "-name", _NICKNAME, "-passout", "pass:", *files],
            ["certutil", "-N", "-d", store, "--empty-password"],
            ["certutil", "-A", "-d", store, "-n", "ca", "-t", "CT,,", "-a", "-i", str(self.tls.ca)],
            ["pk12util", "-i", bundle, "-d", store, "-W", "", "-K", ""],
        ):
            subprocess.run(command, check=True, capture_output=True)

    def command(self) -> Sequence[str | Path]:
        """Return the command line; ``-d 0`` keeps the server in the foreground."""
        return ["ns-slapd", "-D", self.folder / "etc", "-i", self.folder / "run" / "pid", "-d", "0"]

    def changes(self) -> list[changes.Change]:
        """Read the audit log, which the server writes with a second's delay at most."""
        return changes.from_ldif((self.folder / "log" / "audit").read_text())

    def person_ldif(self, name: str, mail: str) -> str:
        """An inetOrgPerson."""
        return f"objectClass: inetOrgPerson\ncn: {name}\nsn: {name}\nmail: {mail}\n"

    def furnish(self) -> None:
        """Add the suffix, its folders, the accounts and their rights."""
        read = '(targetattr="*")(version 3.0; acl "read"; allow (read, search, compare) userdn="ldap:///anyone";)'
        write = f'(version 3.0; acl "publish"; allow ({{}}) userdn="ldap:///{self.writer.dn}";)'
        published = '(targetattr="userCertificate || userSMIMECertificate")'
        people = f'aci: {published}{write.format("write")}\naci: (targetattr="*"){write.format("add")}\n'
        authorities = f'aci: (targetattr="*"){write.format("all")}\n'
        units = [("people", people), ("authorities", authorities), ("services", "")]
        account = f"objectClass: organizationalRole\nobjectClass: simpleSecurityObject\nuserPassword: {PASSWORD}\n"
        self.modify(
            f"dn: {SUFFIX}\nobjectClass: domain\naci: {read}\n\n"
            + "".join(f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\n{aci}\n" for unit, aci in units)
            + "".join(f"dn: {dn}\n{account}\n" for dn in (self.writer.dn, self.reader.dn))
        )


@contextmanager
def running_ds389(folder: Path, tls: ServerTls) -> Iterator[Ds389]:
    """Run a 389 DS while the block runs."""
    server = Ds389(folder, tls)
    server.start()
    try:
        server.furnish()
        yield server
    finally:
        server.stop()
