"""The sections of the settings and the kinds of values in them; ``signetry.settings`` puts them together."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from ca.profiles import DEVICE_PROFILES, PERSON_PROFILES

_ENROLLABLE = (*PERSON_PROFILES, *DEVICE_PROFILES)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
# ETSI EN 319 412-1 section 5.1.4 with the subdivision that the S/MIME baseline requirements allow (section 7.1.4.2.2).
_ORGANISATION_IDENTIFIER = re.compile(r"[A-Z]{3}[A-Z]{2}(?:\+[A-Z0-9]{1,3})?-\S.*")
_COUNTRY = re.compile(r"[A-Z]{2}")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - named in order to replace them by a name that can be dialled
_FIRST_UNUSABLE_PORT = 65536


def is_name(value: str) -> bool:
    """Say whether an endpoint or an authority can be called so."""
    return _NAME.fullmatch(value) is not None


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError("names consist of a-z, 0-9 and inner hyphens, 60 characters at most")
    return value


def split_list(value: object) -> object:
    """Return the items of a comma-separated environment variable; TOML gives a list already."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _enrollable(value: str) -> str:
    """Return the name of a profile that may be had by enrolment; those of the service itself may not."""
    if value not in _ENROLLABLE:
        raise ValueError(f"the profiles are {', '.join(_ENROLLABLE)}")
    return value


# The name of an endpoint or of an authority: it stands in URLs and file names.
Name = Annotated[str, AfterValidator(_name)]
ProfileList = Annotated[tuple[Annotated[str, AfterValidator(_enrollable)], ...], NoDecode, BeforeValidator(split_list)]


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a listener is bound; port 0 leaves the choice to the system."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the address written ``host:port``, an IPv6 host in brackets."""
        if isinstance(text, cls):
            return text
        host, colon, port = str(text).rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) >= _FIRST_UNUSABLE_PORT:
            raise ValueError("write it as host:port, for example 127.0.0.1:8080 or [::1]:8080")
        if bracketed != (":" in host):
            raise ValueError("an IPv6 address stands in brackets, for example [::1]:8080")
        return cls(host, int(port))

    @property
    def dialled(self) -> str:
        """``host:port`` as a client on this machine would dial it."""
        host = "localhost" if self.host in _WILDCARDS else self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Listen = Annotated[ListenAddress, NoDecode, BeforeValidator(ListenAddress.parse)]


class Section(BaseModel):
    """A section: what it does not know is an error, and nothing in it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OrganisationSettings(Section):
    """The organisation named in sponsor-validated S/MIME subjects; empty means: mailbox-validated subjects."""

    name: str = Field(default="", max_length=64)
    # An organizationIdentifier as the S/MIME baseline requirements write it, for example VATDE-123456789.
    identifier: str = Field(default="", max_length=64)
    country: str = ""

    @field_validator("identifier")
    @classmethod
    def _identifier(cls, value: str) -> str:
        if value and not _ORGANISATION_IDENTIFIER.fullmatch(value):
            raise ValueError("write scheme, country and number, for example VATDE-123456789 or NTRUS+CA-C0806592")
        return value

    @field_validator("country")
    @classmethod
    def _country(cls, value: str) -> str:
        if value and not _COUNTRY.fullmatch(value):
            raise ValueError("write two capital letters, for example DE or JP")
        return value


class Pkcs11Settings(Section):
    """The token that keeps the authorities' keys; while nothing is given, they are kept in files."""

    module: Path | None = None
    # As CK_TOKEN_INFO has it (PKCS #11 v2.40 section 3.3).
    token: str = Field(default="", max_length=32)
    pin_file: Path | None = None

    @property
    def is_configured(self) -> bool:
        """Whether the keys are in a token."""
        return self.module is not None

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        given = {"module": self.module, "pin_file": self.pin_file}
        return self.model_copy(update={name: path and home / path.expanduser() for name, path in given.items()})

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        if len({bool(self.module), bool(self.token), bool(self.pin_file)}) > 1:
            raise ValueError("module, token and pin_file are given together or not at all")
        return self


class CrlSettings(Section):
    """How long CRLs are good for and how often they are rebuilt."""

    validity_hours: int = Field(default=24, ge=1, le=24 * 30)
    interval_minutes: int = Field(default=60, ge=1, le=24 * 60)
    root_validity_days: int = Field(default=90, ge=1, le=365)

    @model_validator(mode="after")
    def _rebuilt_before_it_ends(self) -> Self:
        if self.interval_minutes * 2 > self.validity_hours * 60:
            raise ValueError("interval_minutes must leave time for a second attempt: at most half of validity_hours")
        return self
