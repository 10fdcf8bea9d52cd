"""``signetry challenge``: minting one-time challenges."""

from typing import Annotated

import typer
from sqlmodel import Session

from ca.authorisation import DeviceId, PersonId, ProfileName
from ca.profiles import DEVICE_PROFILES
from foundation.errors import BadRequest, RefusedByPolicy
from people.activity import require_active
from people.devices import device_named
from people.persons import person_named
from scep import challenge
from signetry.assembly import open_house
from signetry.cli.durations import parse_duration
from signetry.cli.output import JsonFlag, emit_json

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
    lifetime = parse_duration(ttl)
    now = house.clock.now()
    allowed = house.endpoint(endpoint)
    if profile not in allowed.profiles:
        raise RefusedByPolicy(f"endpoint {endpoint} issues {', '.join(sorted(allowed.profiles))}, not {profile}")

    def act(session: Session) -> tuple[str, ...]:
        carried = device_named(session, device) if device else None
        person = person_named(session, upn) if upn else None
        if person is None and profile not in DEVICE_PROFILES:
            raise BadRequest(f"a certificate of profile {profile} is a person's: say whose with --upn")
        if carried is None and profile in DEVICE_PROFILES:
            raise BadRequest(f"a certificate of profile {profile} is a device's: say which with --device")
        if person and carried and carried.owner_id not in (None, person.id):
            raise RefusedByPolicy(f"device {carried.name} belongs to {carried.owner}, not to {person.upn}")
        # Minting for somebody who could not redeem it would only postpone the refusal to the phone.
        require_active(session, person=person.id if person else None, device=carried.id if carried else None)
        order = challenge.ChallengeOrder(
            endpoint=allowed.name,
            profile=ProfileName(profile),
            person=PersonId(person.id) if person else None,
            device=DeviceId(carried.id) if carried else None,
            count=count,
            lifetime=lifetime,
        )
        return challenge.mint(session, order, actor=house.actor, now=now)

    minted = house.transactions.write(act)
    if as_json:
        expires = now + lifetime
        emit_json([{"challenge": text, "endpoint": endpoint, "profile": profile, "expires_at": expires} for text in minted])
    else:
        typer.echo("\n".join(minted))
