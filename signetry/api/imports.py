"""``/imports``: CSV files of persons, and of certificates to revoke."""

import io
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import Field, WithJsonSchema

from ca.revocation import RevocationReason
from people.csv_import import PersonImport
from people.csv_rows import ENCODINGS
from signetry.access.roles import Permission
from signetry.administration import revocation_list
from signetry.administration.revocation import RevocationOrder
from signetry.administration.revocation_list import BadRevocationList
from signetry.api.fields import DryRun, Moment, Reason
from signetry.api.files import CsvFile, csv_upload
from signetry.api.models import Shown, with_examples
from signetry.api.reaching import reach_of
from signetry.api.routing import router
from signetry.api.security import Caller, requires

routes = router("/imports", "Imports")

# Each row is an act of its own with its place on the record: more would hold the request for minutes.
MOST_PERSONS = 50_000
MOST_REVOCATIONS = 10_000

_PERSONS = (
    "upn,email,aliases,name,active\ntaro@corp.example.com,taro.yamada@example.com,t@example.com;t@example.jp,山田 太郎,yes\n"
)
_REVOCATIONS = "serial,reason,invalidity_date\n4f02a3c1d5e6f708192a3b4c5d6e7f80,keyCompromise,2026-05-31\n"


class RowProblem(Shown):
    """Why a row was refused."""

    line: Annotated[int, Field(description="From 1, the header included.")]
    field: Annotated[str, Field(description="A column, or `row`.")]
    reason: str


class ImportReport(Shown):
    """What became of the rows."""

    model_config = with_examples(
        {
            "dry_run": False,
            "added": 3,
            "changed": 1,
            "unchanged": 5208,
            "refused": 1,
            "problems": [{"line": 17, "field": "email", "reason": "has no @"}],
        }
    )

    dry_run: bool
    added: int
    changed: int
    unchanged: int
    refused: int
    problems: list[RowProblem]


class LineOutcome(Shown):
    """What became of a row."""

    line: Annotated[int, Field(description="From 1, the header included.")]
    serial: str
    outcome: Literal["revoked", "held", "unchanged", "refused"]
    reason: str | None
    revoked_at: datetime | None
    subject: str
    problem: Annotated[str, Field(description="Why it was refused.")]


class RevocationReport(Shown):
    """What became of the rows, in the order of the file."""

    model_config = with_examples(
        {
            "dry_run": False,
            "items": [
                {
                    "line": 2,
                    "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
                    "outcome": "revoked",
                    "reason": "keyCompromise",
                    "revoked_at": "2026-06-01T12:00:00Z",
                    "subject": "CN=Taro Yamada",
                    "problem": "",
                }
            ],
        }
    )

    dry_run: bool
    items: list[LineOutcome]


@routes.post("/persons", **csv_upload(_PERSONS))
def import_persons(
    file: CsvFile,
    caller: Annotated[Caller, requires(Permission.CHANGE_PERSONS)],
    *,
    encoding: Annotated[
        str, Query(description="The file's encoding."), WithJsonSchema({"type": "string", "enum": list(ENCODINGS)})
    ] = "utf-8",
    dry_run: DryRun = False,
) -> ImportReport:
    """Add and change persons from a CSV file; importing it again does nothing.

    Up to 50,000 rows; `signetry person import` takes more. The first line names the columns: `upn` and `email`, and any of
    `aliases` (parted by `;`), `name`, `given_name`, `middle_name`, `surname`, `account_name`, `domain`, `employee_code`, `sid`,
    `language`, `active`. A row whose UPN is recorded changes that person: an empty cell empties the field, an absent column
    leaves it. A row that is refused is listed and stops no other.
    """
    house = caller.house
    importing = PersonImport(
        house.transactions,
        house.clock,
        house.actor,
        encoding=encoding,
        dry_run=dry_run,
        listeners=house.person_listeners,
        most_rows=MOST_PERSONS,
    )
    return ImportReport.model_validate(importing.run(io.BytesIO(file)))


@routes.post("/revocations", **csv_upload(_REVOCATIONS))
def import_revocations(
    file: CsvFile,
    caller: Annotated[Caller, requires(Permission.REVOKE_CERTIFICATES)],
    *,
    reason: Annotated[Reason, Query(description="Why, where a row does not say.")] = RevocationReason.UNSPECIFIED,
    invalidity_date: Annotated[Moment | None, Query(description="Since when, where a row does not say.")] = None,
    dry_run: DryRun = False,
) -> RevocationReport:
    """Revoke the certificates in a CSV file, row by row; a row that is refused stops no other.

    Up to 10,000 rows. The first line names the columns: `serial`, and any of `reason` and `invalidity_date` (ISO 8601; without
    a zone it is UTC).
    """
    lines = revocation_list.parse(file, name="the file")
    if len(lines) > MOST_REVOCATIONS:
        raise BadRevocationList(f"the file has more than {MOST_REVOCATIONS:,} rows: send it in parts, or use the command line")
    order = RevocationOrder(RevocationReason(reason), invalidity_date)
    outcomes = revocation_list.revoke_lines(caller.house, lines, order, dry_run=dry_run, reach=reach_of(caller))
    return RevocationReport(dry_run=dry_run, items=[LineOutcome.model_validate(outcome) for outcome in outcomes])
