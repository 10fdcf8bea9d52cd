"""The REST API: a FastAPI application under ``/api/v1`` of the administrative listener.

How a resource is added: a module here makes its router with ``routing.router("/things", "Things")``. Each handler is a plain
function that takes ``caller: Annotated[Caller, requires(Permission.X)]`` exactly once, reads through ``here: Here`` (context.py)
or writes through ``caller.house``, lists with ``InPages`` (paging.py), creates with ``Once`` (idempotency.py), and takes and
returns the models of ``models.py``: ``Asked`` for bodies, ``Shown`` for answers, each ``with_examples``. The router then stands
in ``ROUTERS``. Errors of the six categories are raised, never shaped: ``problems.py`` does that.
"""

import re
from functools import partial

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from signetry.api import (
    archive,
    archived_keys,
    audit_events,
    authorities,
    certificates,
    challenges,
    crls,
    deliveries,
    devices,
    directories,
    docs,
    doctor,
    endpoints,
    groups,
    imports,
    intune,
    key_making,
    notices,
    openapi,
    persons,
    problems,
    recoveries,
    requests,
    revocations,
    rollovers,
    tokens,
    whoami,
)
from signetry.api.context import Context
from signetry.api.security import NotingUse
from signetry.house import House

PREFIX = "/api/v1"

ROUTERS: tuple[APIRouter, ...] = (
    persons.routes,
    groups.routes,
    devices.routes,
    challenges.routes,
    requests.routes,
    certificates.routes,
    archive.routes,
    archived_keys.routes,
    key_making.routes,
    deliveries.routes,
    intune.routes,
    recoveries.routes,
    revocations.routes,
    imports.routes,
    authorities.routes,
    rollovers.routes,
    crls.routes,
    directories.routes,
    notices.routes,
    endpoints.routes,
    audit_events.routes,
    doctor.routes,
    tokens.routes,
    whoami.routes,
)


def api_app(house: House) -> FastAPI:
    """Return the application over ``house``, to be mounted at ``PREFIX``; what it does not know, it answers with a problem.

    Raises:
        TypeError: a route does not ask who calls.
    """
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.context = Context(house)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.state.routes = [route for _, route in openapi.routes_of(app)]
    return app


def api_routes(house: House) -> list[BaseRoute]:
    """Return what the administrative listener serves under ``/api``."""
    app = api_app(house)
    mounted = Mount(PREFIX, app=NotingUse(app, Context(house)))
    # As it comes it does not match a path with a line feed in it, and somebody else would answer.
    mounted.path_regex = re.compile(mounted.path_regex.pattern, re.DOTALL)
    return [*docs.routes(partial(openapi.document, app, PREFIX)), mounted]


def _operation_id(route: APIRoute) -> str:
    resource = route.path.split("/")[1]
    return f"{resource}-{route.name}".replace("_", "-")
