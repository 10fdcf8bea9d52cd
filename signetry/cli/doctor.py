"""``signetry doctor``."""

from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from foundation.errors import SignetryError
from signetry.cli.output import JsonFlag, emit_json
from signetry.doctor.examination import examine
from signetry.doctor.findings import Finding
from signetry.house import open_house
from signetry.settings import Settings, load_settings

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "error": "[red]error[/]  "}


def doctor(*, as_json: JsonFlag = False) -> None:
    """Examine the installation. The exit code is 1 when something is broken; warnings leave it at 0."""
    findings = _examine()
    if as_json:
        emit_json([{"check": f.check, "severity": f.severity, "finding": f.finding, "advice": f.advice} for f in findings])
    else:
        console = Console(highlight=False, soft_wrap=True)
        for finding in findings:
            advice = f" [dim]({escape(finding.advice)})[/]" if finding.advice else ""
            # Escaped: an IPv6 address in brackets would pass for markup.
            console.print(f"{_MARKS[finding.severity]}  {escape(f'{finding.check}: {finding.finding}')}{advice}")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def _examine() -> list[Finding]:
    try:
        settings = load_settings()
        if settings.key_passphrase_file.exists() and (missing := _missing_database(settings)):
            # Opening it would make an empty one, where whoever mistyped its path would find it.
            advice = "is database_url right? signetry init makes a new one"
            return [Finding("database", "error", f"{missing} does not exist", advice)]
        house = open_house(settings)
    except SignetryError as error:
        # A door that does not open is what a doctor is called for.
        return [Finding("installation", "error", str(error))]
    try:
        return examine(house)
    finally:
        house.close()


def _missing_database(settings: Settings) -> Path | None:
    if settings.database.get_backend_name() != "sqlite":
        return None
    path = Path(str(settings.database.database))
    return None if path.exists() else path
