"""``signetry intune``: Microsoft's cloud, as enrolments need it."""

from dataclasses import asdict

import typer

from signetry import intune
from signetry.cli.output import JsonFlag, emit_rows
from signetry.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Microsoft Intune.")


@app.callback()
def of_intune() -> None:
    """Microsoft Intune."""


@app.command()
def check(*, as_json: JsonFlag = False) -> None:
    """Try whether enrolments at the endpoints for Intune can work: credentials, discovery, validation.

    Intune is asked about a request that no device has made; that it rejects it shows that it can be asked. The exit code is 1
    when something is missing.

    Example: signetry intune check
    """
    steps = intune.check(load_settings().intune)
    rows = [{**asdict(each), "result": "ok" if each.succeeded else "failed"} for each in steps]
    emit_rows(rows, ("step", "result", "finding"), as_json=as_json)
    if not all(each.succeeded for each in steps):
        raise typer.Exit(1)
