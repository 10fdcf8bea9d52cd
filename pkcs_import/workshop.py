"""Processes in which private keys are read and made, sealed to the archive, and forgotten: none leaves them in clear.

Parsing what strangers wrote happens there, too, within limits of time and memory: a file that breaks them costs its process and
nothing else. A process serves one file at a time; it is started when it is needed, and again when it was lost.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from cryptography.hazmat.primitives import serialization

from ca.keys import KeyAlgorithm, PublicKey
from pkcs_import.errors import NotPkcs12, WorkshopUnavailable
from pkcs_import.keeping import NewCertificate
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.sealing import ArchivePublicKey, Binding, SealedKey
from pkcs_import.trust import Trust
from pkcs_import.workshop_channel import Bench
from pkcs_import.workshop_messages import Message, bytes_of, text_of

TIME_LIMIT = timedelta(seconds=20)
# How long somebody waits for a process that others keep busy.
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class FoundCertificate:
    """A certificate over a key of a file, and the names in it that an owner may be found by, as they are written."""

    certificate: NewCertificate
    addresses: tuple[str, ...]
    upns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A private key of a file, as far as it is known outside: what it is, and the certificates over it, the latest first."""

    spki_sha256: str
    algorithm: str
    certificates: tuple[FoundCertificate, ...]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A private key, sealed, and what the seal is bound to."""

    binding: Binding
    sealed: SealedKey


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key pair that was made for a person: its public half, and the private one, sealed."""

    public_key: PublicKey
    binding: Binding
    sealed: SealedKey


class OpenFile:
    """A file that a process holds open: its keys, and why others in it are not read (``skipped``)."""

    def __init__(self, bench: Bench, keys: tuple[FoundKey, ...], skipped: tuple[str, ...]) -> None:
        """Stand for what ``bench`` has open."""
        self.keys = keys
        self.skipped = skipped
        self._bench = bench

    def seal(self, person: int, archive: ArchivePublicKey, only: Sequence[str]) -> list[Sealed]:
        """Seal those of its keys whose ``spki_sha256`` is in ``only`` to the archive, as a person's; in the order of ``keys``.

        Raises:
            ContainerTooSlow, ContainerTooBig: it took more time or memory than it is given.
        """
        asked = {"do": "seal", "person": person, "only": list(only), **_archive(archive)}
        return [_sealed(each) for each in self._bench.ask(asked)["sealed"]]


class Workshop:
    """Up to ``size`` processes, which any thread may ask; who finds all of them busy waits."""

    def __init__(self, size: int = 1, *, time_limit: timedelta = TIME_LIMIT) -> None:
        """Start nothing yet. ``time_limit`` is for one request: opening a file, sealing its keys, making one."""
        self._size = size
        self._time_limit = time_limit
        self._free: list[Bench] = []
        self._busy = 0
        self._changed = threading.Condition()

    @contextmanager
    def open(self, data: bytes, password: str | None, *, ours: Sequence[bytes], now: datetime) -> Iterator[OpenFile]:
        """Open a PKCS #12 file; while the block runs, its keys stay in the process, and behind it they are forgotten.

        Args:
            data: the file.
            password: what opens it; of None and the empty one the other is tried as well.
            ours: our authorities' certificates (DER), for judging chains.
            now: the time, for judging chains.

        Raises:
            BadContainer: the file cannot be imported; the kinds of it say why.
            WorkshopUnavailable: no process is to be had.
        """
        with self._bench() as bench:
            bench.tell_once({"do": "trust", "ours": [text_of(each) for each in ours]})
            answer = bench.ask({"do": "open", "data": text_of(data), "password": password, "now": now.isoformat()})
            try:
                yield OpenFile(bench, tuple(_key(each) for each in answer["keys"]), tuple(answer["skipped"]))
            finally:
                bench.tell({"do": "forget"})

    def make(self, algorithm: KeyAlgorithm, person: int, archive: ArchivePublicKey) -> MadeKey:
        """Make a key pair for a person, its private half sealed to the archive. Raises WorkshopUnavailable."""
        with self._bench() as bench:
            try:
                answer = bench.ask({"do": "make", "algorithm": str(algorithm), "person": person, **_archive(archive)})
            except NotPkcs12 as error:
                raise WorkshopUnavailable("no key could be made") from error
        public_key: Any = serialization.load_der_public_key(bytes_of(answer["spki"]))
        made = _sealed(answer["sealed"])
        return MadeKey(public_key, made.binding, made.sealed)

    def close(self) -> None:
        """End the processes that nobody uses; the others end with their work."""
        with self._changed:
            benches, self._free = self._free, []
        for bench in benches:
            bench.close()

    def __enter__(self) -> Self:
        """Return the workshop; it is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @contextmanager
    def _bench(self) -> Iterator[Bench]:
        bench = self._taken()
        try:
            yield bench
        finally:
            with self._changed:
                self._busy -= 1
                if bench.is_usable:
                    self._free.append(bench)
                self._changed.notify()
            if not bench.is_usable:
                bench.close()

    def _taken(self) -> Bench:
        with self._changed:
            if not self._changed.wait_for(lambda: self._busy < self._size, _PATIENCE):
                raise WorkshopUnavailable("too many files are being opened at once; try again")
            self._busy += 1
            bench = self._free.pop() if self._free else None
        if bench is not None and bench.is_usable:
            return bench
        try:
            if bench is not None:
                bench.close()
            return Bench(self._time_limit.total_seconds())
        except BaseException:
            with self._changed:
                self._busy -= 1
                self._changed.notify()
            raise


def _archive(archive: ArchivePublicKey) -> Message:
    spki = archive.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"archive": archive.row, "archive_spki": text_of(spki)}


def _key(answer: Message) -> FoundKey:
    return FoundKey(answer["spki_sha256"], answer["algorithm"], tuple(_certificate(each) for each in answer["certificates"]))


def _certificate(answer: Message) -> FoundCertificate:
    certificate = NewCertificate(
        der=bytes_of(answer["der"]),
        sha256=answer["sha256"],
        chain=tuple(bytes_of(each) for each in answer["chain"]),
        subject=answer["subject"],
        issuer=answer["issuer"],
        serial=answer["serial"],
        not_before=datetime.fromisoformat(answer["not_before"]),
        not_after=datetime.fromisoformat(answer["not_after"]),
        purpose=Purpose(answer["purpose"]),
        trust=Trust(answer["trust"]),
        concerns=tuple(Concern(each) for each in answer["concerns"]),
    )
    return FoundCertificate(certificate, tuple(answer["addresses"]), tuple(answer["upns"]))


def _sealed(answer: Message) -> Sealed:
    binding = Binding(answer["uid"], answer["person"], answer["spki_sha256"])
    sealed = SealedKey(
        archive_key=answer["archive_key"],
        wrapped_key=bytes_of(answer["wrapped_key"]),
        nonce=bytes_of(answer["nonce"]),
        ciphertext=bytes_of(answer["ciphertext"]),
    )
    return Sealed(binding, sealed)
