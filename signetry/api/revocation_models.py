"""What requests to revoke say, and what they are told."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from ca.revocation import RevocationReason, RevokedCertificate
from signetry.administration.revocation import RevocationOrder, outcome_of
from signetry.api.fields import Moment, Reason, Serial, Which, Who
from signetry.api.models import Asked, Shown, with_examples

_MANY = 1000
_SERIAL = "4f02a3c1d5e6f708192a3b4c5d6e7f80"
_CHANGED = {
    "serial": _SERIAL,
    "outcome": "revoked",
    "reason": "superseded",
    "revoked_at": "2026-06-01T12:00:00Z",
    "invalidity_date": None,
    "profile": "identity",
    "subject": "CN=Taro Yamada",
}

InvaliditySince = Annotated[Moment | None, Field(description="Since when the key is not to be trusted.")]


class RevocationAsked(Asked):
    """Why to revoke, and since when the key is not to be trusted."""

    model_config = with_examples({"reason": "superseded"})

    reason: Annotated[Reason, Field(description="Why, by its name in RFC 5280.")] = RevocationReason.UNSPECIFIED
    invalidity_date: InvaliditySince = None

    @property
    def order(self) -> RevocationOrder:
        """Why, and since when."""
        return RevocationOrder(RevocationReason(self.reason), self.invalidity_date)


class RevocationOfSerials(RevocationAsked):
    """Certificates to revoke by their serial numbers, all or none."""

    model_config = with_examples({"serials": [_SERIAL], "reason": "keyCompromise"})

    serials: Annotated[
        list[Serial],
        Field(min_length=1, max_length=_MANY, description="Their serial numbers."),
    ]


class RevocationOfPerson(RevocationAsked):
    """All certificates of a person to revoke, or those of theirs on one device."""

    model_config = with_examples({"person": "taro@corp.example.com", "reason": "affiliationChanged"})

    person: Who
    device: Which | None = None


class RevocationOfDevice(RevocationAsked):
    """All certificates on a device to revoke."""

    model_config = with_examples({"device": "taro-iphone", "reason": "keyCompromise"})

    device: Which


class Changed(Shown):
    """What an act did to a certificate."""

    model_config = with_examples(_CHANGED)

    serial: str
    outcome: Literal["revoked", "held", "released", "unchanged"]
    reason: str | None
    revoked_at: datetime | None
    invalidity_date: datetime | None
    profile: str
    subject: str

    @classmethod
    def of(cls, state: RevokedCertificate) -> Self:
        """Return how the outcome of an act is shown."""
        return cls.model_validate(
            {
                "serial": state.serial,
                "outcome": outcome_of(state),
                "reason": state.reason and str(state.reason),
                "revoked_at": state.revoked_at,
                "invalidity_date": state.invalidity_date,
                "profile": state.profile,
                "subject": state.subject,
            }
        )


class Changes(Shown):
    """What an act did to certificates."""

    model_config = with_examples({"items": [_CHANGED]})

    items: list[Changed]
