"""Microsoft's cloud, where endpoints need it, and what waits for it."""

from collections.abc import Iterator
from datetime import timedelta

from pkcs_import import intune_plan
from scep import withheld
from scep.endpoint import ChallengeKind
from scep.enrolment import WITHHELD_AT_MOST
from signetry import intune as configured
from signetry.doctor.findings import Finding
from signetry.house import House

# An answer that was lost is asked for again within minutes.
_WAITS_LONG = timedelta(hours=1)


def intune(house: House) -> Iterator[Finding]:
    """Try what enrolments and pushed keys need, and look for certificates and uploads of which Intune was not told."""
    yield from _withheld(house)
    yield from _interrupted(house)
    names = sorted(name for name, endpoint in house.endpoints.items() if endpoint.challenge is ChallengeKind.INTUNE)
    is_pushing = house.settings.intune.connector_key_file is not None
    if not names and not is_pushing:
        if house.settings.intune.is_configured:
            yield Finding(
                "Intune", "warning", "a tenant is configured, and no endpoint is for it", 'set challenge = "intune" at one'
            )
        return
    uses = [*names, *(["imported certificates"] if is_pushing else [])]
    steps = configured.check(house.settings.intune, is_enrolling=bool(names))
    for step in steps:
        if not step.succeeded:
            yield Finding("Intune", "error", f"{step.step}: {step.finding}", "docs/intune.md says what it needs")
    if all(step.succeeded for step in steps):
        yield Finding("Intune", "ok", f"{house.settings.intune.tenant_id} can be asked, for {', '.join(uses)}")


def _interrupted(house: House) -> Iterator[Finding]:
    with house.transactions.reading() as session:
        count = intune_plan.interrupted(session)
    if count:
        yield Finding(
            "Intune", "warning", f"{count} uploads of keys to Intune did not come to their end", "signetry intune push-pfx"
        )


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
