"""The two operations of the archive process: ``deliver`` and ``recover``. Nothing else opens what is in the archive.

Both check everything themselves, whoever asks, and commit before they answer: what leaves is on record. What they pack is under a
passphrase of their own making, which they hand over once and keep nowhere. Source: design.md section 5.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from foundation import tlv
from foundation.transactions import Transactions
from people.activity import hold_person
from pkcs_import import delivery, recovery
from pkcs_import.archive import Delivered, DeliveryOrder, PackedKey, Recovered
from pkcs_import.errors import DeliveryRefused, SealBroken
from pkcs_import.keeping import KeptKey
from pkcs_import.opening import SealedRecord, sealed_records
from pkcs_import.packing import Encoding, Packable, new_passphrase, pack
from pkcs_import.recovery import InOffice, Participant

# A passphrase under the public key of Intune's connector.
PassphraseEncryption = Callable[[str], bytes]


class Opens(Protocol):
    """What opens seals: ``pkcs_import.opening.Opener``."""

    def open(self, record: SealedRecord) -> bytes:
        """Return the private key (PKCS #8 DER) of a record. Raises SealBroken, KeyUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """What the settings say of deliveries: which methods are on, and what hides a passphrase from all but Intune's connector."""

    methods: Collection[str] = tuple(delivery.Method)
    for_connector: PassphraseEncryption | None = None


@dataclass(frozen=True, slots=True)
class RecoveryExport:
    """The export of a recovery request: its number, how it is packed, and who exports, authenticated already.

    ``separate`` stands for a PKCS #12 for each key, instead of one for all: not every program reads more than one in a file.
    """

    request_id: int
    encoding: Encoding
    separate: bool
    by: Participant


@dataclass(frozen=True, slots=True)
class _Opened:
    """A key to be packed: the record it stands in, sealed."""

    key: KeptKey
    record: SealedRecord


def deliver(
    transactions: Transactions, opener: Opens, order: DeliveryOrder, rules: DeliveryRules, *, actor: Actor, now: datetime
) -> Delivered:
    """Pack the keys of an order and record the delivery.

    Args:
        transactions: the store.
        opener: has the archive's private keys.
        order: what is asked for.
        rules: what the settings allow.
        actor: who asks, for the audit record.
        now: the time.

    Raises:
        DeliveryRefused: the person, the device or the method gets nothing, or what is theirs changed meanwhile.
        SealBroken: what is stored was exchanged or damaged; that is recorded, too.
        KeyUnavailable: the archive key cannot be used now.
    """
    is_for_intune = order.method == delivery.Method.INTUNE
    if is_for_intune and rules.for_connector is None:
        raise DeliveryRefused("nothing is delivered: the settings name no public key of Intune's connector")

    def look(session: Session) -> list[_Opened]:
        return _sealed(session, delivery.admit(session, order, now, methods=rules.methods))

    # A writing session, in which nothing is written: who is admitted is held as they will be when it is recorded.
    admitted = transactions.write(look)
    passphrase = new_passphrase()
    files = _pack(transactions, opener, admitted, passphrase, order, actor, now)

    def note(session: Session) -> int:
        # Of two links for one device at the same moment the second sees the first, and replaces it.
        hold_person(session, order.person)
        # Packing takes its time, and nobody waits for it: so it is asked once more.
        still = delivery.admit(session, order, now, methods=rules.methods)
        if [key.id for key in still] != [each.key.id for each in admitted]:
            raise DeliveryRefused("nothing is delivered: the person's keys have just changed, order again")
        return delivery.record(session, order, files, actor=actor, now=now)

    if not is_for_intune or rules.for_connector is None:
        return Delivered(transactions.write(note), files, passphrase)
    # Before it is recorded: what cannot be encrypted is not delivered.
    encrypted = rules.for_connector(passphrase)
    return Delivered(transactions.write(note), files, None, encrypted)


def recover(
    transactions: Transactions, opener: Opens, export: RecoveryExport, in_office: InOffice, *, now: datetime
) -> Recovered:
    """Export the keys of an approved recovery request, once. What fails leaves the request as it was.

    Args:
        transactions: the store.
        opener: has the archive's private keys.
        export: what, and by whom.
        in_office: whether those who asked and approved may still do so.
        now: the time.

    Raises:
        UnknownRecovery, RecoveryRefused: as ``pkcs_import.recovery.claim_export``.
        SealBroken: what is stored was exchanged or damaged; that is recorded, too.
        KeyUnavailable: the archive key cannot be used now.
    """
    passphrase = new_passphrase()

    def act(session: Session) -> Recovered:
        claim = recovery.claim_export(session, export.request_id, by=export.by, in_office=in_office, now=now)
        name = f"recovery-{export.request_id}"
        files = _files(opener, _sealed(session, claim.keys), passphrase, export.encoding, name, separate=export.separate)
        return Recovered(export.request_id, claim.person, files, passphrase)

    try:
        return transactions.write(act)
    except SealBroken as error:
        _report(transactions, f"recovery:{export.request_id}", error, export.by.actor, now)
        raise


def _sealed(session: Session, keys: Sequence[KeptKey]) -> list[_Opened]:
    records = sealed_records(session, [key.id for key in keys])
    return [_Opened(key, records[key.id]) for key in keys]


def _pack(
    transactions: Transactions,
    opener: Opens,
    admitted: Sequence[_Opened],
    passphrase: str,
    order: DeliveryOrder,
    actor: Actor,
    now: datetime,
) -> tuple[PackedKey, ...]:
    try:
        return _files(opener, admitted, passphrase, order.encoding, "encryption-keys", separate=order.separate)
    except SealBroken as error:
        _report(transactions, f"person:{order.person}", error, actor, now)
        raise


def _files(
    opener: Opens, keys: Sequence[_Opened], passphrase: str, encoding: Encoding, name: str, *, separate: bool
) -> tuple[PackedKey, ...]:
    if not separate:
        return (_file(opener, keys, passphrase, encoding, f"{name}.p12"),)
    return tuple(_file(opener, [each], passphrase, encoding, f"{name}-{number}.p12") for number, each in enumerate(keys, start=1))


def _file(opener: Opens, keys: Sequence[_Opened], passphrase: str, encoding: Encoding, name: str) -> PackedKey:
    packables, certificates = [], list[str]()
    for each in keys:
        newest, *others = delivery.certificates_for(each.key)
        pkcs8 = opener.open(each.record)
        _require_pairs(each.key, pkcs8, [certificate.der for certificate in (newest, *others)])
        # Programs look for the key by issuer and serial number, which mail of before names by the certificates of before.
        beside = [*_chain(newest.chain), *(der for other in others for der in (other.der, *_chain(other.chain)))]
        until = f"{newest.not_after:%Y-%m-%d}"
        packables.append(Packable(pkcs8, newest.der, tuple(beside), f"{newest.subject} ({until})"))
        certificates.append(newest.sha256)
    packed = pack(packables, passphrase, encoding)
    return PackedKey(name, packed, tuple(each.key.id for each in keys), tuple(certificates))


def _require_pairs(key: KeptKey, pkcs8: bytes, certificates: Sequence[bytes]) -> None:
    """Return if all these certificates are over a private key: rows of certificates are bound to nothing."""
    # It was examined when it came in, and the seal shows that it is the same.
    public = serialization.load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True).public_key()
    if any(x509.load_der_x509_certificate(each).public_key() != public for each in certificates):
        raise SealBroken(f"the certificate that is stored for the archived key {key.uid} is another key's")


def _chain(stored: bytes) -> tuple[bytes, ...]:
    """Return the certificates that stand one after the other."""
    found, offset = [], 0
    while offset < len(stored):
        element = tlv.read(stored, offset)
        found.append(stored[offset : element.end])
        offset = element.end
    return tuple(found)


def _report(transactions: Transactions, subject: str, error: SealBroken, actor: Actor, now: datetime) -> None:
    """Record that what is stored does not open: somebody with access to the database may be at work."""
    event = Event(actor, "archive.seal-broken", subject, "failed", {"reason": str(error)})
    transactions.write(lambda session: record_event(session, event, now=now))
