"""PKCS #12 files into the archive: whose they are, what is wanted of them, and what became of each.

Some files are open at once, each in a process of the workshop; what they bring is written in batches, in the order of the files,
each with the note that it was imported whole. So an import that was interrupted, however it was, is resumed by starting it again:
nothing is there twice, and what was imported whole is not opened again. One bad file stops no other.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from audit.log import Actor
from foundation.clock import Clock
from foundation.errors import BadRequest, Conflict, NotFound, RefusedByPolicy
from foundation.transactions import Transactions
from people.person import PersonRecord
from pkcs_import import imported_files
from pkcs_import.archive_keys import current_archive_key
from pkcs_import.import_report import FileReport, Outcome, Totals, certificate_report
from pkcs_import.imported_files import digest_of
from pkcs_import.keeping import KeptListener, NewCertificate, NewKey, Origin, are_kept, keep
from pkcs_import.ours import our_authorities, with_ours
from pkcs_import.owners import named_owner, names_person, owner_in
from pkcs_import.purpose import Concern
from pkcs_import.selection import SelectedKey, Selection, select_keys
from pkcs_import.sources import Source, Sources
from pkcs_import.workshop import OpenFile, Sealed, Workshop

# Files that share a commit: enough to spread its cost, few enough that whatever else is written hardly waits.
BATCH = 50
_BATCH_LASTS = timedelta(seconds=1)
# What a refusal of one file is; anything else, such as a database that went away, ends the import.
_REFUSALS = (BadRequest, NotFound, Conflict, RefusedByPolicy)
_NOT_THEIRS = "its certificates name somebody else: neither an address nor the UPN of this person is in them"

Progress = Callable[[int, int], None]
Reporting = Callable[[FileReport], None]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A file that has been looked at: what would be said of it, and what is to be written."""

    report: FileReport
    keys: tuple[tuple[NewKey, tuple[NewCertificate, ...]], ...] = ()
    # Whose it was imported for, where nothing of it was left out.
    whole_for: PersonRecord | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Importer:
    """How to import.

    Attributes:
        transactions: the store.
        clock: the time.
        actor: who imports, for the audit record.
        workshop: where files are opened and keys sealed.
        refused: what no certificate may let its key do.
        listeners: who is told of every certificate that is kept, in the transaction.
        dry_run: whether only to say what would happen.
        at_once: how many files are open at a time; the workshop has as many processes.
    """

    transactions: Transactions
    clock: Clock
    actor: Actor
    workshop: Workshop
    refused: Collection[Concern] = ()
    listeners: Sequence[KeptListener] = ()
    dry_run: bool = False
    at_once: int = 1

    def run(self, sources: Sources, report: Reporting, progress: Progress | None = None) -> Totals:
        """Import files. ``report`` is told of each, in their order, once it is stored; ``progress`` of how many are done, of all.

        An interrupt (Ctrl-C) ends it early: what had its turn until then is stored, and the result says so.

        Raises:
            NoArchiveKey: there is nothing to seal keys to.
            Unavailable: the database went away; what was reported is stored, and the same import may be started again.
        """
        totals, pending, ours = Totals(self.dry_run), list[_Prepared](), self._authorities()

        def settle() -> None:
            stored = self._stored(pending)
            # Before they are told of: an interrupt meanwhile must not have them stored, and counted, again.
            pending.clear()
            for done in stored:
                totals.add(done)
                report(done)
            if progress is not None:
                progress(totals.files, sources.count)

        executor = ThreadPoolExecutor(self.at_once, "import")
        try:
            begun = self.clock.now()
            for prepared in self._prepared_in_order(executor, sources.each, ours):
                pending.append(prepared)
                if len(pending) >= BATCH or self.clock.now() - begun >= _BATCH_LASTS:
                    settle()
                    begun = self.clock.now()
        except KeyboardInterrupt:
            totals.interrupted = True
        finally:
            executor.shutdown(cancel_futures=True)
        settle()
        return totals

    def import_one(self, source: Source) -> FileReport:
        """Import one file.

        Raises:
            SignetryError: it is refused; the kind and the message say why.
            NoArchiveKey: there is nothing to seal keys to.
        """
        (done,) = self._stored([self._prepare(source, self._authorities())])
        return done

    def _authorities(self) -> Sequence[bytes]:
        """Return what chains are judged by. Raises NoArchiveKey: before the first file, not with each."""
        with self.transactions.reading() as session:
            current_archive_key(session)
            return our_authorities(session)

    def _prepared_in_order(
        self, executor: ThreadPoolExecutor, sources: Iterator[Source], ours: Sequence[bytes]
    ) -> Iterator[_Prepared]:
        """Look at files at once, some ahead of the first that is not done; yield them in their order."""
        ahead: deque[Future[_Prepared]] = deque()
        for source in sources:
            ahead.append(executor.submit(self._prepare_or_refuse, source, ours))
            # However long one of them takes, no more than these are held in memory.
            if len(ahead) > 4 * self.at_once:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _prepare_or_refuse(self, source: Source, ours: Sequence[bytes]) -> _Prepared:
        try:
            return self._prepare(source, ours)
        except _REFUSALS as error:
            return _Prepared(FileReport(source.line, source.file, Outcome.REFUSED, source.owner, str(error)))

    def _prepare(self, source: Source, ours: Sequence[bytes]) -> _Prepared:
        if source.problem:
            raise BadRequest(source.problem)
        data = source.read()
        digest = digest_of(data)
        with self.transactions.reading() as session:
            owner = named_owner(session, source.owner) if source.owner else None
            known = imported_files.find_owner(session, digest, owner)
        if known is not None:
            return _Prepared(FileReport(source.line, source.file, Outcome.PRESENT, known.upn))
        with self.workshop.open(data, source.password, ours=ours, now=self.clock.now()) as opened:
            return self._judged(source, opened, owner, digest)

    def _judged(self, source: Source, opened: OpenFile, owner: PersonRecord | None, digest: str) -> _Prepared:
        with self.transactions.reading() as session:
            person = owner or owner_in(session, opened.keys)
            selection = select_keys(opened.keys, source.purpose, self.refused)
            selected = tuple(with_ours(session, each) for each in selection.keys)
            is_new = not all(are_kept(session, person.id, each.spki_sha256, each.certificates) for each in selected)
            archive = current_archive_key(session)
        report = _report(source, opened, selection, person, is_new=is_new)
        whole_for = None if selection.left_out or opened.skipped else person
        if self.dry_run or not is_new:
            return _Prepared(report, whole_for=whole_for, digest=digest)
        sealed = opened.seal(person.id, archive, [each.spki_sha256 for each in selected])
        by_key = {each.binding.spki_sha256: each for each in sealed}
        keys = tuple((_new_key(each, by_key[each.spki_sha256]), each.certificates) for each in selected)
        return _Prepared(report, keys, whole_for, digest)

    def _stored(self, prepared: Sequence[_Prepared]) -> list[FileReport]:
        if self.dry_run or not any(each.keys or each.whole_for for each in prepared):
            return [each.report for each in prepared]
        now = self.clock.now()
        return self.transactions.write(lambda session: [self._store(session, each, now) for each in prepared])

    def _store(self, session: Session, prepared: _Prepared, now: datetime) -> FileReport:
        for last in (False, True):
            try:
                with session.begin_nested():
                    return self._store_once(session, prepared, now)
            except IntegrityError:
                # Somebody else imported the same at this moment; it is there now, and the second time it is found.
                if last:
                    raise
        raise AssertionError

    def _store_once(self, session: Session, prepared: _Prepared, now: datetime) -> FileReport:
        new = 0
        for key, certificates in prepared.keys:
            _, added = keep(session, key, certificates, actor=self.actor, now=now, listeners=self.listeners)
            new += added
        if prepared.whole_for is not None:
            imported_files.note(session, prepared.digest, prepared.whole_for, now=now)
        return replace(prepared.report, outcome=Outcome.PRESENT) if prepared.keys and not new else prepared.report


def _report(source: Source, opened: OpenFile, selection: Selection, person: PersonRecord, *, is_new: bool) -> FileReport:
    notes = [f"not imported: {each}" for each in (*opened.skipped, *selection.left_out)]
    if not names_person(opened.keys, person):
        notes.append(_NOT_THEIRS)
    certificates = [certificate_report(each, key.algorithm) for key in selection.keys for each in key.certificates]
    notes += [f"{each.subject} allows {', '.join(each.concerns)}" for each in certificates if each.concerns]
    outcome = Outcome.IMPORTED if is_new else Outcome.PRESENT
    return FileReport(source.line, source.file, outcome, person.upn, "", tuple(notes), tuple(certificates))


def _new_key(selected: SelectedKey, sealed: Sealed) -> NewKey:
    return NewKey(sealed.binding, sealed.sealed, selected.algorithm, Origin.IMPORTED)
