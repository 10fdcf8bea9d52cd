"""Revocation: what is good, on hold, revoked, and the CRL entry that says so.

Source: RFC 5280 section 5.3 (entry extensions), section 3.3 and X.509 section 9.5.2.2 (hold); CA/B Forum Baseline Requirements
section 7.2.2 (a reason changes only to keyCompromise).

    good    --revoke-->  revoked       the entry's date is the time of the act
    good    --hold-->    on hold
    on hold --release--> good          the entry leaves with the next CRL
    on hold --revoke-->  revoked       the date stays that of the hold (X.509): the certificate has not been trusted since
    revoked --revoke-->  revoked       for the same reason: nothing happens; for keyCompromise: reason and invalidity date change,
                                       the date stays; for any other: AlreadyRevoked

Each change is one conditional UPDATE, its audit event and the calls of the listeners, all in the caller's transaction.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, select, update
from sqlmodel import Session, col

from audit.log import Actor, Event, record
from ca.errors import AlreadyRevoked, BadRevocation, ForeignAuthority, NotOnHold, SelfRevocation, UnknownCertificate
from ca.records import Certificate, CertificationAuthority
from foundation import tlv


class RevocationReason(StrEnum):
    """The reason codes of RFC 5280 section 5.3.1, by their names there."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    # Stands in delta CRLs only, for what was released; nobody revokes for it.
    REMOVE_FROM_CRL = "removeFromCRL"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "aACompromise"

    @property
    def code(self) -> int:
        """The ENUMERATED value of reasonCode."""
        return _CODES[self]


_CODES = {
    RevocationReason.UNSPECIFIED: 0,
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    RevocationReason.CERTIFICATE_HOLD: 6,
    # 7 is not used (RFC 5280 section 5.3.1).
    RevocationReason.REMOVE_FROM_CRL: 8,
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
    RevocationReason.AA_COMPROMISE: 10,
}


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """A certificate's revocation state after an act; ``reason`` and ``revoked_at`` are None once it was released."""

    certificate_id: int
    authority_id: int
    serial: str
    profile: str
    subject: str
    person_id: int | None
    device_id: int | None
    revoked_at: datetime | None
    reason: RevocationReason | None
    invalidity_date: datetime | None
    # False where the act found everything as it was to be, and no listener was called.
    changed: bool


# A row of the columns in _COLUMNS.
_State = Row[Any]
RevocationListener = Callable[[Session, RevokedCertificate], None]

_COLUMNS = (
    col(Certificate.id),
    col(Certificate.authority_id),
    col(Certificate.serial),
    col(Certificate.profile),
    col(Certificate.subject),
    col(Certificate.person_id),
    col(Certificate.device_id),
    col(Certificate.certifies_id),
    col(Certificate.not_before),
    col(Certificate.revoked_at),
    col(Certificate.revocation_reason),
    col(Certificate.invalidity_date),
    col(CertificationAuthority.key_reference).is_(None).label("is_issued_elsewhere"),
)
_STATE = select(*_COLUMNS).join(CertificationAuthority, col(CertificationAuthority.id) == col(Certificate.authority_id))
_GOOD_AGAIN: dict[str, object] = {"revoked_at": None, "revocation_reason": None, "invalidity_date": None, "crl_entry": None}
# How often a state that somebody else keeps changing is read again; each round means another act has come through.
_ATTEMPTS = 5
_REASON_CODE = tlv.object_identifier("2.5.29.21")
_INVALIDITY_DATE = tlv.object_identifier("2.5.29.24")
# RFC 5280 section 5.1.2.4: UTCTime through 2049, GeneralizedTime from 2050 on.
_FIRST_GENERALIZED_YEAR = 2050


def revoke(
    session: Session,
    certificate_ids: Iterable[int],
    reason: RevocationReason,
    *,
    actor: Actor,
    now: datetime,
    invalidity_date: datetime | None = None,
    listeners: Sequence[RevocationListener] = (),
) -> list[RevokedCertificate]:
    """Revoke certificates, all or none, and return their states in the order of their ids.

    With ``certificateHold`` they are put on hold. One already revoked for ``reason`` stays as it is: a repeated act does
    no harm. ``invalidity_date`` says since when the key must be thought compromised, or the certificate invalid; for a key
    that was lost before its newest certificate, that is before the certificate's own validity.

    Raises:
        BadRevocation: ``removeFromCRL``, or an invalidity date in the future.
        UnknownCertificate: no such certificate.
        AlreadyRevoked: for another reason, and the new one is not keyCompromise.
        SelfRevocation: a root's own certificate.
        ForeignAuthority: the certificate of an authority, issued by one that is not ours.
    """
    if reason is RevocationReason.REMOVE_FROM_CRL:
        raise BadRevocation("removeFromCRL is no reason to revoke; release takes a certificate off hold")
    invalid_since = None if invalidity_date is None else invalidity_date.astimezone(UTC).replace(microsecond=0)
    if invalid_since is not None and invalid_since > now:
        raise BadRevocation("the invalidity date lies in the future")

    def decide(state: _State) -> dict[str, object] | None:
        if state.is_issued_elsewhere:
            raise ForeignAuthority(f"certificate {state.serial} comes from an authority that is not ours: it is revoked there")
        if state.certifies_id == state.authority_id:
            raise SelfRevocation("a root's own certificate cannot be revoked; take it out of the trust stores instead")
        if state.revoked_at is not None and not _may_follow(state, reason, invalid_since):
            return None
        revoked_at = state.revoked_at or now.replace(microsecond=0)
        since = invalid_since or state.invalidity_date
        return {
            "revoked_at": revoked_at,
            "revocation_reason": str(reason),
            "invalidity_date": since,
            "crl_entry": encode_entry(int(state.serial, 16), revoked_at, reason, since),
        }

    action = "certificate.held" if reason is RevocationReason.CERTIFICATE_HOLD else "certificate.revoked"
    return _change(session, certificate_ids, decide, Event(actor, action, ""), now=now, listeners=listeners)


def hold(
    session: Session,
    certificate_ids: Iterable[int],
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[RevocationListener] = (),
) -> list[RevokedCertificate]:
    """Put certificates on hold: revoked for now, until ``release`` or a final ``revoke``. Raises as ``revoke`` does."""
    reason = RevocationReason.CERTIFICATE_HOLD
    return revoke(session, certificate_ids, reason, actor=actor, now=now, listeners=listeners)


def release(
    session: Session,
    certificate_ids: Iterable[int],
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[RevocationListener] = (),
) -> list[RevokedCertificate]:
    """Take certificates off hold, all or none: they are good again, and absent from the next CRL.

    Raises:
        UnknownCertificate: no such certificate.
        NotOnHold: one of them is good, or finally revoked.
    """

    def decide(state: _State) -> dict[str, object]:
        if state.revocation_reason != RevocationReason.CERTIFICATE_HOLD:
            standing = "not revoked at all" if state.revoked_at is None else f"revoked for good ({state.revocation_reason})"
            raise NotOnHold(f"certificate {state.serial} is not on hold, it is {standing}")
        return _GOOD_AGAIN

    return _change(session, certificate_ids, decide, Event(actor, "certificate.released", ""), now=now, listeners=listeners)


def encode_entry(
    serial: int,
    revoked_at: datetime,
    reason: RevocationReason,
    invalidity_date: datetime | None = None,
) -> bytes:
    """Return the DER of one revokedCertificates entry (RFC 5280 section 5.1.2.6), times cut to seconds.

    ``unspecified`` is said by leaving reasonCode out (section 5.3.1).
    """
    extensions = b""
    if reason is not RevocationReason.UNSPECIFIED:
        extensions += tlv.sequence(_REASON_CODE, tlv.octet_string(tlv.integer(reason.code, tlv.ENUMERATED)))
    if invalidity_date is not None:
        extensions += tlv.sequence(_INVALIDITY_DATE, tlv.octet_string(_generalized_time(invalidity_date)))
    parts = (tlv.integer(serial), _time(revoked_at))
    return tlv.sequence(*parts, tlv.sequence(extensions)) if extensions else tlv.sequence(*parts)


def _generalized_time(moment: datetime) -> bytes:
    return tlv.tlv(tlv.GENERALIZED_TIME, moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())


def _time(moment: datetime) -> bytes:
    if moment.astimezone(UTC).year >= _FIRST_GENERALIZED_YEAR:
        return _generalized_time(moment)
    return tlv.tlv(tlv.UTC_TIME, moment.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())


def _may_follow(state: _State, reason: RevocationReason, invalid_since: datetime | None) -> bool:
    """Say whether a revoked certificate changes to ``reason`` (True), has it already (False); raise when it may not."""
    if state.revocation_reason == reason:
        if invalid_since in (None, state.invalidity_date):
            return False
        raise AlreadyRevoked(f"certificate {state.serial} is revoked already, with another invalidity date")
    if state.revocation_reason == RevocationReason.CERTIFICATE_HOLD or reason is RevocationReason.KEY_COMPROMISE:
        return True
    raise AlreadyRevoked(f"certificate {state.serial} is revoked already: {state.revocation_reason}")


def _change(
    session: Session,
    certificate_ids: Iterable[int],
    decide: Callable[[_State], dict[str, object] | None],
    event: Event,
    *,
    now: datetime,
    listeners: Sequence[RevocationListener],
) -> list[RevokedCertificate]:
    """Give each certificate the columns that ``decide`` says, record it as ``event`` and tell the listeners."""
    # In one order, and before anything else is locked, so that two acts on the same certificates do not wait for each other.
    changes = [_update(session, certificate_id, decide) for certificate_id in sorted(set(certificate_ids))]
    for before, after in changes:
        if after.changed:
            record(session, replace(event, subject=f"certificate:{after.serial}", details=_details(before, after)), now=now)
            for listener in listeners:
                listener(session, after)
    return [after for _, after in changes]


def _update(
    session: Session, certificate_id: int, decide: Callable[[_State], dict[str, object] | None]
) -> tuple[_State, RevokedCertificate]:
    for _ in range(_ATTEMPTS):
        before = session.execute(_STATE.where(col(Certificate.id) == certificate_id)).one_or_none()
        if before is None:
            raise UnknownCertificate(f"there is no certificate number {certificate_id}")
        values = decide(before)
        if values is None:
            return before, _outcome(before, {}, changed=False)
        # Only the state that was judged is changed; whoever came in between is judged anew.
        unchanged = col(Certificate.revocation_reason).is_not_distinct_from(before.revocation_reason)
        done = session.execute(update(Certificate).where(col(Certificate.id) == certificate_id, unchanged).values(values))
        if done.rowcount == 1:  # type: ignore[attr-defined]
            return before, _outcome(before, values, changed=True)
    raise AlreadyRevoked(f"others keep changing the state of certificate number {certificate_id}")


def _outcome(before: _State, values: dict[str, object], *, changed: bool) -> RevokedCertificate:
    after: dict[str, Any] = {**before._asdict(), **values}
    reason = after["revocation_reason"]
    return RevokedCertificate(
        certificate_id=after["id"],
        authority_id=after["authority_id"],
        serial=after["serial"],
        profile=after["profile"],
        subject=after["subject"],
        person_id=after["person_id"],
        device_id=after["device_id"],
        revoked_at=after["revoked_at"],
        reason=None if reason is None else RevocationReason(reason),
        invalidity_date=after["invalidity_date"],
        changed=changed,
    )


def _details(before: _State, after: RevokedCertificate) -> dict[str, object]:
    details = {
        "authority": after.authority_id,
        "profile": after.profile,
        "person": after.person_id,
        "device": after.device_id,
        "reason": after.reason and str(after.reason),
        "previous_reason": before.revocation_reason,
        "invalidity_date": after.invalidity_date and after.invalidity_date.isoformat(),
    }
    return {key: value for key, value in details.items() if value is not None}
