"""``/endpoints``: the SCEP endpoints, as the settings have them."""

from typing import Annotated

from pydantic import Field

from scep.endpoint import Endpoint
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
            "renew_after": 0.66,
            "legacy": False,
            "museum": False,
            "reply_chain": False,
            "subject_from_request": [],
        }
    )

    name: str
    url: Annotated[str, Field(description="Where clients reach it without TLS; the device listener serves the same path.")]
    issuing_ca: str
    profiles: list[str]
    renew_after: Annotated[float, Field(description="The part of a certificate's validity after which it may be renewed.")]
    legacy: Annotated[bool, Field(description="Whether SHA-1 and triple DES are accepted.")]
    museum: Annotated[bool, Field(description="Whether single DES is accepted.")]
    reply_chain: Annotated[bool, Field(description="Whether answers carry the issuer beside the certificate.")]
    subject_from_request: list[str]


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
        renew_after=endpoint.renew_after,
        legacy=endpoint.legacy,
        museum=endpoint.museum,
        reply_chain=endpoint.reply_chain,
        subject_from_request=sorted(endpoint.subject_from_request),
    )
