"""The processes, put together in one place: ``web_parts`` is what a web process serves, ``jobs`` what the worker does."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from starlette.types import Scope

from ca import hierarchy
from ca.keys import FileKeyStore
from crl import http as crl_http
from crl import publication
from foundation.errors import SignetryError, Unavailable
from scep import http as scep_http
from scep import pending_sweep
from scep.enrolment import Enroller
from scep.responder import Responder
from scep.retrieval import Retrieval
from signetry import deliveries, intune, ndes, pfx_making, policies, tls
from signetry.access import answers
from signetry.administration import crls
from signetry.app import ReadinessCheck, WebParts
from signetry.house import House
from signetry.instruments import Instruments
from signetry.jobs import Job

# Threads of a web process that work on enrolments. One that waits for its commit leaves its processor to the others; more than a
# few only take turns at the interpreter: with 4 the rate was three tenths above that with 16 (docs/performance.md).
SCEP_THREADS = 4
# Where somebody is asked over a network: they wait, each for seconds perhaps. Made only as they are needed.
REMOTE_THREADS = 16
# The service's own TLS certificate is renewed a month before its end.
_TLS_LOOKED_AT_EVERY = timedelta(hours=1)
# They are kept for a day; nobody counts on the hour.
_ANSWERS_SWEPT_EVERY = timedelta(hours=1)
# They wait for days, and count as gone as soon as their time is up.
_REQUESTS_SWEPT_EVERY = timedelta(hours=1)


def web_parts(house: House) -> WebParts:
    """Return what a web process serves over ``house``, which must share commits (``grouped``)."""
    # Here and not above: FastAPI and Prometheus' library take as long to import as all the rest, and no command needs them.
    from signetry.api.app import api_routes  # noqa: PLC0415
    from signetry.metrics.http import metrics_routes  # noqa: PLC0415

    executor = ThreadPoolExecutor(SCEP_THREADS, thread_name_prefix="scep")
    remote = ThreadPoolExecutor(REMOTE_THREADS, thread_name_prefix="scep-remote")
    configured = policies.policies(house)
    enroller = Enroller(
        house.transactions,
        house.clock,
        policies=configured,
        organisation=house.organisation,
        listeners=house.issuance_listeners,
    )
    responder = Responder(
        house.endpoints,
        house.authorities.endpoint_keys,
        enroller,
        house.transactions,
        retrieval=Retrieval(house.transactions, house.authorities.issuers, partial(crls.newest_within, house)),
        observer=house.instruments.scep,
    )
    direct = scep_http.ScepApplication(
        responder, executor, remote=remote, certsrv=house.settings.certsrv_endpoint, at_once=_answers_at_once(house)
    )
    scep = scep_http.routes(direct)

    def stop() -> None:
        executor.shutdown()
        remote.shutdown()
        policies.close(configured)
        house.close()

    return WebParts(
        public_routes=[*scep, *crl_http.routes(house.transactions, house.clock)],
        admin_routes=[*api_routes(house), *metrics_routes(house)],
        device_routes=[*ndes.routes(house), *deliveries.routes(house), *scep],
        direct=direct,
        readiness=[
            ReadinessCheck("database", house.database.check_schema),
            ReadinessCheck("keys", partial(_check_keys, house)),
            ReadinessCheck("crl", partial(_check_crls, house)),
        ],
        start=partial(_load_keys, house),
        stop=stop,
        observer=partial(_observe, house.instruments),
    )


def _answers_at_once(house: House) -> bool:
    """Say whether an enrolment waits for nothing here but its commit: no database over a network, no keys in a token.

    Reading from SQLite is a look into the page cache, whatever the disk is busy with.
    """
    return house.database.is_embedded and isinstance(house.keystore, FileKeyStore)


def _observe(instruments: Instruments, listener: str, status: int, scope: Scope) -> None:
    """Tell of a response; of one of the API's also who asked, as ``signetry.api.security`` found out."""
    instruments.response(listener, status)
    if listener == "admin" and scope.get("path", "").startswith("/api/v1/"):
        caller = scope.get("signetry.caller")
        instruments.api_request("none" if caller is None else caller.role, status)


def jobs(house: House) -> list[Job]:
    """Return what the worker does over ``house``."""
    return [
        Job("crl", run=lambda: len(house.publish_crls()), next_due=publication.next_due),
        Job("ra-keys", run=house.renew_ra_keys, next_due=house.next_look_at_ra_keys),
        Job("tls", run=lambda: tls.renew(house.settings, house.clock), every=_TLS_LOOKED_AT_EVERY),
        *house.directories.jobs(),
        *house.notices.jobs(),
        intune.withheld_job(house),
        deliveries.expiry_job(house),
        pfx_making.renewal_job(house),
        pfx_making.holds_job(house),
        Job("stored-answers", run=partial(answers.sweep, house.transactions, house.clock), every=_ANSWERS_SWEPT_EVERY),
        Job(
            "expired-requests",
            run=partial(pending_sweep.sweep, house.transactions, house.clock, house.actor),
            every=_REQUESTS_SWEPT_EVERY,
        ),
    ]


def _load_keys(house: House) -> None:
    """Load the keys of all endpoints before the first request needs them; what cannot be loaded is for readiness to tell."""
    with contextlib.suppress(SignetryError):
        _check_keys(house)


def _check_keys(house: House) -> None:
    house.keystore.require_reachable()
    for endpoint in house.endpoints.values():
        house.authorities.endpoint_keys(endpoint.issuing_ca)


def _check_crls(house: House) -> None:
    with house.transactions.reading() as session:
        for record in hierarchy.authorities(session):
            if record.revoked_at is not None or not record.is_ours:
                # A revoked authority's CRL must not keep the others from serving; one above ours publishes its own.
                continue
            if not publication.is_needed(session, record.id, house.clock.now()):
                continue
            head = publication.current(session, record.id)
            if head is None:
                raise Unavailable(f"authority {record.name} has no CRL yet")
            if head.next_update <= house.clock.now():
                raise Unavailable(f"the CRL of authority {record.name} has expired")
