"""``signetry person``: who has a mailbox here."""

from dataclasses import asdict
from typing import Annotated

import typer
from sqlmodel import Session

from people.csv_import import PersonImport
from people.csv_rows import ENCODINGS
from people.person import PersonFields, PersonRecord
from people.persons import (
    PersonFilter,
    add_person,
    deactivate_person,
    list_persons,
    person_named,
    reactivate_person,
)
from signetry.administration.persons import Offboarded
from signetry.administration.persons import change as change_someone
from signetry.administration.persons import offboard as offboard_someone
from signetry.administration.rehearsal import perform
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.cli.progress import progress_bar
from signetry.house import open_house

app = typer.Typer(no_args_is_help=True, help="Persons: their UPN, mail addresses and names.")

Who = Annotated[str, typer.Argument(metavar="PERSON", help="A UPN, a mail address, or the person's number.")]

# How many refused rows are printed; --json has them all.
_SHOWN_PROBLEMS = 100

# \b keeps the lines of the example apart.
_IMPORT_HELP = """
Add and change persons from a CSV file; importing it again does nothing.

The first line names the columns: upn and email, and any of aliases (parted
by ;), name, given_name, middle_name, surname, account_name, domain,
employee_code, sid, language, active. Commas, semicolons or tabs part them.

A row whose UPN is recorded changes that person: an empty cell empties the
field, an absent column leaves it; active=no deactivates without revoking
(see offboard). A row that is refused is listed with its line and stops no
other; the exit code is then 1.

Example:

\b
upn,email,aliases,name,active
taro@example.com,taro.yamada@example.com,t@example.com;taro@example.jp,山田 太郎,yes
alice@example.com,alice.smith@example.com,,Alice Smith,yes
"""


@app.command()
def add(  # noqa: PLR0913 - one parameter an option
    *,
    upn: Annotated[str, typer.Option(help="User principal name, such as taro@corp.example.com.")],
    email: Annotated[str, typer.Option(help="Primary SMTP address.")],
    alias: Annotated[list[str] | None, typer.Option(help="A further mail address; may be repeated.")] = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    given_name: Annotated[str, typer.Option(help="First name.")] = "",
    middle_name: Annotated[str, typer.Option(help="Middle name.")] = "",
    surname: Annotated[str, typer.Option(help="Last name.")] = "",
    account_name: Annotated[str, typer.Option(help="Account name (sAMAccountName).")] = "",
    domain: Annotated[str, typer.Option(help="The account's domain: a NetBIOS or DNS name.")] = "",
    employee_code: Annotated[str, typer.Option(help="Employee code.")] = "",
    sid: Annotated[str, typer.Option(help="Security identifier of the AD account, S-1-5-…")] = "",
    language: Annotated[str, typer.Option(help="Language of notices: en, ja, …")] = "en",
    as_json: JsonFlag = False,
) -> None:
    """Record a person.

    Example: signetry person add --upn taro@corp.example.com --email taro.yamada@example.com --name "Taro Yamada"
    """
    fields = PersonFields(
        upn=upn,
        email=email,
        aliases=tuple(alias or ()),
        display_name=name,
        given_name=given_name,
        middle_name=middle_name,
        surname=surname,
        account_name=account_name,
        domain=domain,
        employee_code=employee_code,
        sid=sid or None,
        language=language,
    )
    house = open_house()
    now = house.clock.now()
    person = house.transactions.write(lambda session: add_person(session, fields, actor=house.actor, now=now))
    emit_record(_shown(person), as_json=as_json)


@app.command()
def show(who: Who, *, as_json: JsonFlag = False) -> None:
    """Show a person."""
    with open_house().transactions.reading() as session:
        person = person_named(session, who)
    emit_record(_shown(person), as_json=as_json)


@app.command("list")
def list_(
    *,
    text: Annotated[str | None, typer.Option(help="Only those with this in UPN, address or name.")] = None,
    group: Annotated[str | None, typer.Option(help="Only members of this group.")] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive", help="Only active, or only inactive persons.")] = None,
    after: Annotated[str, typer.Option(metavar="UPN", help="Begin behind this UPN: the last one of the page before.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 1000,
    as_json: JsonFlag = False,
) -> None:
    """List persons in the order of their UPNs."""
    wanted = PersonFilter(text=text, active=active, group=group)
    with open_house().transactions.reading() as session:
        persons = list_persons(session, wanted, after=after, limit=limit)
    columns = ("id", "upn", "email", "aliases", "display_name", "active")
    emit_rows([_shown(person) for person in persons], columns, as_json=as_json)


@app.command()
def change(  # noqa: PLR0913 - one parameter an option
    who: Who,
    *,
    upn: Annotated[str | None, typer.Option(help="User principal name.")] = None,
    email: Annotated[
        str | None, typer.Option(help="Primary SMTP address; the one before is dropped unless it is an alias.")
    ] = None,
    add_alias: Annotated[list[str] | None, typer.Option(help="A further mail address; may be repeated.")] = None,
    remove_alias: Annotated[list[str] | None, typer.Option(help="An alias to take away; may be repeated.")] = None,
    name: Annotated[str | None, typer.Option(help="Display name.")] = None,
    given_name: Annotated[str | None, typer.Option(help="First name.")] = None,
    middle_name: Annotated[str | None, typer.Option(help="Middle name.")] = None,
    surname: Annotated[str | None, typer.Option(help="Last name.")] = None,
    account_name: Annotated[str | None, typer.Option(help="Account name (sAMAccountName).")] = None,
    domain: Annotated[str | None, typer.Option(help="The account's domain: a NetBIOS or DNS name.")] = None,
    employee_code: Annotated[str | None, typer.Option(help="Employee code.")] = None,
    sid: Annotated[str | None, typer.Option(help="Security identifier of the AD account; empty removes it.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of notices: en, ja, …")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is recorded of a person; options not given change nothing, an empty value empties.

    Example: signetry person change taro@corp.example.com --email taro.suzuki@example.com --add-alias taro.yamada@example.com
    """
    given = {
        "upn": upn,
        "email": email,
        "display_name": name,
        "given_name": given_name,
        "middle_name": middle_name,
        "surname": surname,
        "account_name": account_name,
        "domain": domain,
        "employee_code": employee_code,
        "sid": sid,
        "language": language,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    house = open_house()

    def act(session: Session) -> PersonRecord:
        return change_someone(session, house, who, changes, added=add_alias or (), removed=remove_alias or ())

    emit_record(_shown(house.transactions.write(act)), as_json=as_json)


@app.command()
def deactivate(who: Who, *, as_json: JsonFlag = False) -> None:
    """Bar a person from enrolment and renewal. Certificates stay valid: see offboard."""
    _switch(who, active=False, as_json=as_json)


@app.command()
def activate(who: Who, *, as_json: JsonFlag = False) -> None:
    """Let a person enrol again."""
    _switch(who, active=True, as_json=as_json)


@app.command()
def offboard(
    who: Who,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Somebody leaves: deactivate them and their devices, revoke every certificate of theirs, and stop deliveries of their keys.

    The key archive keeps what it has, for recovery (signetry pfx recover).
    """
    house = open_house()

    def act(session: Session) -> Offboarded:
        return offboard_someone(session, house, who)

    gone = house.transactions.write(lambda session: perform(session, act, dry_run=dry_run))
    devices = [device.name for device in gone.devices]
    meant = {
        "devices": devices,
        "revoked": list(gone.revoked),
        "stopped_deliveries": list(gone.keys.stopped),
        "withdrawn": list(gone.keys.withdrawn),
        "archived_keys": gone.keys.kept,
        "directories": list(gone.directories),
    }
    emit_record({**_shown(gone.person), **meant}, as_json=as_json)
    if dry_run:
        typer.echo("dry run: nothing was changed", err=True)


@app.command("import", help=_IMPORT_HELP)
def import_(
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE.csv", help="The file; - reads standard input.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    encoding: Annotated[str, typer.Option(help=f"The file's encoding: {', '.join(ENCODINGS)}.")] = "utf-8",
    as_json: JsonFlag = False,
) -> None:
    """Add and change persons from a CSV file (_IMPORT_HELP)."""
    house = open_house()
    with progress_bar("importing") as progress:
        report = PersonImport(
            house.transactions,
            house.clock,
            house.actor,
            encoding=encoding,
            dry_run=dry_run,
            progress=progress,
            listeners=house.person_listeners,
        ).run(file)
    if as_json:
        emit_json({**asdict(report), "refused": report.refused})
    else:
        for problem in report.problems[:_SHOWN_PROBLEMS]:
            typer.echo(f"line {problem.line}: {problem.field}: {problem.reason}", err=True)
        if report.refused > _SHOWN_PROBLEMS:
            typer.echo(f"… and {report.refused - _SHOWN_PROBLEMS} more; --json lists them all", err=True)
        counts = f"{report.added} added, {report.changed} changed, {report.unchanged} unchanged, {report.refused} refused"
        typer.echo(f"dry run, nothing stored: {counts}" if dry_run else counts)
    if report.refused:
        raise typer.Exit(1)


def _shown(person: PersonRecord) -> dict[str, object]:
    return {"id": person.id, **asdict(person)}


def _switch(who: str, *, active: bool, as_json: bool) -> None:
    house = open_house()
    switch = reactivate_person if active else deactivate_person

    def act(session: Session) -> PersonRecord:
        return switch(session, person_named(session, who).id, actor=house.actor, now=house.clock.now())

    emit_record(_shown(house.transactions.write(act)), as_json=as_json)
