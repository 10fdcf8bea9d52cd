"""``/endpoints``: the SCEP endpoints, as the settings have them."""

from typing import Annotated

from pydantic import Field

from scep.endpoint import ChallengeKind, Endpoint
from signetry.access.roles import Permission
from signetry.administration.reach import EVERYTHING
from signetry.api.context import Here
from signetry.api.fields import EndpointName
from signetry.api.models import Shown, with_examples
from signetry.api.paging import InPages, Page
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/endpoints", "Endpoints")


class EndpointShown(Shown):
    """A SCEP endpoint."""

    model_config = with_examples(
        {
            "name": "default",
            "url": "http://pki.example.com/scep/default",
            "issuing_ca": "issuing",
            "profiles": ["identity"],
            "challenge": "one-time",
            "renew_after": 0.66,
            "legacy": False,
            "museum": False,
            "reply_chain": False,
            "subject_from_request": [],
            "requests_per_minute": 0,
            "certificates_per_day": 0,
            "waiting_at_most": 1000,
            "waiting_per_address": 50,
        }
    )

    name: str
    url: Annotated[str, Field(description="Where clients reach it without TLS; the device listener serves the same path.")]
    issuing_ca: str
    profiles: list[str]
    challenge: Annotated[ChallengeKind, Field(description="The challenge policy: who decides what a request may have.")]
    renew_after: Annotated[float, Field(description="The part of a certificate's validity after which it may be renewed.")]
    legacy: Annotated[bool, Field(description="Whether SHA-1 and triple DES are accepted.")]
    museum: Annotated[bool, Field(description="Whether single DES is accepted.")]
    reply_chain: Annotated[bool, Field(description="Whether answers carry the issuer beside the certificate.")]
    subject_from_request: list[str]
    requests_per_minute: Annotated[int, Field(description="How many messages one address may send; 0 does not limit.")]
    certificates_per_day: Annotated[int, Field(description="How many certificates one person may have; 0 does not limit.")]
    waiting_at_most: Annotated[int, Field(description="How many requests may wait for a decision.")]
    waiting_per_address: Annotated[int, Field(description="How many of these may come from one address.")]


@routes.get("")
def list_all(_caller: Annotated[Caller, requires(Permission.READ_ENDPOINTS)], here: Here, paging: InPages) -> Page[EndpointShown]:
    """List the SCEP endpoints in the order of their names."""
    (after,) = paging.after(str) or ("",)
    found = [endpoint for name, endpoint in sorted(here.house.endpoints.items()) if name > after]
    return paging.page(found[: paging.one_more], lambda endpoint: (endpoint.name,), lambda endpoint: _shown(here, endpoint))


@routes.get("/{endpoint}")
def show(endpoint: EndpointName, _caller: Annotated[Caller, requires(Permission.READ_ENDPOINTS)], here: Here) -> EndpointShown:
    """Show a SCEP endpoint."""
    return _shown(here, EVERYTHING.endpoint(here.house, endpoint))


def _shown(here: Here, endpoint: Endpoint) -> EndpointShown:
    return EndpointShown(
        name=endpoint.name,
        url=f"{here.house.settings.public_url}/scep/{endpoint.name}",
        issuing_ca=endpoint.issuing_ca,
        profiles=sorted(endpoint.profiles),
        challenge=endpoint.challenge,
        renew_after=endpoint.renew_after,
        legacy=endpoint.legacy,
        museum=endpoint.museum,
        reply_chain=endpoint.reply_chain,
        subject_from_request=sorted(endpoint.subject_from_request),
        requests_per_minute=endpoint.limits.requests_per_minute,
        certificates_per_day=endpoint.limits.certificates_per_day,
        waiting_at_most=endpoint.limits.waiting_at_most,
        waiting_per_address=endpoint.limits.waiting_per_address,
    )
