"""What a directory is to us: how it is configured, how its kind differs from others, and what can be done with it.

Sources: RFC 4511 (operations), RFC 4523 (attributes and classes of certificates), RFC 4528 (assertion); what each kind of server
really takes: facts/ldap.md.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from ldap_publish.template import DnTemplate, FilterTemplate


class DirectoryKind(StrEnum):
    """The servers whose ways are known."""

    OPENLDAP = "openldap"
    DS389 = "389ds"
    ACTIVE_DIRECTORY = "ad"


class Security(StrEnum):
    """How the connection is protected."""

    LDAPS = "ldaps"
    START_TLS = "start-tls"
    # To an address of this very machine only.
    NONE = "none"


class Policy(StrEnum):
    """Which certificates of a person are published."""

    ENCRYPTION = "encryption"
    ALL = "all"


class SmimeAttribute(StrEnum):
    """What userSMIMECertificate holds (facts/ldap.md, last section)."""

    OFF = "off"
    CERTS_ONLY = "certs-only"
    SIGNED = "signed"


class Missing(StrEnum):
    """What becomes of a person who has no entry."""

    WAIT = "wait"
    CREATE = "create"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of server wants things written.

    Attributes:
        user_certificate, user_smime, ca_certificate, crl: the attributes, with the option that the kind demands.
        person_class: the class of an entry made for a person.
        authority_classes: the classes of an entry made for an authority.
        version: the operational attribute that changes with every change of an entry, where an attribute must be replaced.
        replaced: attributes of which no single value can be deleted.
        single: attributes that hold one value at a time.
        placeholders: what attributes hold that must not be empty, and are.
        largest: how many bytes a value may have, None where that is the server's own configuration.
    """

    user_certificate: str
    user_smime: str
    ca_certificate: str
    crl: str
    person_class: str
    authority_classes: tuple[str, ...]
    version: str | None = None
    replaced: frozenset[str] = frozenset()
    single: frozenset[str] = frozenset()
    placeholders: Mapping[str, bytes] = field(default_factory=dict)
    largest: int | None = None


DIALECTS: Mapping[DirectoryKind, Dialect] = MappingProxyType(
    {
        # Two attributes have no equality rule in OpenLDAP's schema: to one that has a value none can be added, and no single
        # value can be deleted (error 18). userSMIMECertificate takes no option there, the others none without (error 17). A
        # value of 16.6 MB went in, one of 16.9 MB dropped the connection.
        DirectoryKind.OPENLDAP: Dialect(
            user_certificate="userCertificate;binary",
            user_smime="userSMIMECertificate",
            ca_certificate="cACertificate;binary",
            crl="certificateRevocationList;binary",
            person_class="inetOrgPerson",
            authority_classes=("cRLDistributionPoint", "pkiCA"),
            version="entryCSN",
            replaced=frozenset({"userSMIMECertificate", "certificateRevocationList;binary"}),
            largest=16_000_000,
        ),
        # Its limit, nsslapd-maxbersize, is 2 MiB unless configured otherwise.
        DirectoryKind.DS389: Dialect(
            user_certificate="userCertificate;binary",
            user_smime="userSMIMECertificate;binary",
            ca_certificate="cACertificate;binary",
            crl="certificateRevocationList;binary",
            person_class="inetOrgPerson",
            authority_classes=("top", "cRLDistributionPoint", "pkiCA"),
        ),
        DirectoryKind.ACTIVE_DIRECTORY: Dialect(
            user_certificate="userCertificate",
            user_smime="userSMIMECertificate",
            ca_certificate="cACertificate",
            crl="certificateRevocationList",
            person_class="contact",
            # Its class demands all three attributes from the beginning; a zero byte is what Microsoft's own tools put into those
            # that are empty. The CRL is one value, below the schema's rangeUpper (10 MiB), as much as a request may have in all.
            authority_classes=("certificationAuthority",),
            single=frozenset({"certificateRevocationList"}),
            placeholders=MappingProxyType(
                dict.fromkeys(("cACertificate", "certificateRevocationList", "authorityRevocationList"), b"\x00")
            ),
            largest=10_000_000,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a directory is and how it is logged on to.

    ``password`` is asked for at each log-on, so that a changed one is followed.
    """

    host: str
    port: int
    security: Security
    bind_dn: str
    password: Callable[[], str] = field(repr=False, compare=False)
    ca_file: Path | None = None
    # Of one wait for the server: to connect, to shake hands, for each part of an answer.
    timeout_seconds: int = 10

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ldaps' if self.security is Security.LDAPS else 'ldap'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A configured directory. ``authority_base`` is empty where no authorities are published; ``create_dn`` only for CREATE."""

    name: str
    kind: DirectoryKind
    server: Server
    search_base: str
    search_filter: FilterTemplate
    publish: Policy = Policy.ENCRYPTION
    smime_attribute: SmimeAttribute = SmimeAttribute.OFF
    authority_base: str = ""
    missing: Missing = Missing.WAIT
    create_dn: DnTemplate | None = None
    create_classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.missing is Missing.CREATE) != (self.create_dn is not None):
            raise ValueError("create_dn goes with missing = create, and with nothing else")

    @property
    def dialect(self) -> Dialect:
        """How this kind of server wants things written."""
        return DIALECTS[self.kind]

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides what is published where: when it changes, everything is owed again."""
        decisive = [
            str(self.server),
            self.kind,
            self.search_base,
            self.search_filter.text,
            self.publish,
            self.smime_attribute,
            self.authority_base,
            self.missing,
            self.create_dn.text if self.create_dn else "",
            *self.create_classes,
        ]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was read: the attributes that were asked for, under their descriptions in lower case, options included."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]

    def values(self, attribute: str) -> tuple[bytes, ...]:
        """Return the values of an attribute under this very description."""
        return self.attributes.get(attribute.lower(), ())


class ChangeKind(StrEnum):
    """What one change does to an attribute (RFC 4511 section 4.6)."""

    ADD = "add"
    DELETE = "delete"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an entry; a REPLACE by nothing removes the attribute."""

    kind: ChangeKind
    attribute: str
    values: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Assertion:
    """A condition on the entry, checked by the server in the same step as the change (RFC 4528): an attribute has this value."""

    attribute: str
    value: bytes


class DirectoryClient(Protocol):
    """A connection to a directory. Every operation ends within the configured time.

    Every operation raises:
        DirectoryUnavailable: the directory cannot be used now.
        EntryRefused: the server refuses this operation on this entry; what the classes below it mean is said there.
    """

    def find(self, base: str, search_filter: str, attributes: Sequence[str]) -> list[Entry]:
        """Return the entries below ``base`` that the filter (RFC 4515) matches: none, one, or enough to see that it is not."""
        ...

    def read(self, dn: str, attributes: Sequence[str]) -> Entry | None:
        """Return one entry, None where there is none of this name."""
        ...

    def add(self, dn: str, classes: Sequence[str], attributes: Mapping[str, Sequence[bytes]]) -> None:
        """Add an entry. Raises EntryExists, and EntryMissing where there is nothing to add it under."""
        ...

    def modify(self, dn: str, changes: Sequence[Change], assertion: Assertion | None = None) -> None:
        """Make all the changes of an entry, or none of them.

        Raises:
            EntryChanged: ``assertion`` does not hold any more.
            ValueThereAlready, ValueNotThere, EntryMissing: as they say.
        """
        ...

    def close(self) -> None:
        """Hang up. The next operation connects again."""
        ...
