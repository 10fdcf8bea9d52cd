"""Microsoft's cloud, where endpoints need it, and what waits for it."""

from collections.abc import Iterator
from datetime import timedelta

from scep import withheld
from scep.endpoint import ChallengeKind
from scep.enrolment import WITHHELD_AT_MOST
from signetry import intune as configured
from signetry.doctor.findings import Finding
from signetry.house import House

# An answer that was lost is asked for again within minutes.
_WAITS_LONG = timedelta(hours=1)


def intune(house: House) -> Iterator[Finding]:
    """Try what enrolments at the endpoints for Intune need, and look for certificates that Intune could not be told of."""
    yield from _withheld(house)
    names = sorted(name for name, endpoint in house.endpoints.items() if endpoint.challenge is ChallengeKind.INTUNE)
    if not names:
        if house.settings.intune.is_configured:
            yield Finding(
                "Intune", "warning", "a tenant is configured, and no endpoint is for it", 'set challenge = "intune" at one'
            )
        return
    steps = configured.check(house.settings.intune)
    for step in steps:
        if not step.succeeded:
            yield Finding("Intune", "error", f"{step.step}: {step.finding}", "docs/intune.md says what it needs")
    if all(step.succeeded for step in steps):
        yield Finding("Intune", "ok", f"{house.settings.intune.tenant_id} can be asked, for {', '.join(names)}")


def _withheld(house: House) -> Iterator[Finding]:
    with house.transactions.reading() as session:
        due = withheld.next_due(session)
    if due is not None and (age := house.clock.now() - (due - WITHHELD_AT_MOST)) > _WAITS_LONG:
        hours = int(age.total_seconds() // 3600)
        yield Finding(
            "withheld",
            "warning",
            f"a certificate waits for {hours} hours to be told of before it is handed out",
            "signetry intune check; after 24 hours it is revoked",
        )
