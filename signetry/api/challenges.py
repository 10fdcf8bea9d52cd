"""``/challenges``: minting one-time challenges for SCEP enrolment."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Response
from pydantic import Field
from sqlmodel import Session

from scep.challenge import MAX_COUNT, MAX_LIFETIME
from signetry.access.roles import Permission
from signetry.administration.challenges import ChallengeRequest, mint
from signetry.api.fields import Profile, Which, Who
from signetry.api.idempotency import Once
from signetry.api.models import WHOLE, Asked, Shown, with_examples
from signetry.api.reaching import reach_of
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/challenges", "Challenges")


class ChallengesAsked(Asked):
    """What challenges to mint: a person's, and for profile `device` a device's."""

    model_config = with_examples(
        {"person": "taro@corp.example.com"},
        {"person": "taro@corp.example.com", "device": "taro-iphone", "profile": "smime-dual", "lifetime_seconds": 900},
    )

    endpoint: Annotated[str, Field(min_length=1, max_length=60, description="The SCEP endpoint it may be used at.")] = "default"
    person: Who | None = None
    device: Which | None = None
    profile: Annotated[Profile, Field(description="The certificate profile it obtains.")] = "identity"
    count: Annotated[int, Field(ge=1, le=MAX_COUNT), WHOLE] = 1
    lifetime_seconds: Annotated[int, Field(ge=1, le=int(MAX_LIFETIME.total_seconds())), WHOLE] = 3600


class ChallengesShown(Shown):
    """Challenges just minted."""

    model_config = with_examples(
        {
            "challenges": ["ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"],
            "endpoint": "default",
            "profile": "identity",
            "person": "taro@corp.example.com",
            "device": None,
            "expires_at": "2026-06-01T13:00:00Z",
        }
    )

    challenges: list[str] = Field(repr=False, description="The challenges. They are shown now and never again.")
    endpoint: str
    profile: str
    person: Annotated[str | None, Field(description="The UPN of whom they are for.")]
    device: Annotated[str | None, Field(description="The name of the device they are for.")]
    expires_at: datetime


@routes.post("", status_code=201, response_model=ChallengesShown)
def create(asked: ChallengesAsked, caller: Annotated[Caller, requires(Permission.MINT_CHALLENGES)], once: Once) -> Response:
    """Mint one-time challenges. They are shown in this answer and never again.

    A token of role `mdm` mints for its endpoints, profiles and the members of its group.
    """
    request = ChallengeRequest(
        endpoint=asked.endpoint,
        profile=asked.profile,
        person=asked.person or "",
        device=asked.device or "",
        count=asked.count,
        lifetime=timedelta(seconds=asked.lifetime_seconds),
    )

    def act(session: Session) -> ChallengesShown:
        return ChallengesShown.model_validate(mint(session, caller.house, request, reach_of(caller)))

    return once.answer(act)
