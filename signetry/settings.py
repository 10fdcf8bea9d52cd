"""The settings: one TOML file, overruled by ``SIGNETRY_…`` environment variables.

Secrets never stand here, only the files that hold them. docs/settings.md describes every setting for operators, and a test holds
the two together.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from pydantic_settings.sources import InitSettingsSource
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from signetry.errors import ConfigurationError

PERSON_PROFILES = ("identity", "smime-signing", "smime-encryption", "smime-dual", "mail-all-in-one")

_PREFIX = "SIGNETRY_"
_NESTED = "__"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - named in order to replace them by a name that can be dialled
_WORKERS_AT_MOST = 8
_FIRST_UNUSABLE_PORT = 65536


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("names consist of a-z, 0-9 and inner hyphens, 60 characters at most")
    return value


def _split(value: object) -> object:
    """Return the items of a comma-separated environment variable; TOML gives a list already."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


# The name of an endpoint or of an authority: it stands in URLs and file names.
Name = Annotated[str, AfterValidator(_name)]
NameList = Annotated[tuple[Name, ...], NoDecode, BeforeValidator(_split)]


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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OrganisationSettings(_Section):
    """The organisation named in sponsor-validated S/MIME subjects; empty means: mailbox-validated subjects."""

    name: str = Field(default="", max_length=64)
    # An organizationIdentifier as the S/MIME baseline requirements write it, for example VATDE-123456789.
    identifier: str = Field(default="", max_length=64)
    country: str = Field(default="", pattern=r"^([A-Z]{2})?$")


class EndpointSettings(_Section):
    """One SCEP endpoint: ``/scep/{name}``."""

    issuing_ca: Name = "issuing"
    profiles: NameList = PERSON_PROFILES
    renew_after: float = Field(default=0.66, ge=0, le=1)
    legacy: bool = False
    museum: bool = False
    reply_chain: bool = False
    subject_from_request: Annotated[tuple[Literal["OU"], ...], NoDecode, BeforeValidator(_split)] = ()


class CrlSettings(_Section):
    """How long CRLs are good for and how often they are rebuilt."""

    validity_hours: int = Field(default=24, ge=1, le=24 * 30)
    interval_minutes: int = Field(default=60, ge=1, le=24 * 60)
    root_validity_days: int = Field(default=90, ge=1, le=365)

    @model_validator(mode="after")
    def _rebuilt_before_it_ends(self) -> Self:
        if self.interval_minutes * 2 > self.validity_hours * 60:
            raise ValueError("interval_minutes must leave time for a second attempt: at most half of validity_hours")
        return self


class Settings(BaseSettings):
    """Everything an installation can decide. Build it with ``load_settings``."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter=_NESTED,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    home: Path = Path("var")
    database_url: str = ""
    database_password_file: Path | None = None
    public_listen: Listen = ListenAddress("127.0.0.1", 8080)
    device_listen: Listen = ListenAddress("127.0.0.1", 8444)
    admin_listen: Listen = ListenAddress("127.0.0.1", 8443)
    public_url: str = ""
    workers: int = Field(default_factory=lambda: min(len(os.sched_getaffinity(0)), _WORKERS_AT_MOST), ge=1, le=64)
    trusted_proxies: Annotated[
        tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...],
        NoDecode,
        BeforeValidator(_split),
    ] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    key_passphrase_file: Path = Path("secrets/key-passphrase")
    organisation: OrganisationSettings = OrganisationSettings()
    endpoints: dict[Name, EndpointSettings] = Field(default_factory=lambda: {"default": EndpointSettings()})
    crl: CrlSettings = CrlSettings()
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's shape
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base's shape
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, strongest first: arguments, environment, file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _read_file(configuration_file()))

    @field_validator("public_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (
            parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment
        ):
            raise ValueError("write it as http://host or http://host:port, without user, query and fragment")
        if not value.isascii() or any(character <= " " for character in value):
            raise ValueError("it goes into certificates: ASCII without spaces, host names in their xn-- form")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if not value:
            return value
        try:
            url = make_url(value)
        except ArgumentError:
            raise ValueError("write it as sqlite:////path or postgresql+psycopg://user@host/database") from None
        if url.password is not None:
            raise ValueError("it holds a password; put that into a file and name the file in database_password_file")
        if url.drivername not in ("sqlite", "postgresql", "postgresql+psycopg"):
            raise ValueError("the databases are sqlite and postgresql+psycopg")
        if url.drivername == "sqlite" and (not url.database or url.database == ":memory:"):
            raise ValueError("several processes share the database: name a file, sqlite:////path")
        return value

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are given together or not at all")
        return self

    @model_validator(mode="after")
    def _absolute_paths(self) -> Self:
        """Make every path absolute, so that a change of directory moves nothing: relative ones start at ``home``."""
        home = self.home.expanduser().absolute()
        paths: dict[str, Any] = {"home": home}
        for name in ("database_password_file", "tls_certificate", "tls_key", "key_passphrase_file"):
            path: Path | None = getattr(self, name)
            paths[name] = path and home / path.expanduser()
        host = self.public_listen.dialled
        paths["public_url"] = self.public_url or f"http://{host}"
        # The object is frozen for everybody else; a validator may still complete it.
        self.__dict__.update(paths)
        return self

    @cached_property
    def database(self) -> URL:
        """The database's URL, without password; for SQLite with an absolute path."""
        url = make_url(self.database_url) if self.database_url else URL.create("sqlite", database=str(self.home / "signetry.db"))
        if url.get_backend_name() == "sqlite":
            return url.set(database=str(self.home / str(url.database)))
        return url.set(drivername="postgresql+psycopg")


def configuration_file() -> Path:
    """Return where the settings file is looked for."""
    home = Path(os.environ.get(f"{_PREFIX}HOME") or "var")
    return Path(os.environ.get(f"{_PREFIX}CONFIG") or home / "signetry.toml").expanduser()


def load_settings(**overrides: object) -> Settings:
    """Read the settings; ``overrides`` win over environment and file (``None`` counts as not given).

    Raises:
        ConfigurationError: a value cannot be used, a key is unknown, or the file cannot be read.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type] # validated by the model, like everything else
    except ValidationError as error:
        raise ConfigurationError("; ".join(_explain(detail) for detail in error.errors())) from None
    except SettingsError:
        raise ConfigurationError(f"a {_PREFIX}… environment variable that stands for a section is not JSON") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get(f"{_PREFIX}CONFIG"):
            raise ConfigurationError(f"{_PREFIX}CONFIG names {path}, which does not exist") from None
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _explain(detail: ErrorDetails) -> str:
    """Return one line that names the setting and where it was given; the value stays out of it."""
    location = [str(part) for part in detail["loc"] if part != "[key]"]
    variable = _PREFIX + _NESTED.join(location).upper()
    given_by = [name for name in os.environ if location and (name.upper() + _NESTED).startswith(variable + _NESTED)]
    source = given_by[0] if given_by else str(configuration_file())
    key = ".".join(location)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, setting_names(), n=1)
        return f"{source}: unknown setting {key}" + (f" (is {near[0]} meant?)" if near else "")
    message = detail["msg"].removeprefix("Value error, ")
    return f"{source}: {key}: {message}" if key else f"{source}: {message}"


def setting_names() -> list[str]:
    """Return every setting by its dotted name; the fields of an endpoint as ``endpoints.NAME.…``."""
    names: list[str] = []
    for name, field in Settings.model_fields.items():
        section = EndpointSettings if name == "endpoints" else field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            prefix = "endpoints.NAME" if name == "endpoints" else name
            names += [f"{prefix}.{inner}" for inner in section.model_fields]
        else:
            names.append(name)
    return names
