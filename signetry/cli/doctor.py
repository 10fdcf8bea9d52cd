"""``signetry doctor``."""

import typer
from rich.console import Console

from signetry.assembly import open_house
from signetry.cli.output import JsonFlag, emit_json
from signetry.doctor import examine

_MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "error": "[red]error[/]  "}


def doctor(*, as_json: JsonFlag = False) -> None:
    """Examine the installation. The exit code is 1 when something is broken; warnings leave it at 0."""
    house = open_house()
    findings = examine(house)
    if as_json:
        emit_json([{"check": f.check, "severity": f.severity, "finding": f.finding, "advice": f.advice} for f in findings])
    else:
        console = Console(highlight=False, soft_wrap=True)
        for finding in findings:
            advice = f" [dim]({finding.advice})[/]" if finding.advice else ""
            console.print(f"{_MARKS[finding.severity]}  {finding.check}: {finding.finding}{advice}")
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)
