"""Rolling an issuing CA over: its successor is prepared and takes over, and the one before is retired (see ``ca.lineage``).

Every step is one transaction, the caller's, and doing it again changes nothing. Until a successor is activated it issues nothing
but certificates of its own service keys; afterwards its predecessor issues nothing more, and is still asked about what it issued.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from sqlmodel import Session, col, func, select

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import CaName
from ca.constraints import constraints_of
from ca.errors import CertificateAwaited, ForeignAuthority, RolloverRefused
from ca.hierarchy import NewAuthority, create_awaiting, create_issuing, load_authority
from ca.issuance import IssuanceListener
from ca.keys import KeyStore
from ca.lineage import Lineage, standings
from ca.profiles import BUILT_IN, SubjectKind
from ca.ra_keys import has_ra_key
from ca.records import Certificate, CertificationAuthority
from ca.rows import current_certificate, find_row, id_of, issuer_of, key_reference, newest_certificate, row_named

_NAME_CHARACTERS = 60
# The authority's own certificates, and its other keys': nobody renews them by enrolling.
_OF_THE_SERVICE = [profile.name for profile in BUILT_IN.values() if profile.subject is SubjectKind.SERVICE]


@dataclass(frozen=True, slots=True)
class Step:
    """Under whose hand and when a step of a roll-over is taken, and who is told of the certificates it makes."""

    actor: Actor
    now: datetime
    listeners: Sequence[IssuanceListener] = ()


def successor_name(session: Session, lineage: Lineage) -> CaName:
    """Return what the next member of a lineage is called: like the first, with the next number that is free."""
    first = min(lineage.members, key=id_of).name
    numbered = (f"{first[: _NAME_CHARACTERS - len(f'-{number}')]}-{number}" for number in range(2, 1000))
    return next(CaName(name) for name in numbered if find_row(session, CaName(name)) is None)


def prepare(
    session: Session, keystore: KeyStore, lineage: Lineage, new: NewAuthority, *, elsewhere: bool, public_url: str, step: Step
) -> CertificationAuthority:
    """Make the successor of a lineage's active CA, or return the one that the same order made before.

    It stands under the same root and has the same limits; ``new.constraints`` are not looked at. With ``elsewhere`` somebody
    else's authority is to certify it, and it waits for that.

    Raises:
        RolloverRefused: a successor is prepared already, and was made otherwise; or the CA is a root, or awaits its certificate.
        ForeignAuthority: the authority above is not ours, so that only ``elsewhere`` is possible; or the CA is not ours itself.
        KeyUnavailable: the algorithm is not one for an issuing CA, or a key cannot be opened.
    """
    active = lineage.active
    key_reference(active)
    newest = x509.load_der_x509_certificate(_certified(session, active, newest_certificate).der)
    above = issuer_of(session, active)
    if above is None:
        raise RolloverRefused(f"{active.name} is a root: it is replaced by a new installation, not by a successor")
    if lineage.successor is not None:
        _require_same(session, lineage.successor, new, elsewhere=elsewhere)
        return lineage.successor
    if elsewhere:
        create_awaiting(session, keystore, new, actor=step.actor, now=step.now)
    else:
        if above.key_reference is None:
            raise ForeignAuthority(
                f"{active.name} stands under {above.name}, which is not ours and cannot be asked here: make a request with --csr"
            )
        root = load_authority(session, keystore, CaName(above.name), public_url)
        order = replace(new, constraints=constraints_of(newest))
        create_issuing(
            session, keystore, root, order, public_url=public_url, actor=step.actor, now=step.now, listeners=step.listeners
        )
    made = row_named(session, new.name)
    made.succeeds_id = active.id
    session.add(made)
    session.flush()
    _report(session, "ca.prepared", made, {"succeeds": active.name, "elsewhere": elsewhere}, step)
    return made


def activate(session: Session, lineage: Lineage, step: Step, *, needs_ra_key: bool = True) -> CertificationAuthority:
    """Let the successor of a lineage take over, from the commit on; return it.

    Where it has done so already, that is found and nothing changes.

    Raises:
        RolloverRefused: no successor is prepared, its certificate is awaited or not valid now, or it has no RA key, though it
            needs one.
        UnknownAuthority: its certificate is revoked.
    """
    active, successor = lineage.active, lineage.successor
    if successor is None:
        if active.activated_at is None:
            raise RolloverRefused(f"no successor of {active.name} is prepared: signetry ca rollover prepare {active.name}")
        return active
    current = _certified(session, successor, current_certificate)
    if not current.not_before <= step.now < current.not_after:
        raise RolloverRefused(f"the certificate of {successor.name} is not valid now")
    if needs_ra_key and not has_ra_key(session, id_of(successor), now=step.now):
        raise RolloverRefused(f"{successor.name} has no RA key yet, and requests could not be read: the worker makes one")
    successor.activated_at = step.now
    session.add(successor)
    session.flush()
    _report(session, "ca.activated", successor, {"succeeds": active.name}, step)
    return successor


def retire(session: Session, lineage: Lineage, name: CaName, step: Step, *, force: bool) -> CertificationAuthority:
    """Retire a former CA, or give a prepared one up: from the commit on it answers nothing, and only publishes its CRL.

    Of a former CA no request is opened and no certificate renewed any more. Its certificates stay as good as they are.

    Raises:
        RolloverRefused: it is the active one; or certificates of it are good, and ``force`` is not given.
    """
    row = next(each for each in lineage.members if each.name == name)
    if row.retired_at is not None:
        return row
    if row is lineage.active:
        raise RolloverRefused(f"{name} is the CA that issues: let a successor take over first (signetry ca rollover activate)")
    good = good_certificates(session, id_of(row), now=step.now)
    if good and not force:
        raise RolloverRefused(
            f"{good} certificates of {name} are good and could not be renewed any more: wait until they have been, or use --force"
        )
    standing = standings(session)[id_of(row)]
    row.retired_at = step.now
    session.add(row)
    session.flush()
    _report(session, "ca.retired", row, {"was": str(standing), "good_certificates": good}, step)
    return row


def good_certificates(session: Session, authority_id: int, *, now: datetime) -> int:
    """Count the certificates of persons and devices that an authority issued, and that are neither revoked nor expired."""
    query = select(func.count(col(Certificate.id))).where(
        col(Certificate.authority_id) == authority_id,
        col(Certificate.revoked_at).is_(None),
        col(Certificate.not_after) > now,
        col(Certificate.profile).not_in(_OF_THE_SERVICE),
    )
    return session.exec(query).one()


def _certified(
    session: Session, row: CertificationAuthority, find: Callable[[Session, CertificationAuthority], Certificate]
) -> Certificate:
    try:
        return find(session, row)
    except CertificateAwaited as awaited:
        # No outage, which would pass by itself: somebody has to do something about it.
        raise RolloverRefused(str(awaited)) from None


def _require_same(session: Session, successor: CertificationAuthority, new: NewAuthority, *, elsewhere: bool) -> None:
    above = issuer_of(session, successor)
    is_elsewhere = above is None or above.key_reference is None
    if successor.key_algorithm != new.algorithm or is_elsewhere != elsewhere:
        how = "for somebody else's authority to certify" if is_elsewhere else "under a root of ours"
        raise RolloverRefused(
            f"{successor.name} is prepared already, {how} and with a key of kind {successor.key_algorithm}: "
            f"activate it, or give it up with signetry ca rollover retire {successor.name}"
        )


def _report(session: Session, action: str, row: CertificationAuthority, details: dict[str, object], step: Step) -> None:
    record_event(session, Event(step.actor, action, f"ca:{row.name}", details=details), now=step.now)
