"""``signetry challenge``: minting one-time challenges."""

from typing import Annotated

import typer

from foundation.errors import BadRequest
from signetry.administration.challenges import ChallengeRequest, mint
from signetry.administration.holders import HolderMissing
from signetry.cli.durations import parse_duration
from signetry.cli.output import JsonFlag, emit_json
from signetry.house import open_house

app = typer.Typer(no_args_is_help=True, help="One-time challenges for SCEP enrolment.")


@app.command()
def create(
    *,
    endpoint: Annotated[str, typer.Option(help="The SCEP endpoint it may be used at.")] = "default",
    upn: Annotated[str, typer.Option(help="The person it is for.")] = "",
    device: Annotated[str, typer.Option(help="The device it is for: name or number (signetry device list).")] = "",
    profile: Annotated[str, typer.Option(help="The certificate profile it obtains.")] = "identity",
    count: Annotated[int, typer.Option(help="How many to mint; they are printed one a line.")] = 1,
    ttl: Annotated[str, typer.Option(help="How long it lives: 90s, 15m, 1h, 7d.")] = "1h",
    as_json: JsonFlag = False,
) -> None:
    """Mint one-time challenges. They are shown now and never again.

    Example: signetry challenge create --upn alice@example.com --profile identity --ttl 15m
    """
    house = open_house()
    request = ChallengeRequest(endpoint, profile, upn, device, count, parse_duration(ttl))
    try:
        minted = house.transactions.write(lambda session: mint(session, house, request))
    except HolderMissing as missing:
        raise BadRequest(f"{missing} with --{missing.field}") from None
    if as_json:
        known = {"endpoint": minted.endpoint, "profile": minted.profile, "expires_at": minted.expires_at}
        emit_json([{"challenge": text, **known} for text in minted.challenges])
    else:
        typer.echo("\n".join(minted.challenges))
