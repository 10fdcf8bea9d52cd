"""``signetry token``: who may use the API."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from signetry.access import tokens
from signetry.access.roles import Role
from signetry.access.tokens import DEFAULT_LIFETIME, MAX_PAGE, TokenRecord
from signetry.administration.tokens import TokenRequest, make
from signetry.cli.durations import parse_duration
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.house import open_house

app = typer.Typer(no_args_is_help=True, help="Tokens for the API.")


@app.command()
def create(
    *,
    role: Annotated[Role, typer.Option(help="What it is for.")],
    name: Annotated[str | None, typer.Option(help="Who or what uses it; without it, it is called after its role.")] = None,
    upn: Annotated[str, typer.Option(help="Whose it is; officers and recovery agents are named persons.")] = "",
    ttl: Annotated[
        str, typer.Option(help="How long it lives: 12h, 90d; up to 366d.")
    ] = f"{DEFAULT_LIFETIME // timedelta(days=1)}d",
    endpoint: Annotated[list[str] | None, typer.Option(help="For role mdm: an endpoint it may use; repeat it for more.")] = None,
    profile: Annotated[list[str] | None, typer.Option(help="For role mdm: a profile it may use; repeat it for more.")] = None,
    group: Annotated[str, typer.Option(help="For role mdm: the group whose persons it may see.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Make a token. It is shown now and never again.

    Example: signetry token create --role mdm --name jamf --endpoint default --profile identity --group phones
    """
    house = open_house()
    called = str(role) if name is None else name
    request = TokenRequest(called, role, parse_duration(ttl), upn, tuple(endpoint or ()), tuple(profile or ()), group)
    made = house.transactions.write(lambda session: make(session, house, request, administrator=house.actor.name))
    if as_json:
        emit_json({"token": made.text, **_shown(made.record)})
    else:
        typer.echo(made.text)


@app.command("list")
def list_(
    *,
    show_all: Annotated[bool, typer.Option("--all", help="Also those that have expired or were revoked.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the tokens that are in force."""
    house = open_house()
    found: list[TokenRecord] = []
    with house.transactions.reading() as session:
        now = house.clock.now()
        good = None if show_all else True
        while page := tokens.list_tokens(session, now=now, good=good, after=found[-1].id if found else 0, limit=MAX_PAGE):
            found += page
    columns = ("id", "role", "name", "upn", "expires_at", "last_used_at", *(("revoked_at",) if show_all else ()))
    emit_rows([_shown(token) for token in found], columns, as_json=as_json)


@app.command()
def revoke(
    number: Annotated[int, typer.Argument(metavar="ID", help="The token's number (signetry token list).")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """End a token at once."""
    house = open_house()
    revoked = house.transactions.write(lambda session: tokens.revoke(session, number, actor=house.actor, now=house.clock.now()))
    emit_record(_shown(revoked), as_json=as_json)


def _shown(token: TokenRecord) -> dict[str, Any]:
    scope = token.scope
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "upn": token.upn,
        "administrator": token.administrator,
        "endpoints": sorted(scope.endpoints) if scope else [],
        "profiles": sorted(scope.profiles) if scope else [],
        "group": scope.group if scope else None,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "last_used_at": token.last_used_at,
    }
