"""What a challenge policy needs at an endpoint: the tables ``[endpoints.NAME.static]``, ``….webhook`` and ``….ndes``."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode

from people.addresses import normalise_dns_name
from people.errors import InvalidField
from scep.policies.constraints import LONGEST_PATTERN
from signetry.sections import Section, split_list

# A thread of the few that answer at remote endpoints waits so long at most.
_LONGEST_TIMEOUT = 30


def _domain(value: str) -> str:
    try:
        return normalise_dns_name(value)
    except InvalidField:
        raise ValueError("write domains as corp.example.com, without a dot or a star in front") from None


def _uri_prefix(value: str) -> str:
    # A prefix that ended within a name would let in whatever begins alike: https://mdm.example.com also begins …example.com.evil.
    if not value.isascii() or ":" not in value or not value.endswith(("/", ":")):
        raise ValueError("write the beginning of URIs up to a slash or a colon: urn:uuid: or https://mdm.example.com/devices/")
    return value


DomainList = Annotated[tuple[Annotated[str, AfterValidator(_domain)], ...], NoDecode, BeforeValidator(split_list)]
UriPrefixList = Annotated[tuple[Annotated[str, AfterValidator(_uri_prefix)], ...], NoDecode, BeforeValidator(split_list)]


class StaticSettings(Section):
    """A secret that all devices of an endpoint share, and what they may call themselves."""

    secret_file: Path
    subject_pattern: str = Field(min_length=1, max_length=LONGEST_PATTERN)
    dns_suffixes: DomainList = ()

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        return self.model_copy(update={"secret_file": home / self.secret_file.expanduser()})


class WebhookSettings(Section):
    """A service of the organisation's own that decides, and what names it may give."""

    url: str
    secret_file: Path
    ca_file: Path | None = None
    timeout_seconds: int = Field(default=10, ge=1, le=_LONGEST_TIMEOUT)
    domains: DomainList = ()
    dns_suffixes: DomainList = ()
    uri_prefixes: UriPrefixList = ()

    @field_validator("url")
    @classmethod
    def _protected(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.port != 0 and bool(parts.hostname) and not (parts.username or parts.fragment)
        except ValueError:
            usable = False
        if not usable or parts.scheme not in ("http", "https") or not value.isascii():
            raise ValueError("write it as https://host/path, without user and fragment")
        if parts.scheme == "http" and not is_loopback_address(str(parts.hostname)):
            raise ValueError("challenges would cross the network in clear: http:// goes to a loopback address (127.0.0.1) only")
        return value

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS protects what is asked."""
        return self.url.startswith("https:")

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        paths: dict[str, Any] = {"secret_file": home / self.secret_file.expanduser()}
        if self.ca_file is not None:
            paths["ca_file"] = home / self.ca_file.expanduser()
        return self.model_copy(update=paths)


class NdesSettings(Section):
    """The page that hands out one-time passwords as NDES does."""

    password_minutes: int = Field(default=60, ge=1, le=24 * 60)
    passwords_at_most: int = Field(default=5, ge=1, le=1000)


def is_loopback_address(host: str) -> bool:
    """Say whether ``host`` is an IP address of this very machine; a name may come to mean another one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
