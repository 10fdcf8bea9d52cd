"""Bringing Microsoft Intune's imported PKCS #12 files up to date with the key archive.

Whoever pushes sees no private key and no passphrase: the archive process packs the keys, and encrypts the passphrase to Intune's
connector. Each file is on record before it is uploaded and once it was, so that what was interrupted goes on where it ended.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

from sqlalchemy import ColumnElement, delete, insert, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import PersonId
from foundation.clock import Clock
from foundation.errors import Conflict, NotAuthorised, NotFound, RefusedByPolicy
from foundation.tables import table_of
from foundation.transactions import Transactions
from intune.errors import GraphRefused
from intune.imported_pfx import ImportedPfx, Listed
from intune.pfx_certificates import PfxCertificates
from people.persons import get_person
from pkcs_import import intune_plan
from pkcs_import.archive import Delivered, DeliveryOrder
from pkcs_import.delivery import HandedListener, Method, hand
from pkcs_import.delivery_targets import encoding_for, usual_target
from pkcs_import.errors import NotPacked
from pkcs_import.intune_plan import Connector, Plan, Recorded, Step, Subject
from pkcs_import.keeping import keys_of_all
from pkcs_import.records import PushedPfx

_PUSHED = table_of(PushedPfx)
# Of so many persons Graph is asked one by one; beyond that the list of everything is the shorter way.
_ASKED_SINGLY: Final = 50
_PERSONS_AT_ONCE: Final = 100
# What is packed and never uploaded is over after that.
_UPLOAD_WITHIN: Final = timedelta(hours=2)
_ALREADY_THERE: Final = 409
# Refusals that are about one file or one person: the others' turn comes all the same.
_OF_ONE: Final = (RefusedByPolicy, NotAuthorised, NotFound, Conflict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step; ``error`` says why nothing did."""

    step: Step
    error: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it is done."""
        return not self.error


class IntunePush:
    """Compares Intune with the archive, and uploads what differs.

    Args:
        transactions, clock, actor: as everywhere.
        certificates: what Intune has.
        connector: who opens what is uploaded.
        deliver: has keys packed by the archive process.
        listeners: are told of what was handed over.
    """

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        actor: Actor,
        certificates: PfxCertificates,
        connector: Connector,
        deliver: Callable[[DeliveryOrder], Delivered],
        listeners: Sequence[HandedListener] = (),
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._actor = actor
        self._certificates = certificates
        self._connector = connector
        self._deliver = deliver
        self._listeners = listeners

    def plans(self, persons: Sequence[PersonId]) -> Iterator[Plan]:
        """Yield what is to be done for each of the persons, in their order.

        Raises:
            UnknownPerson: there is no person of an id.
            IntuneUnavailable, GraphRefused: Intune does not say what it has.
        """
        source = _Everything(self._certificates) if len(persons) > _ASKED_SINGLY else _Singly(self._certificates)
        for start in range(0, len(persons), _PERSONS_AT_ONCE):
            chunk = persons[start : start + _PERSONS_AT_ONCE]
            with self._transactions.reading() as session:
                keys = keys_of_all(session, chunk)
                known = [(get_person(session, each), intune_plan.recorded(session, each)) for each in chunk]
            for person, on_record in known:
                listed = source.of(person.upn)
                for record in on_record.values():
                    # Under the UPN of before, perhaps.
                    if record.thumbprint not in listed and (found := _elsewhere(source, record, person.upn)) is not None:
                        listed[record.thumbprint] = found
                yield intune_plan.plan(person, keys.get(PersonId(person.id), []), on_record, listed, self._connector)

    def carry_out(self, plan: Plan) -> Iterator[Outcome]:
        """Do what a plan says, and yield what became of each step. What one person or file is refused for stops nobody else.

        Raises:
            IntuneUnavailable, ArchiveUnavailable: nothing can be done at present; what is done already is on record.
        """
        uploads = [step for step in plan.steps if step.subject is not None]
        for step in plan.steps:
            if step.subject is None:
                outcome = self._attempted(step, partial(self._withdraw, step))
                yield outcome
                if not outcome.succeeded:
                    # A file that should go may be somebody else's by now: nothing is added to it.
                    uploads = [each for each in uploads if each.thumbprint != step.thumbprint]
        for step in uploads:
            yield self._attempted(step, partial(self._upload, step))

    def _order(self, person: PersonId, subject: Subject) -> DeliveryOrder:
        return DeliveryOrder(
            person=person,
            method=Method.INTUNE,
            encoding=encoding_for(usual_target(Method.INTUNE, "")),
            ordered_by=self._actor.name,
            separate=True,
            key_ids=(subject.key_id,),
            expires_at=self._clock.now() + _UPLOAD_WITHIN,
        )

    def _attempted(self, step: Step, act: Callable[[], None]) -> Outcome:
        try:
            act()
        except _OF_ONE as error:
            return Outcome(step, str(error))
        return Outcome(step)

    def _upload(self, step: Step) -> None:
        assert step.subject is not None  # noqa: S101 - uploads have one
        # A delivery for each: what is handed over is then exactly what Intune has, wherever a run ends.
        delivered = self._deliver(self._order(step.person, step.subject))
        pfx = _packed(step.subject, delivered)
        self._transactions.write(partial(self._note_begun, step, step.subject))
        number = self._put(step.intune_id, pfx)
        self._transactions.write(partial(self._note_done, step, number, delivered.delivery_id))

    def _put(self, number: str | None, pfx: ImportedPfx) -> str:
        """Upload a file in the place of the one that Graph calls ``number``; return what it is called."""
        now = self._clock.now()
        if number is None:
            try:
                return self._certificates.create(pfx, now)
            except GraphRefused as refusal:
                if refusal.status != _ALREADY_THERE:
                    raise
                # An attempt whose answer was lost, or somebody else's.
                listed = _by_thumbprint(self._certificates.of_user(pfx.statement.user_principal_name))
                if pfx.statement.thumbprint not in listed:
                    raise
                number = listed[pfx.statement.thumbprint].id
        self._certificates.replace(number, pfx, now)
        return number

    def _withdraw(self, step: Step) -> None:
        if step.intune_id is not None:
            self._certificates.delete(step.intune_id)
        self._transactions.write(partial(self._note_gone, step))

    def _note_begun(self, step: Step, subject: Subject, session: Session) -> None:
        values = {
            "archived_certificate_id": subject.certificate.id,
            "upn": step.upn,
            "connector_key": self._connector.key.sha256,
            "intune_id": step.intune_id,
            "pushed_at": None,
        }
        try:
            with session.begin_nested():
                session.execute(insert(_PUSHED).values(person_id=step.person, thumbprint=step.thumbprint, **values))
        except IntegrityError:
            session.execute(update(_PUSHED).where(*_is(step)).values(values))

    def _note_done(self, step: Step, number: str, delivery: int, session: Session) -> None:
        now = self._clock.now()
        # Not, where it was stopped meanwhile: the person has left, and the next run withdraws what has just arrived.
        hand(session, delivery, actor=self._actor, now=now, listeners=self._listeners)
        session.execute(update(_PUSHED).where(*_is(step)).values(intune_id=number, pushed_at=now))
        self._record(session, "key.pushed", step, connector_key=self._connector.key.sha256, change=str(step.change))

    def _note_gone(self, step: Step, session: Session) -> None:
        session.execute(delete(_PUSHED).where(*_is(step)))
        self._record(session, "key.withdrawn", step)

    def _record(self, session: Session, kind: str, step: Step, **more: str) -> None:
        details = {"upn": step.upn, "thumbprint": step.thumbprint, "reason": step.reason, **more}
        record_event(session, Event(self._actor, kind, f"person:{step.person}", details=details), now=self._clock.now())


class _Source(Protocol):
    """What Intune has: a user's files by thumbprint, and any by what Graph calls it."""

    def of(self, upn: str) -> dict[str, Listed]: ...

    def find(self, number: str) -> Listed | None: ...


class _Singly:
    """Graph, asked about each."""

    def __init__(self, certificates: PfxCertificates) -> None:
        self._certificates = certificates

    def of(self, upn: str) -> dict[str, Listed]:
        return _by_thumbprint(self._certificates.of_user(upn))

    def find(self, number: str) -> Listed | None:
        return self._certificates.find(number)


class _Everything:
    """All imported files of a tenant, read once."""

    def __init__(self, certificates: PfxCertificates) -> None:
        self._by_upn: dict[str, dict[str, Listed]] = defaultdict(dict)
        self._by_id: dict[str, Listed] = {}
        for each in certificates.everything():
            self._by_upn[each.statement.user_principal_name.casefold()][each.statement.thumbprint] = each
            self._by_id[each.id] = each

    def of(self, upn: str) -> dict[str, Listed]:
        return dict(self._by_upn.get(upn.casefold(), {}))

    def find(self, number: str) -> Listed | None:
        return self._by_id.get(number)


def _elsewhere(source: _Source, record: Recorded, upn: str) -> Listed | None:
    """Return a file that is on record and not among those of ``upn``, where there is one."""
    if record.intune_id is not None:
        return source.find(record.intune_id)
    # Its upload was interrupted: nobody has heard what Graph calls it.
    return source.of(record.upn).get(record.thumbprint) if record.upn != upn else None


def _by_thumbprint(listed: Iterable[Listed]) -> dict[str, Listed]:
    return {each.statement.thumbprint: each for each in listed}


def _packed(subject: Subject, delivered: Delivered) -> ImportedPfx:
    """Return the file of a key out of its delivery. Raises NotPacked where it is not in it."""
    for file in delivered.files:
        if subject.certificate.sha256 in file.certificate_sha256s and delivered.encrypted_passphrase is not None:
            return ImportedPfx(subject.statement, file.pkcs12, delivered.encrypted_passphrase)
    raise NotPacked("the archive holds another certificate by now: push again")


def _is(step: Step) -> tuple[ColumnElement[bool], ...]:
    return _PUSHED.c.person_id == step.person, _PUSHED.c.thumbprint == step.thumbprint
