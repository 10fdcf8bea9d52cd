"""The ``[directories.NAME]`` sections of the settings: where certificates and CRLs are published, and how."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from ldap_publish.directory import DIALECTS, DirectoryKind, Missing, Policy, Security, SmimeAttribute
from ldap_publish.errors import BadTemplate
from ldap_publish.template import DnTemplate, FilterTemplate
from signetry.sections import split_list

_PORTS = {"ldap": 389, "ldaps": 636}
_BY_MAIL = "(mail={email})"
_BY_UPN = "(userPrincipalName={upn})"
# A claimed row is leased for 30 seconds: one operation must end well before.
_LONGEST_TIMEOUT = 20


class DirectorySettings(BaseModel):
    """One LDAP directory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: DirectoryKind
    url: str
    start_tls: bool = True
    ca_file: Path | None = None
    bind_dn: str = Field(min_length=1)
    password_file: Path
    search_base: str = Field(min_length=1)
    search_filter: str = ""
    publish: Policy = Policy.ENCRYPTION
    smime_attribute: SmimeAttribute = SmimeAttribute.OFF
    authority_base: str = ""
    missing: Missing = Missing.WAIT
    create_dn: str = ""
    create_classes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)] = ()
    timeout_seconds: int = Field(default=10, ge=1, le=_LONGEST_TIMEOUT)

    @field_validator("url")
    @classmethod
    def _ldap_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.port != 0
        except ValueError:
            usable = False
        if (
            not usable
            or parts.scheme not in _PORTS
            or not parts.hostname
            or parts.path.strip("/")
            or parts.query
            or parts.username
        ):
            raise ValueError("write it as ldap://host, ldap://host:port or ldaps://host, without anything behind")
        return value

    @field_validator("search_filter")
    @classmethod
    def _filter(cls, value: str) -> str:
        return value and _usable(FilterTemplate, value)

    @field_validator("create_dn")
    @classmethod
    def _dn(cls, value: str) -> str:
        return value and _usable(DnTemplate, value)

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.security is Security.NONE and not _is_loopback(str(self._parts.hostname)):
            raise ValueError("without start_tls the password would cross the network in clear: only a loopback address may do so")
        return self

    @model_validator(mode="after")
    def _creates_what_it_finds(self) -> Self:
        if (self.missing is Missing.CREATE) != bool(self.create_dn):
            raise ValueError('create_dn goes with missing = "create", and with nothing else')
        if (
            self.create_dn
            and self.kind is DirectoryKind.ACTIVE_DIRECTORY
            and not self.create_classes
            and self.filter.text == _BY_UPN
        ):
            raise ValueError(f"a contact has no userPrincipalName and would not be found again: set search_filter to {_BY_MAIL}")
        return self

    @property
    def security(self) -> Security:
        """How the connection is protected."""
        if self._parts.scheme == "ldaps":
            return Security.LDAPS
        return Security.START_TLS if self.start_tls else Security.NONE

    @property
    def host(self) -> str:
        """The server's name or address, an IPv6 one without brackets."""
        return str(self._parts.hostname)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._parts.port or _PORTS[self._parts.scheme]

    @property
    def filter(self) -> FilterTemplate:
        """The search filter, or the kind's own."""
        default = _BY_UPN if self.kind is DirectoryKind.ACTIVE_DIRECTORY else _BY_MAIL
        return FilterTemplate(self.search_filter or default)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of an entry made for a person."""
        return self.create_classes or (DIALECTS[self.kind].person_class,)

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        paths: dict[str, Any] = {"password_file": home / self.password_file.expanduser()}
        if self.ca_file is not None:
            paths["ca_file"] = home / self.ca_file.expanduser()
        return self.model_copy(update=paths)

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)


def _usable(template: type[FilterTemplate | DnTemplate], value: str) -> str:
    try:
        return template(value).text
    except BadTemplate as error:
        raise ValueError(str(error)) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
