"""``signetry intune``: Microsoft's cloud, as enrolments need it."""

from dataclasses import asdict

import typer

from scep.endpoint import ChallengeKind
from signetry import intune
from signetry.cli import intune_pfx
from signetry.cli.output import JsonFlag, emit_rows
from signetry.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Microsoft Intune.")


@app.callback()
def of_intune() -> None:
    """Microsoft Intune."""


@app.command()
def check(*, as_json: JsonFlag = False) -> None:
    """Try whether enrolments at the endpoints for Intune, and pushing keys to it, can work.

    Intune is asked about a request that no device has made; that it rejects it shows that it can be asked. Where there is a
    connector, it is asked for the imported certificates of nobody. The exit code is 1 when something is missing.

    Example: signetry intune check
    """
    settings = load_settings()
    is_for_endpoints = any(endpoint.challenge is ChallengeKind.INTUNE for endpoint in settings.endpoints.values())
    is_enrolling = is_for_endpoints or settings.intune.connector_key_file is None
    steps = intune.check(settings.intune, is_enrolling=is_enrolling)
    rows = [{**asdict(each), "result": "ok" if each.succeeded else "failed"} for each in steps]
    emit_rows(rows, ("step", "result", "finding"), as_json=as_json)
    if not all(each.succeeded for each in steps):
        raise typer.Exit(1)


app.command()(intune_pfx.push_pfx)
