"""``signetry pfx list`` and ``show``: what is in the key archive."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from signetry.administration import archived_keys
from signetry.administration.archived_keys import KeyView
from signetry.cli.output import JsonFlag, emit_json, emit_record, emit_rows
from signetry.house import open_house

_LISTED = ("id", "person", "origin", "algorithm", "purposes", "trust", "concerns", "not_after", "kept_at")
_CERTIFICATES = ("serial", "purpose", "trust", "concerns", "not_before", "not_after", "subject", "issuer")


def list_(
    *,
    upn: Annotated[str | None, typer.Option(help="Only those of this person: UPN, mail address or number.")] = None,
    before: Annotated[int | None, typer.Option(min=1, help="Only keys with smaller numbers: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    as_json: JsonFlag = False,
) -> None:
    """List archived keys, the latest first. Of private keys nothing is shown: they are sealed.

    Example: signetry pfx list --upn taro@example.com
    """
    with open_house().transactions.reading() as session:
        found = archived_keys.listed(session, person=upn, before=before, limit=limit)
    emit_rows([asdict(each) if as_json else _row(each) for each in found], _LISTED, as_json=as_json)


def show(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, help="The key's number (signetry pfx list).")],
    *,
    as_json: JsonFlag = False,
) -> None:
    """Show an archived key and the certificates over it."""
    with open_house().transactions.reading() as session:
        found = archived_keys.show(session, number)
    if as_json:
        emit_json(asdict(found))
        return
    emit_record({name: value for name, value in asdict(found).items() if name != "certificates"}, as_json=False)
    typer.echo()
    emit_rows([asdict(each) for each in found.certificates], _CERTIFICATES, as_json=False)


def _row(key: KeyView) -> dict[str, Any]:
    return {
        **asdict(key),
        "purposes": list(dict.fromkeys(each.purpose for each in key.certificates)),
        "trust": list(dict.fromkeys(each.trust for each in key.certificates)),
        "concerns": list(dict.fromkeys(concern for each in key.certificates for concern in each.concerns)),
        "not_after": max((each.not_after for each in key.certificates), default=None),
    }
