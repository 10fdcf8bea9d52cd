"""``/directories``: how publication to LDAP directories stands, uploads at once, and comparisons."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import Path, Query
from pydantic import Field

from ldap_publish.checking import Difference, DifferenceKind
from ldap_publish.directory import DirectoryKind
from ldap_publish.errors import UnknownDirectory
from ldap_publish.status import Condition, DirectoryReport
from signetry.access.roles import Permission
from signetry.administration import comparison, directories
from signetry.api.context import Here
from signetry.api.fields import NAME, DryRun
from signetry.api.models import Shown, with_examples
from signetry.api.paging import InPages, InvalidCursor, Page
from signetry.api.routing import LENGTHY, router
from signetry.api.security import Caller, requires
from signetry.house import House

routes = router("/directories", "Directories")

# How many failures and warnings a report holds.
_MOST = 100

DirectoryName = Annotated[
    str,
    Path(
        min_length=1,
        max_length=60,
        pattern=NAME,
        description="The directory's name in the settings.",
        openapi_examples={"main": {"value": "main"}},
    ),
]


class FailureShown(Shown):
    """An entry that is not as it should be."""

    subject: Annotated[str, Field(description="A person's UPN or an authority's name.")]
    entry: Annotated[str, Field(description="Its distinguished name, where that is known.")]
    error: Annotated[str, Field(description="Why, in the directory's own words, and what to do.")]
    failures: int
    next_attempt: datetime | None


class WarningShown(Shown):
    """An entry that should be looked at."""

    subject: str
    warning: str


class DirectoryShown(Shown):
    """How a directory fares."""

    model_config = with_examples(
        {
            "name": "main",
            "kind": "openldap",
            "state": "failing",
            "error": "",
            "failing_since": None,
            "retry_at": None,
            "pending": 1,
            "oldest_pending_seconds": 240,
            "failed": 1,
            "waiting": 0,
            "failures": [
                {
                    "subject": "taro@corp.example.com",
                    "entry": "uid=taro,ou=people,dc=example,dc=com",
                    "error": "insufficientAccessRights",
                    "failures": 3,
                    "next_attempt": "2026-06-01T12:00:20Z",
                }
            ],
            "warnings": [],
        }
    )

    name: str
    kind: Annotated[DirectoryKind | None, Field(description="Null of one that has left the settings.")]
    state: Condition
    error: Annotated[str, Field(description="Why the directory itself cannot be used.")]
    failing_since: datetime | None
    retry_at: datetime | None
    pending: Annotated[int, Field(description="Entries of which something is not there yet.")]
    oldest_pending_seconds: Annotated[int | None, Field(description="Since when the first of them.")]
    failed: Annotated[int, Field(description="Entries that the directory refuses.")]
    waiting: Annotated[int, Field(description="Persons who have no entry yet.")]
    failures: Annotated[list[FailureShown], Field(description=f"Those that fail longest, up to {_MOST}.")]
    warnings: Annotated[list[WarningShown], Field(description=f"Up to {_MOST}.")]

    @classmethod
    def of(cls, report: DirectoryReport, now: datetime) -> Self:
        """Return how a report is shown."""
        backlog = report.backlog
        return cls(
            name=backlog.directory,
            kind=report.kind,
            state=report.condition,
            error=report.error,
            failing_since=report.failing_since,
            retry_at=report.retry_at,
            pending=backlog.pending,
            oldest_pending_seconds=None if backlog.oldest is None else max(0, int((now - backlog.oldest).total_seconds())),
            failed=backlog.failed,
            waiting=backlog.waiting,
            failures=[FailureShown.model_validate(each) for each in report.failures],
            warnings=[WarningShown.model_validate(each) for each in report.warnings],
        )


class DifferenceShown(Shown):
    """A difference between a directory and the records."""

    model_config = with_examples(
        {
            "directory": "main",
            "subject": "taro@corp.example.com",
            "entry": "uid=taro,ou=people,dc=example,dc=com",
            "attribute": "userCertificate;binary",
            "difference": "missing",
            "serial": "4f02a3c1d5e6f708192a3b4c5d6e7f80",
            "detail": "",
        }
    )

    directory: str
    subject: str
    entry: str
    attribute: str
    difference: DifferenceKind
    serial: Annotated[str, Field(description="Of the certificate it is about.")]
    detail: str

    @classmethod
    def of(cls, found: Difference) -> Self:
        """Return how a difference is shown."""
        return cls(
            directory=found.directory,
            subject=found.subject,
            entry=found.entry,
            attribute=found.attribute,
            difference=found.kind,
            serial=found.serial,
            detail=found.detail,
        )


class Forgotten(Shown):
    """A directory of which nothing is recorded any more."""

    model_config = with_examples({"name": "old", "values_left": 214})

    name: str
    values_left: Annotated[int, Field(description="How many values of ours stand there still.")]


@routes.get("")
def list_all(
    _caller: Annotated[Caller, requires(Permission.READ_DIRECTORIES)], here: Here, paging: InPages
) -> Page[DirectoryShown]:
    """Show what each directory is owed, and what it refuses, in its own words; in the order of their names."""
    (after,) = paging.after(str) or ("",)
    found = [each for each in directories.reports(here.house, most=_MOST) if each.backlog.directory > after]
    now = here.now()
    return paging.page(
        found[: paging.one_more], lambda each: (each.backlog.directory,), lambda each: DirectoryShown.of(each, now)
    )


@routes.get("/{directory}")
def show(
    directory: DirectoryName, _caller: Annotated[Caller, requires(Permission.READ_DIRECTORIES)], here: Here
) -> DirectoryShown:
    """Show what a directory is owed, and what it refuses."""
    return _shown(here.house, directory)


@routes.post("/{directory}/publish", status_code=202)
def publish(
    directory: DirectoryName,
    caller: Annotated[Caller, requires(Permission.PUBLISH_TO_DIRECTORIES)],
    *,
    everything: Annotated[bool, Query(description="Look at every entry, not only at what is owed.")] = False,
) -> DirectoryShown:
    """Have a directory brought up to date at once; what failed before is tried again.

    The service's worker does it: `pending` of the directory falls to 0, or to what it refuses.
    """
    directories.owe_now(caller.house, [directory], everything=everything)
    return _shown(caller.house, directory)


@routes.delete("/{directory}")
def forget(
    directory: DirectoryName, caller: Annotated[Caller, requires(Permission.PUBLISH_TO_DIRECTORIES)], *, dry_run: DryRun = False
) -> Forgotten:
    """Forget a directory that the settings do not name any more. What was published there stays there."""
    return Forgotten(name=directory, values_left=directories.forget(caller.house, directory, dry_run=dry_run))


@routes.get("/{directory}/differences", dependencies=[LENGTHY])
def check(
    directory: DirectoryName,
    _caller: Annotated[Caller, requires(Permission.READ_DIRECTORIES)],
    here: Here,
    paging: InPages,
    *,
    owed: Annotated[bool, Query(description="Only entries that the next upload looks at: what it would change.")] = False,
) -> Page[DifferenceShown]:
    """Compare a directory with the records and list the differences.

    A page covers up to `limit` entries, and fewer where the directory is slow: it may be empty without being the last one. A
    directory that cannot be used is a difference, `unreachable`, and the last one.
    """
    place = paging.after(str, int)
    if place is not None and not comparison.is_place(*place):
        raise InvalidCursor
    part = comparison.compare(here.house, directory, limit=paging.limit, after=place, owed=owed)
    return paging.part([DifferenceShown.of(found) for found in part.differences], part.last)


def _shown(house: House, name: str) -> DirectoryShown:
    found = next((each for each in directories.reports(house, most=_MOST) if each.backlog.directory == name), None)
    if found is None:
        raise UnknownDirectory(f"there is no directory {name!r}")
    return DirectoryShown.of(found, house.clock.now())
