"""``signetry archive``: the keys that persons' private keys are sealed to."""

from dataclasses import asdict
from typing import Annotated

import typer

from signetry.administration import archive
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.cli.progress import progress_bar
from signetry.house import open_house

app = typer.Typer(no_args_is_help=True, help="The keys that persons' private keys are sealed to.")

_COLUMNS = ("reference", "algorithm", "sealed", "created_at", "retired_at", "key_id")


@app.command()
def create(*, as_json: JsonFlag = False) -> None:
    """Make the archive's first key, in an installation that was made before there was an archive.

    The same command again changes nothing.

    Example: signetry archive create
    """
    house = open_house()
    house.require_complete()
    key, created = archive.ensure_key(house)
    emit_record({**asdict(key), "created": created}, as_json=as_json)


@app.command()
def status(*, as_json: JsonFlag = False) -> None:
    """Show the archive's keys, how many private keys are sealed to each, and whether the archive process answers."""
    house = open_house()
    house.require_complete()
    found = archive.status(house)
    if as_json:
        emit_json(asdict(found))
        return
    emit_record({name: value for name, value in asdict(found).items() if name != "keys"}, as_json=False)
    emit_rows([asdict(each) for each in found.keys], _COLUMNS, as_json=False)
    if not found.keys:
        typer.echo("signetry archive create makes its first key", err=True)


@app.command()
def rotate(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a new archive key and wrap everything to it. No private key of a person is opened for that.

    It may be broken off at any moment: the same command then goes on with the key it has made. The exit code is 1 when a seal
    is broken.

    Example: signetry archive rotate
    """
    house = open_house()
    house.require_complete()
    with progress_bar("wrapping") as progress:
        done = archive.rotate(house, dry_run=dry_run, progress=progress)
    emit_record(asdict(done), as_json=as_json)
    if done.broken:
        raise typer.Exit(1)
