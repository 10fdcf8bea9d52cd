"""Rolling an issuing CA over, and its RA: what the command line and the API do, each step in one transaction."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from cryptography import x509
from sqlmodel import Session

from ca import hierarchy, ra_keys, rollover
from ca.authorisation import CaName
from ca.capability import can_issue
from ca.constraints import Constraints
from ca.errors import RolloverRefused
from ca.keys import KeyAlgorithm
from ca.limits import Limits, limits_of
from ca.lineage import Standing, lineage_of, standings
from ca.profiles import profile_named
from ca.ra_keys import RaKeyPair
from ca.records import CertificationAuthority
from ca.rollover import Step
from ca.rows import chain_above, current_certificate, id_of, lock_authorities, newest_certificate, newest_or_none
from crl import publication
from signetry.administration.hierarchy import new_authority, request_in
from signetry.administration.rehearsal import perform
from signetry.house import House


@dataclass(frozen=True, slots=True)
class SuccessorOrder:
    """A successor of the CA that issues in the lineage of ``name``.

    ``algorithm`` is of its key, that of its predecessor where it is not said; ``elsewhere`` means that somebody else's authority
    is to certify it.
    """

    name: str
    algorithm: KeyAlgorithm | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A successor; ``certificate`` is None, and ``request`` (PEM) not empty, while it waits for a certificate."""

    name: CaName
    succeeds: CaName
    is_new: bool
    subject: str
    certificate: x509.Certificate | None = field(repr=False)
    request: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """A step of a roll-over: of which CA, whether anything changed (or would), and what that means, a sentence each."""

    name: CaName
    changed: bool
    standing: Standing
    consequences: tuple[str, ...]


def prepare(house: House, order: SuccessorOrder) -> Prepared:
    """Make the successor of an issuing CA; the same order again finds the one that it made.

    Its first CRL and its RA key are due at once; it issues nothing for anybody before it is activated.

    Raises:
        UnknownAuthority: no authority has this name.
        ForeignAuthority, RolloverRefused, KeyUnavailable: as ``ca.rollover.prepare``.
    """
    return house.transactions.write(partial(_prepare, house, order))


def activate(house: House, name: str, *, dry_run: bool = False, force: bool = False) -> Taken:
    """Let the prepared successor take over in the lineage of ``name``; where it has, nothing changes.

    Raises:
        UnknownAuthority: no authority has this name, or the certificate of the successor is revoked.
        RolloverRefused: none is prepared; it has no certificate, no CRL that is published, or no RA key; or endpoints would lose
            a profile that it may not issue, and ``force`` is not given.
    """
    return house.transactions.write(
        lambda session: perform(session, partial(_activate, house, CaName(name), force=force), dry_run=dry_run)
    )


def retire(house: House, name: str, *, dry_run: bool = False, force: bool = False) -> Taken:
    """Retire a former CA, or give a prepared one up; where that was done, nothing changes.

    Raises:
        UnknownAuthority: no authority has this name.
        RolloverRefused: it issues; or certificates of it are good, and ``force`` is not given.
    """
    return house.transactions.write(
        lambda session: perform(session, partial(_retire, house, CaName(name), force=force), dry_run=dry_run)
    )


def renew_ra(house: House, name: str, session: Session) -> RaKeyPair:
    """Make a new RA key at once for the CA that issues in the lineage of ``name``, in the transaction of ``session``.

    GetCACert names it from the commit on; what is sent to the one before is read until its certificate expires.

    Raises:
        UnknownAuthority, KeyUnavailable: there is no such CA, or its key cannot be used.
    """
    active = CaName(lineage_of(session, CaName(name)).active.name)
    authority = hierarchy.load_authority(session, house.keystore, active, house.settings.public_url)
    return ra_keys.create_ra_key(
        session,
        house.keystore,
        authority,
        actor=house.actor,
        now=house.clock.now(),
        listeners=house.issuance_listeners,
    )


def _step(house: House) -> Step:
    return Step(house.actor, house.clock.now(), house.issuance_listeners)


def _prepare(house: House, order: SuccessorOrder, session: Session) -> Prepared:
    lock_authorities(session)
    lineage = lineage_of(session, CaName(order.name))
    is_new = lineage.successor is None
    name = CaName(lineage.successor.name) if lineage.successor else rollover.successor_name(session, lineage)
    algorithm = order.algorithm or KeyAlgorithm((lineage.successor or lineage.active).key_algorithm)
    row = rollover.prepare(
        session,
        house.keystore,
        lineage,
        new_authority(house, name, algorithm, Constraints()),
        elsewhere=order.elsewhere,
        public_url=house.settings.public_url,
        step=_step(house),
    )
    publication.ensure_schedules(session, house.clock.now())
    certificate = newest_or_none(session, row)
    request = "" if certificate else request_in(house, session, name)
    subject = certificate.subject if certificate else x509.load_pem_x509_csr(request.encode()).subject
    return Prepared(name, CaName(lineage.active.name), is_new, subject.rfc4514_string(), certificate, request)


def _activate(house: House, name: CaName, session: Session, *, force: bool) -> Taken:
    lock_authorities(session)
    lineage = lineage_of(session, name)
    successor = lineage.successor
    names = {row.name for row in lineage.members}
    offered = {profile for each in house.endpoints.values() if each.issuing_ca in names for profile in each.profiles}
    is_used = any(each.issuing_ca in names for each in house.endpoints.values())
    active = rollover.activate(session, lineage, _step(house), needs_ra_key=is_used)
    # What is refused from here on has not happened: the transaction is undone.
    if successor is not None:
        head = publication.current(session, id_of(successor))
        if head is None or head.next_update <= house.clock.now():
            raise RolloverRefused(f"{successor.name} has no CRL that is valid now: the worker makes one, signetry crl issue, too")
        lost = _profiles_lost(house, session, lineage.active, successor, offered)
        if lost and not force:
            raise RolloverRefused(
                f"{successor.name}, or an authority above it, may not issue {', '.join(lost)}, which endpoints offer: take them "
                "out of the endpoints' profiles, or use --force"
            )
    return Taken(
        CaName(active.name),
        changed=successor is not None,
        standing=Standing.ACTIVE,
        consequences=() if successor is None else _of_activation(lineage.active.name, active.name),
    )


def _of_activation(before: str, after: str) -> tuple[str, ...]:
    return (
        f"within a second, what is enrolled and renewed comes from {after}, and GetCACert names it",
        f"what {before} has issued stays good and can be renewed; its CRL goes on",
        f"whoever trusts {before} by itself, and not the root, has to be told of {after} (NTAuth, pinned fingerprints)",
        f"there is no way back: after this step only another successor can take over from {after}",
    )


def _profiles_lost(
    house: House, session: Session, active: CertificationAuthority, successor: CertificationAuthority, offered: Collection[str]
) -> list[str]:
    """Return the profiles offered that the successor's chain does not allow, though the active CA's does."""
    # Revoked or not: it may be because its key is lost that the CA is rolled over.
    before = _limits(session, active, newest_certificate(session, active).der)
    after = _limits(session, successor, current_certificate(session, successor).der)
    possible = [profile for profile in sorted(offered) if can_issue(before, profile_named(profile), house.organisation)]
    return [profile for profile in possible if not can_issue(after, profile_named(profile), house.organisation)]


def _limits(session: Session, row: CertificationAuthority, own: bytes) -> Limits:
    return limits_of(x509.load_der_x509_certificate(der) for der in (own, *chain_above(session, row)))


def _retire(house: House, name: CaName, session: Session, *, force: bool) -> Taken:
    lock_authorities(session)
    lineage = lineage_of(session, name)
    row = next(each for each in lineage.members if each.name == name)
    standing = standings(session)[id_of(row)]
    good = rollover.good_certificates(session, id_of(row), now=house.clock.now())
    rollover.retire(session, lineage, name, _step(house), force=force)
    if standing is Standing.RETIRED:
        return Taken(name, changed=False, standing=Standing.RETIRED, consequences=())
    if standing is Standing.FORMER:
        consequences = [
            f"requests made to an RA certificate of {name} are not read any more, and its certificates not renewed",
            f"its CRL is published until the last certificate of {name} has expired",
        ]
        if good:
            consequences.insert(0, f"{good} good certificates of {name} stay good and can be replaced with a challenge only")
    else:
        consequences = [f"{name} will never issue; roll-over may prepare another successor"]
        if standing is Standing.PREPARED:
            consequences.append("its certificate stays valid: signetry cert revoke, should somebody else have its key")
    return Taken(name, changed=True, standing=Standing.RETIRED, consequences=tuple(consequences))
