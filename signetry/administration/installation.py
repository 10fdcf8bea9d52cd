"""Installing the certificate that somebody else's authority has made for an issuing CA of ours."""

from collections.abc import Sequence

from sqlmodel import Session

from ca import installation
from ca.authorisation import CaName
from ca.capability import can_issue
from ca.certificate_files import read_certificates
from ca.errors import ChainRefused
from ca.installation import Installation
from ca.lineage import lineage_of
from ca.profiles import DEVICE_PROFILES, PERSON_PROFILES, SCEP_RA, profile_named
from crl import publication
from foundation.errors import SignetryError
from signetry.house import House


def install_certificate(house: House, name: str, files: Sequence[bytes], *, dry_run: bool = False) -> Installation:
    """Install the certificate that somebody else's authority made for the issuing CA ``name``, with the chain above it.

    ``files`` hold them in any form and order. A dry run judges all of it and writes nothing. Of the warnings, some concern the
    profiles of the configured endpoints.

    Raises:
        UnreadableCertificates, ChainRefused: what is given cannot be read, would not verify, or could issue none of the profiles.
        UnknownAuthority, ForeignAuthority, KeyUnavailable: there is no such CA of ours, or its key cannot be opened.
    """
    given = read_certificates(files)
    now = house.clock.now()
    if dry_run:
        with house.transactions.reading() as session:
            return _judged(house, session, installation.plan(session, house.keystore, CaName(name), given, now=now))

    def act(session: Session) -> Installation:
        # Judged before anything is written, in the same transaction.
        _judged(house, session, installation.plan(session, house.keystore, CaName(name), given, now=now))
        done = installation.install(
            session,
            house.keystore,
            CaName(name),
            given,
            actor=house.actor,
            now=now,
            listeners=house.issuance_listeners,
        )
        publication.ensure_schedules(session, now)
        return _judged(house, session, done)

    return house.transactions.write(act)


def settle_in(house: House) -> list[str]:
    """Do at once what the worker would do for a new or newly certified CA; return what stands in the way, one line each."""
    problems = [outcome.failure for outcome in house.publish_crls() if outcome.failure]
    try:
        house.renew_ra_keys()
    except SignetryError as error:
        problems.append(str(error))
    return problems


def _judged(house: House, session: Session, found: Installation) -> Installation:
    """Return ``found`` with warnings for the profiles that it cannot issue.

    Raises:
        ChainRefused: it can issue none of those that are configured, or no RA certificate.
    """
    names = {row.name for row in lineage_of(session, found.own.name).members}
    configured = [endpoint.profiles for endpoint in house.endpoints.values() if endpoint.issuing_ca in names]
    profiles = sorted({name for each in configured for name in each} or {*PERSON_PROFILES, *DEVICE_PROFILES})
    limits = found.limits
    impossible = [name for name in profiles if not can_issue(limits, profile_named(name), house.organisation)]
    if len(impossible) == len(profiles) or not can_issue(limits, SCEP_RA, house.organisation):
        raise ChainRefused(
            f"the chain allows {found.own.name} to issue none of {', '.join(profiles)} (extended key usages or name constraints)"
        )
    warnings = list(found.warnings)
    if impossible and configured:
        warnings.append(f"the chain does not allow {', '.join(impossible)}: take them out of the profiles of its endpoints")
    elif not configured:
        warnings.append(f"no endpoint names {found.own.name} as its issuing_ca yet")
    return Installation(found.chain, tuple(warnings))
