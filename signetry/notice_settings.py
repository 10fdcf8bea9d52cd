"""The ``[notices]`` section of the settings: the mail server that mails to persons are handed to, and whose words they use."""

import ipaddress
import zoneinfo
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from notices.server import MailSecurity
from people.addresses import normalise_email
from people.errors import InvalidField
from signetry.sections import Section

_PATHS = ("password_file", "ca_file", "templates")


_PORTS = {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465, MailSecurity.NONE: 25}


class NoticeSettings(Section):
    """The mail server, and how mails look; while nothing is given, persons get none."""

    host: str = Field(default="", max_length=253, pattern=r"^[A-Za-z0-9.:-]*$")
    # 0 stands for what is usual: 587, with tls 465, with none 25.
    port: int = Field(default=0, ge=0, le=65535)
    security: MailSecurity = MailSecurity.STARTTLS
    user: str = Field(default="", max_length=320)
    password_file: Path | None = None
    ca_file: Path | None = None
    sender: str = ""
    # Who writes, in the heading and below the text.
    sender_name: str = Field(default="Signetry", min_length=1, max_length=100)
    reply_to: str = ""
    # Where to ask: it stands below every mail.
    contact: str = Field(default="", max_length=500)
    templates: Path | None = None
    time_zone: str = "UTC"
    timeout_seconds: int = Field(default=20, ge=1, le=120)
    give_up_after_hours: int = Field(default=72, ge=1, le=24 * 30)
    keep_days: int = Field(default=30, ge=1, le=3650)

    @field_validator("sender", "reply_to")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return value and normalise_email(value, field="address")
        except InvalidField as error:
            raise ValueError(f"is no mail address: {error.reason}") from None

    @field_validator("sender_name", "user")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("holds a character that cannot be printed")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("write it as the time zone database has it, Asia/Tokyo") from None
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.host) != bool(self.sender):
            raise ValueError("host and sender are given together or not at all")
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("user and password_file are given together or not at all")
        if self.security is MailSecurity.NONE and self.host and not self.is_local:
            raise ValueError("security: without TLS mails would cross the network in clear: only a loopback address may do so")
        return self

    @property
    def is_configured(self) -> bool:
        """Whether there is a mail server."""
        return bool(self.host)

    @property
    def is_local(self) -> bool:
        """Whether the server is reached by a loopback address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def server_port(self) -> int:
        """Where the server listens."""
        return self.port or _PORTS[self.security]

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        paths: dict[str, Any] = {name: path and home / path.expanduser() for name in _PATHS if (path := getattr(self, name))}
        return self.model_copy(update=paths)
