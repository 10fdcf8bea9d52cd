"""``signetry serve`` and ``signetry demo``: the running service."""

import shlex
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer

from crl import publication
from signetry import logging, server, tls
from signetry.cli.output import JsonFlag, emit_json
from signetry.demo import demonstrate
from signetry.house import open_house
from signetry.settings import given_variables, load_settings


def serve(
    *,
    workers: Annotated[int | None, typer.Option(help="How many web processes; one a processor by default.")] = None,
) -> None:
    """Run the service: web processes and the worker, until SIGTERM or SIGINT.

    Where public_url has changed, the issuing CA's certificate is issued again first.
    """
    settings = load_settings(workers=workers)
    logging.configure(settings.log_level, settings.log_format)
    house = open_house(settings)
    try:
        house.database.migrate()
        house.require_complete()
        tls.ensure(settings, house.clock)
        house.follow_public_url()
        house.transactions.write(lambda session: publication.ensure_schedules(session, house.clock.now()))
        house.directories.take_note()
    finally:
        house.close()
    # Another terminal knows nothing of this one's environment.
    exports = "".join(f"  export {name}={shlex.quote(value)}\n" for name, value in given_variables().items())
    server.serve(settings, on_ready=partial(_say_what_to_do, exports))


def _say_what_to_do(exports: str, addresses: Mapping[str, str]) -> None:
    typer.echo(
        f"""Signetry serves
  SCEP, CRLs, AIA  {addresses["public"]}   (SCEP endpoint: {addresses["public"]}/scep/default)
  devices          {addresses["device"]}
  administration   {addresses["admin"]}

What to do next, in a second terminal in this folder:
  . .venv/bin/activate
{exports}  signetry person add --upn alice@example.com --email alice@example.com --name "Alice Smith"
  signetry challenge create --upn alice@example.com
  signetry demo      one whole round against this service
  signetry doctor    what to change before real devices come
README.md goes on from here.
""",
    )


def demo(*, as_json: JsonFlag = False) -> None:
    """Enrol, look up and revoke against the running service, and show each step."""
    house = open_house()
    steps = []
    for step in demonstrate(house):
        steps.append({"step": step.done, "outcome": step.outcome, "milliseconds": round(step.milliseconds, 1)})
        if not as_json:
            typer.echo(f"{step.milliseconds:8.1f} ms  {step.done}: {step.outcome}")
    if as_json:
        emit_json(steps)
