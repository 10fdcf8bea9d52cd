"""The ``[intune]`` section of the settings: the tenant that the endpoints of policy ``intune`` belong to."""

from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from intune.imported_pfx import PaddingScheme
from signetry.sections import Section

_PATHS = (
    "client_secret_file",
    "client_certificate_file",
    "client_key_file",
    "connector_key_file",
    "ca_file",
    "proxy_password_file",
)


def _https(value: str) -> str:
    if not _is_plain(value, ("https",)):
        raise ValueError("write it as https://host, without user, path, query and fragment")
    return value


def _proxy(value: str) -> str:
    if value and not _is_plain(value, ("http", "https")):
        raise ValueError("write it as http://host:port; its user and password have settings of their own")
    return value


def _is_plain(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        usable = parts.port != 0
    except ValueError:
        return False
    surplus = parts.username or parts.path.strip("/") or parts.query or parts.fragment
    return usable and parts.scheme in schemes and bool(parts.hostname) and not surplus


HttpsUrl = Annotated[str, AfterValidator(_https)]


class IntuneSettings(Section):
    """A tenant with Microsoft Intune, and the app registration there; while nothing is given, there is none."""

    tenant_id: str = Field(default="", max_length=255, pattern=r"^[A-Za-z0-9.-]*$")
    client_id: str = Field(default="", max_length=100, pattern=r"^[A-Za-z0-9-]*$")
    client_secret_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    # Intune's administrator reads it beside each certificate.
    caller_info: str = Field(default="", max_length=100)
    login_url: HttpsUrl = "https://login.microsoftonline.com"
    graph_url: HttpsUrl = "https://graph.microsoft.com"
    resource_url: HttpsUrl = "https://api.manage.microsoft.com/"
    ca_file: Path | None = None
    proxy: Annotated[str, AfterValidator(_proxy)] = ""
    proxy_user: str = Field(default="", max_length=100)
    proxy_password_file: Path | None = None
    # A phone waits half a minute, and two questions are asked while it does.
    timeout_seconds: int = Field(default=20, ge=2, le=60)
    # The key that the certificate connector opens passphrases of imported PKCS #12 with: its public half, and where it has it.
    connector_key_file: Path | None = None
    connector_padding: PaddingScheme = PaddingScheme.OAEP_SHA512
    connector_key_name: str = Field(default="", max_length=256)
    connector_provider: str = Field(default="Microsoft Software Key Storage Provider", min_length=1, max_length=256)

    @property
    def is_configured(self) -> bool:
        """Whether there is a tenant."""
        return bool(self.tenant_id)

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        paths: dict[str, Any] = {name: path and home / path.expanduser() for name in _PATHS if (path := getattr(self, name))}
        return self.model_copy(update=paths)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        by_certificate = (self.client_certificate_file is not None, self.client_key_file is not None)
        if any(by_certificate) != all(by_certificate):
            raise ValueError("client_certificate_file and client_key_file are given together or not at all")
        if all(by_certificate) and self.client_secret_file is not None:
            raise ValueError("give a secret or a certificate, not both")
        has_credential = self.client_secret_file is not None or all(by_certificate)
        if len({bool(self.tenant_id), bool(self.client_id), has_credential}) > 1:
            raise ValueError("tenant_id, client_id and a secret, or a certificate with its key, are given together or not at all")
        return self

    @model_validator(mode="after")
    def _named_key(self) -> Self:
        if (self.connector_key_file is None) != (not self.connector_key_name):
            raise ValueError("connector_key_file and connector_key_name are given together or not at all")
        if self.connector_key_name and not self.tenant_id:
            raise ValueError("connector_key_file goes with tenant_id")
        return self

    @model_validator(mode="after")
    def _whose_password(self) -> Self:
        if bool(self.proxy_user) != (self.proxy_password_file is not None):
            raise ValueError("proxy_user and proxy_password_file are given together or not at all")
        if self.proxy_user and not self.proxy:
            raise ValueError("proxy_user goes with proxy")
        return self
