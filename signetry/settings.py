"""The settings: one TOML file, overruled by ``SIGNETRY_…`` environment variables.

Secrets never stand here, only the files that hold them. docs/settings.md describes every setting for operators, and a test holds
the two together.
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
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

from scep.endpoint import ChallengeKind
from signetry.archive_settings import ArchiveSettings
from signetry.directory_settings import DirectorySettings
from signetry.endpoint_settings import EndpointSettings
from signetry.errors import ConfigurationError
from signetry.intune_settings import IntuneSettings
from signetry.notice_settings import NoticeSettings
from signetry.sections import (
    CrlSettings,
    Listen,
    ListenAddress,
    Name,
    OrganisationSettings,
    Pkcs11Settings,
    split_list,
)

_PREFIX = "SIGNETRY_"
_NESTED = "__"
_WORKERS_AT_MOST = 8
# Of which there may be several, each under its own name.
_NAMED_SECTIONS: dict[str, type[BaseModel]] = {"endpoints": EndpointSettings, "directories": DirectorySettings}


def _is_plain_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        usable = parts.port != 0
    except ValueError:
        # A port that is no port, or a bracket without its other half.
        return False
    return (
        usable
        and parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and not (parts.username or parts.query or parts.fragment)
    )


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
    device_url: str = ""
    workers: int = Field(default_factory=lambda: min(len(os.sched_getaffinity(0)), _WORKERS_AT_MOST), ge=1, le=64)
    trusted_proxies: Annotated[
        tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...],
        NoDecode,
        BeforeValidator(split_list),
    ] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    hsts_max_age: int = Field(default=31_536_000, ge=0, le=10 * 31_536_000)
    key_passphrase_file: Path = Path("secrets/key-passphrase")
    pkcs11: Pkcs11Settings = Pkcs11Settings()
    organisation: OrganisationSettings = OrganisationSettings()
    endpoints: dict[Name, EndpointSettings] = Field(default_factory=lambda: {"default": EndpointSettings()})
    certsrv_endpoint: str = ""
    intune: IntuneSettings = IntuneSettings()
    archive: ArchiveSettings = ArchiveSettings()
    notices: NoticeSettings = NoticeSettings()
    crl: CrlSettings = CrlSettings()
    directories: dict[Name, DirectorySettings] = Field(default_factory=dict)
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
        if value and not _is_plain_url(value):
            raise ValueError("write it as http://host or http://host:port, without user, query and fragment")
        if not value.isascii() or any(character <= " " for character in value):
            raise ValueError("it goes into certificates: ASCII without spaces, host names in their xn-- form")
        return value.rstrip("/")

    @field_validator("device_url")
    @classmethod
    def _plain_https_url(cls, value: str) -> str:
        if value and not (_is_plain_url(value) and urlsplit(value).scheme == "https" and value.isascii()):
            raise ValueError("write it as https://host or https://host:port, in ASCII, without user, query and fragment")
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
    def _one_certsrv(self) -> Self:
        """Settle which endpoint the paths of NDES mean: the one that is named, else the only one whose policy is ndes."""
        candidates = [name for name, endpoint in self.endpoints.items() if endpoint.challenge is ChallengeKind.NDES]
        if self.certsrv_endpoint and self.certsrv_endpoint not in self.endpoints:
            raise ValueError(f"certsrv_endpoint: there is no endpoint {self.certsrv_endpoint}")
        if not self.certsrv_endpoint and len(candidates) > 1:
            raise ValueError(f"certsrv_endpoint: say which of {', '.join(candidates)} the paths under /certsrv mean")
        self.__dict__["certsrv_endpoint"] = self.certsrv_endpoint or (candidates[0] if candidates else "default")
        return self

    @model_validator(mode="after")
    def _endpoints_for_intune(self) -> Self:
        for name, endpoint in self.endpoints.items():
            if endpoint.challenge is not ChallengeKind.INTUNE:
                continue
            if not self.intune.is_configured:
                raise ValueError(f"endpoints.{name}.challenge: intune needs the section intune")
            if len(set(endpoint.profiles)) != 1:
                raise ValueError(f"endpoints.{name}.profiles: an endpoint for Intune issues one; make an endpoint for each")
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
        paths["device_url"] = self.device_url or f"https://{self._device_host}"
        paths["pkcs11"] = self.pkcs11.within(home)
        paths["intune"] = self.intune.within(home)
        paths["archive"] = self.archive.within(home)
        paths["notices"] = self.notices.within(home)
        paths["endpoints"] = {name: endpoint.within(home) for name, endpoint in self.endpoints.items()}
        paths["directories"] = {name: directory.within(home) for name, directory in self.directories.items()}
        # The object is frozen for everybody else; a validator may still complete it.
        self.__dict__.update(paths)
        return self

    @property
    def _device_host(self) -> str:
        """``host:port`` of the device listener: by the name of the public one, where that has been given one."""
        name = urlsplit(self.public_url).hostname
        return str(ListenAddress(name, self.device_listen.port)) if name else self.device_listen.dialled

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


def given_variables() -> dict[str, str]:
    """Return the environment variables that decide something here, by name."""
    decisive = {"config", *Settings.model_fields}
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX).lower().split(_NESTED)[0] in decisive
    }


def load_settings(**overrides: object) -> Settings:
    """Read the settings; ``overrides`` win over environment and file (``None`` counts as not given).

    Raises:
        ConfigurationError: a value cannot be used, a key is unknown, or the file cannot be read.
    """
    if os.environ.get(f"{_PREFIX}CONFIG") and not configuration_file().exists():
        raise ConfigurationError(f"{_PREFIX}CONFIG names {configuration_file()}, which does not exist")
    return load_first_settings(**overrides)


def load_first_settings(**overrides: object) -> Settings:
    """Read the settings for an installation that is being made: the file that SIGNETRY_CONFIG names need not exist yet.

    Raises:
        ConfigurationError: as ``load_settings``.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type] # validated by the model, like everything else
    except ValidationError as error:
        raise ConfigurationError("; ".join(dict.fromkeys(_explain(detail) for detail in error.errors()))) from None
    except SettingsError:
        raise ConfigurationError(f"a {_PREFIX}… environment variable that stands for a section is not JSON") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _explain(detail: ErrorDetails) -> str:
    """Return one line that names the setting and where it was given; the value stays out of it."""
    location = [str(part) for part in _within_settings(detail["loc"])]
    variable = _PREFIX + _NESTED.join(location).upper()
    given_by = [name for name in os.environ if location and (name.upper() + _NESTED).startswith(variable + _NESTED)]
    source = given_by[0] if given_by else str(configuration_file())
    key = ".".join(location)
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, setting_names(), n=1)
        return f"{source}: unknown setting {key}" + (f" (is {near[0]} meant?)" if near else "")
    message = detail["msg"].removeprefix("Value error, ")
    return f"{source}: {key}: {message}" if key else f"{source}: {message}"


def _within_settings(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """Yield the parts that name a setting: neither the place in a list nor what pydantic calls the types it tried."""
    for part in location:
        if isinstance(part, int):
            return
        if part != "[key]":
            yield part


def setting_names() -> list[str]:
    """Return every setting by its dotted name; the fields of endpoints and directories as ``endpoints.NAME.…``."""
    return list(_names_in(Settings, ""))


def _names_in(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if not prefix and name in _NAMED_SECTIONS:
            yield from _names_in(_NAMED_SECTIONS[name], f"{name}.NAME.")
            continue
        kinds = get_args(field.annotation) if NoneType in get_args(field.annotation) else (field.annotation,)
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None:
            yield prefix + name
        else:
            yield from _names_in(inner, f"{prefix}{name}.")
