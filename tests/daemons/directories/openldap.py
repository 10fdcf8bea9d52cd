"""OpenLDAP's slapd in a temporary folder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from benchmarks.running import free_port
from tests.daemons.directories import changes
from tests.daemons.directories.directory import PASSWORD, Account, Directory
from tests.daemons.directories.tls import ServerTls

SUFFIX = "dc=example,dc=com"
SCHEMAS = ("core", "cosine", "inetorgperson")
_PUBLISHED = "userCertificate,userSMIMECertificate"
_GIB = 1 << 30

_CONFIGURATION = """
{includes}
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload auditlog
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
loglevel none
{tls}
database mdb
suffix {suffix}
rootdn cn=admin,{suffix}
rootpw {password}
directory {folder}/data
maxsize {size}
{durability}
index objectClass,mail,cn eq
access to attrs=userPassword by anonymous auth
access to dn.subtree=ou=people,{suffix} attrs={published} by dn.exact={writer} write by * read
access to dn.subtree=ou=people,{suffix} attrs=entry,children by dn.exact={writer} write by * read
access to dn.subtree=ou=people,{suffix} by dn.exact={writer} add by * read
access to dn.subtree=ou=authorities,{suffix} by dn.exact={writer} write by * read
access to * by * read
{audit}
"""


class OpenLdap(Directory):
    """A slapd. Without ``start_tls`` it knows no TLS at all; ``durable`` makes it wait for the disk as it does by default."""

    kind: ClassVar[str] = "openldap"
    administrator = Account(f"cn=admin,{SUFFIX}")
    writer = Account(f"cn=signetry,ou=services,{SUFFIX}")
    reader = Account(f"cn=reader,ou=services,{SUFFIX}")
    people_base = f"ou=people,{SUFFIX}"
    authorities_base = f"ou=authorities,{SUFFIX}"

    def __init__(
        self,
        folder: Path,
        tls: ServerTls,
        *,
        schemas: Sequence[str] = SCHEMAS,
        start_tls: bool = True,
        durable: bool = False,
        audited: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__(folder, tls, host=host, port=free_port(), tls_port=free_port())
        self._start_tls = start_tls
        self._has_persons = "inetorgperson" in schemas
        published = _PUBLISHED if self._has_persons else "userCertificate"
        tls_lines = f"TLSCACertificateFile {tls.ca}\nTLSCertificateFile {tls.certificate}\nTLSCertificateKeyFile {tls.key}"
        configuration = _CONFIGURATION.format(
            includes="\n".join(f"include /etc/ldap/schema/{schema}.schema" for schema in schemas),
            folder=folder,
            tls=tls_lines if start_tls else "",
            suffix=SUFFIX,
            password=PASSWORD,
            size=_GIB,
            durability="" if durable else "dbnosync",
            writer=self.writer.dn,
            published=published,
            audit=f"overlay auditlog\nauditlog {folder}/audit.ldif" if audited else "",
        )
        (folder / "data").mkdir()
        (folder / "slapd.conf").write_text(configuration)

    def command(self) -> Sequence[str | Path]:
        """Return the command line: in the foreground, with no debugging output."""
        listeners = f"{self.url} {self.tls_url}" if self._start_tls else self.url
        return ["slapd", "-h", listeners, "-f", self.folder / "slapd.conf", "-d", "0"]

    def changes(self) -> list[changes.Change]:
        """Read the auditlog overlay's file."""
        log = self.folder / "audit.ldif"
        return changes.from_ldif(log.read_text()) if log.exists() else []

    def person_ldif(self, name: str, mail: str) -> str:
        """An inetOrgPerson; without that schema, a person that may hold anything the server knows."""
        classes = "objectClass: inetOrgPerson\n" if self._has_persons else "objectClass: person\nobjectClass: extensibleObject\n"
        return f"{classes}cn: {name}\nsn: {name}\nmail: {mail}\n"

    def furnish(self) -> None:
        """Add the suffix, its folders and the accounts."""
        account = f"objectClass: organizationalRole\nobjectClass: simpleSecurityObject\nuserPassword: {PASSWORD}\n"
        units = "\n".join(
            f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\n" for unit in ("people", "authorities", "services")
        )
        accounts = "\n".join(f"dn: {dn}\n{account}" for dn in (self.writer.dn, self.reader.dn))
        self.modify(f"dn: {SUFFIX}\nobjectClass: organization\nobjectClass: dcObject\no: Example\n\n{units}\n{accounts}")


@contextmanager
def running_openldap(
    folder: Path,
    tls: ServerTls,
    *,
    schemas: Sequence[str] = SCHEMAS,
    start_tls: bool = True,
    durable: bool = False,
    audited: bool = True,
    host: str = "127.0.0.1",
) -> Iterator[OpenLdap]:
    """Run a slapd while the block runs."""
    server = OpenLdap(folder, tls, schemas=schemas, start_tls=start_tls, durable=durable, audited=audited, host=host)
    server.start()
    try:
        server.furnish()
        yield server
    finally:
        server.stop()
