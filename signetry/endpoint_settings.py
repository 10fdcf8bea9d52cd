"""The ``[endpoints.NAME]`` sections of the settings: SCEP endpoints, and whom each of them lets in (design.md section 5)."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from ca.hierarchy import ROOT
from ca.profiles import DEVICE_PROFILES, PERSON_PROFILES
from scep.endpoint import ChallengeKind
from signetry.policy_settings import NdesSettings, StaticSettings, WebhookSettings
from signetry.sections import Name, ProfileList, Section, split_list

# Those with settings of their own; those of ndes all have a default.
_WITH_TABLE = (ChallengeKind.STATIC, ChallengeKind.WEBHOOK, ChallengeKind.NDES)


class EndpointSettings(Section):
    """One SCEP endpoint: ``/scep/{name}``."""

    issuing_ca: Name = "issuing"
    profiles: ProfileList = PERSON_PROFILES
    challenge: ChallengeKind = ChallengeKind.ONE_TIME
    renew_after: float = Field(default=0.66, ge=0, le=1)
    legacy: bool = False
    museum: bool = False
    reply_chain: bool = False
    subject_from_request: Annotated[tuple[Literal["OU"], ...], NoDecode, BeforeValidator(split_list)] = ()
    requests_per_minute: int = Field(default=0, ge=0, le=100_000)
    certificates_per_day: int = Field(default=0, ge=0, le=1000)
    waiting_at_most: int = Field(default=1000, ge=1, le=100_000)
    waiting_per_address: int = Field(default=50, ge=1, le=100_000)
    static: StaticSettings | None = None
    webhook: WebhookSettings | None = None
    ndes: NdesSettings | None = None

    @field_validator("issuing_ca")
    @classmethod
    def _no_root(cls, value: str) -> str:
        if value == ROOT:
            raise ValueError("the root certifies authorities, not persons or devices; name an issuing CA")
        return value

    @model_validator(mode="after")
    def _tables_of_the_policy(self) -> Self:
        for kind in _WITH_TABLE:
            table = getattr(self, kind)
            if table is not None and self.challenge != kind:
                raise ValueError(f'its table {kind} goes with challenge = "{kind}", which is "{self.challenge}" here')
            if table is None and self.challenge == kind and kind is not ChallengeKind.NDES:
                raise ValueError(f'challenge = "{kind}" needs a table {kind}')
        if self.challenge is ChallengeKind.STATIC and self.profiles != DEVICE_PROFILES:
            raise ValueError('a secret that many share says nothing of a person: static goes with profiles = ["device"] only')
        return self

    def within(self, home: Path) -> Self:
        """Return these settings with their paths absolute: relative ones start at ``home``."""
        tables: dict[str, Any] = {}
        if self.static is not None:
            tables["static"] = self.static.within(home)
        if self.webhook is not None:
            tables["webhook"] = self.webhook.within(home)
        return self.model_copy(update=tables)
