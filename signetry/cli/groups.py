"""``signetry group``: named sets of persons."""

from dataclasses import asdict
from typing import Annotated

import typer
from sqlmodel import Session

from people.groups import GroupRecord, add_group, get_group, list_groups, remove_group
from people.groups import add_member as add_to_group
from people.groups import remove_member as remove_from_group
from people.persons import PersonFilter, list_persons, person_named
from signetry.cli.output import JsonFlag, emit_record, emit_rows
from signetry.house import open_house

app = typer.Typer(no_args_is_help=True, help="Groups of persons.")

Name = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
Who = Annotated[str, typer.Argument(metavar="PERSON", help="A UPN, a mail address, or the person's number.")]


@app.command()
def add(
    name: Name,
    *,
    description: Annotated[str, typer.Option(help="What the group is for.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Record a new group."""
    house = open_house()
    now = house.clock.now()
    group = house.transactions.write(lambda session: add_group(session, name, description, actor=house.actor, now=now))
    emit_record(asdict(group), as_json=as_json)


@app.command("list")
def list_(*, as_json: JsonFlag = False) -> None:
    """List all groups with the number of their members."""
    with open_house().transactions.reading() as session:
        groups = list_groups(session)
    emit_rows([asdict(group) for group in groups], ("id", "name", "members", "description"), as_json=as_json)


@app.command()
def show(name: Name, *, as_json: JsonFlag = False) -> None:
    """Show a group and the UPNs of its members."""
    upns: list[str] = []
    with open_house().transactions.reading() as session:
        group = get_group(session, name)
        while page := list_persons(session, PersonFilter(group=group.name), after=upns[-1] if upns else "", limit=1000):
            upns += (person.upn for person in page)
    emit_record({**asdict(group), "members": upns}, as_json=as_json)


@app.command()
def add_member(name: Name, who: Who, *, as_json: JsonFlag = False) -> None:
    """Put a person into a group."""
    _change_members(name, who, inside=True, as_json=as_json)


@app.command()
def remove_member(name: Name, who: Who, *, as_json: JsonFlag = False) -> None:
    """Take a person out of a group."""
    _change_members(name, who, inside=False, as_json=as_json)


@app.command()
def remove(name: Name, *, as_json: JsonFlag = False) -> None:
    """Forget a group; its persons stay."""
    house = open_house()
    now = house.clock.now()
    group = house.transactions.write(lambda session: remove_group(session, name, actor=house.actor, now=now))
    emit_record(asdict(group), as_json=as_json)


def _change_members(name: str, who: str, *, inside: bool, as_json: bool) -> None:
    house = open_house()
    change = add_to_group if inside else remove_from_group

    def act(session: Session) -> GroupRecord:
        change(session, name, person_named(session, who).id, actor=house.actor, now=house.clock.now())
        return get_group(session, name)

    emit_record(asdict(house.transactions.write(act)), as_json=as_json)
