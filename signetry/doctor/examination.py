"""The examination: every check over an installation, in the order in which what they find makes sense."""

from foundation.errors import SignetryError
from signetry.doctor import archive, authorities, crls, endpoints, installation, intune, keys, made_keys, notices, reachability
from signetry.doctor.findings import Check, Finding
from signetry.house import House
from signetry.logging import log_reference

# What needs no database, and what does; each under the name that its own failure is reported by.
_FIRST: tuple[tuple[str, Check], ...] = (
    ("packages", installation.packages),
    ("public_url", reachability.public_url),
    ("tls", reachability.tls_pair),
    ("service", reachability.service),
)
_OVER_THE_DATABASE: tuple[tuple[str, Check], ...] = (
    ("keys", keys.keys),
    ("authorities", authorities.authorities),
    ("endpoints", endpoints.endpoints),
    ("intune", intune.intune),
    ("crls", crls.crls),
    ("archive", archive.key_archive),
    ("made-keys", made_keys.made_keys),
    ("notices", notices.notices),
)


def examine(house: House) -> list[Finding]:
    """Run every check over an installation; one that fails, expectedly or not, is itself a finding."""
    found = [finding for name, check in _FIRST for finding in _run(name, check, house)]
    database = _run("database", installation.database, house)
    found += database
    # Without its tables the others would all say the same, in worse words.
    if all(finding.severity == "ok" for finding in database):
        found += [finding for name, check in _OVER_THE_DATABASE for finding in _run(name, check, house)]
    return found


def _run(name: str, check: Check, house: House) -> list[Finding]:
    found: list[Finding] = []
    try:
        # One by one, so that what was found before a failure is not lost.
        found.extend(check(house))
    except SignetryError as error:
        found.append(Finding(name, "error", str(error)))
    except Exception as error:  # noqa: BLE001 - a doctor that falls ill is of no use
        reference = log_reference(error, "a check of the doctor failed", check=name)
        found.append(Finding(name, "error", f"the check failed (log reference {reference}): {type(error).__name__}"))
    return found
