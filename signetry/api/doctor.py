"""``/doctor``: what an examination of the installation finds."""

from typing import Annotated

from pydantic import Field

from signetry.access.roles import Permission
from signetry.api.context import Here
from signetry.api.models import Shown, with_examples
from signetry.api.routing import router
from signetry.api.security import Caller, requires
from signetry.doctor.examination import examine
from signetry.doctor.findings import Severity

routes = router("/doctor", "Doctor")


class FindingShown(Shown):
    """What one check found."""

    check: str
    severity: Severity
    finding: str
    advice: Annotated[str, Field(description="What an administrator can do, where something is to be done.")]


class Examination(Shown):
    """All findings."""

    model_config = with_examples(
        {
            "broken": False,
            "items": [
                {
                    "check": "CRL of root",
                    "severity": "warning",
                    "finding": "expires at 2026-06-01 12:00 UTC",
                    "advice": "is the worker running?",
                }
            ],
        }
    )

    broken: Annotated[bool, Field(description="Whether one of them is an error.")]
    items: list[FindingShown]


@routes.get("")
def examine_all(_caller: Annotated[Caller, requires(Permission.READ_FINDINGS)], here: Here) -> Examination:
    """Examine the installation: certificates, keys, CRLs, endpoints, TLS."""
    found = examine(here.house)
    return Examination(
        broken=any(finding.severity == "error" for finding in found),
        items=[FindingShown.model_validate(finding) for finding in found],
    )
