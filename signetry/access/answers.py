"""Answers kept for requests that are repeated under the same Idempotency-Key.

The row is written in the transaction of the act itself, so that there is no moment at which one exists without the other. An
answer may hold what is shown once only, a challenge or a token: it is sealed with a key that is derived from the token's secret
and the Idempotency-Key, of which neither is stored, and can be opened by a repetition and by nothing else.

Sources: draft-ietf-httpapi-idempotency-key-header; AES-256-GCM, NIST SP 800-38D; HKDF, RFC 5869.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from foundation.clock import Clock
from foundation.tables import table_of
from foundation.transactions import Transactions
from signetry.access.errors import InvalidKey, KeyReused
from signetry.access.records import StoredAnswer

KEPT = timedelta(hours=24)
LONGEST_KEY = 255
_SWEPT_AT_ONCE = 1000

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_NONCE_BYTES = 12
_ANSWER = table_of(StoredAnswer)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered; ``replayed`` when it was answered so before."""

    status: int
    body: bytes = field(repr=False)
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class RepeatableRequest:
    """A request with an Idempotency-Key: whose, and everything of it that must be the same the next time.

    ``secret`` is the bearer's, ``digest`` that of the request.
    """

    token_id: int
    secret: str = field(repr=False)
    key: str = field(repr=False)
    digest: str

    def __post_init__(self) -> None:
        if not _VISIBLE.fullmatch(self.key):
            raise InvalidKey(f"Idempotency-Key: between 1 and {LONGEST_KEY} visible ASCII characters")

    @property
    def key_digest(self) -> str:
        """What stands for the key in the table."""
        return hashlib.sha256(self.key.encode()).hexdigest()

    def seal(self, answer: Answer) -> bytes:
        """Return the body of ``answer`` as only this token and key open it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, answer.body, self._bound_to(answer.status))

    def opened(self, sealed: bytes, status: int) -> Answer:
        """Return the answer that ``seal`` took."""
        body = self._cipher().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound_to(status))
        return Answer(status, body, replayed=True)

    def _cipher(self) -> AESGCM:
        derivation = HKDF(SHA256(), length=32, salt=self.key.encode(), info=b"signetry stored answer")
        return AESGCM(derivation.derive(self.secret.encode()))

    def _bound_to(self, status: int) -> bytes:
        return f"{self.token_id} {self.key_digest} {self.digest} {status}".encode()


def answer_once(session: Session, request: RepeatableRequest, act: Callable[[Session], Answer], *, now: datetime) -> Answer:
    """Run ``act`` and keep its answer, or return the one that was kept, in the caller's transaction.

    Of requests that arrive at the same moment one acts; the database makes the others wait for its commit, and then they get its
    answer. Where it fails nothing is kept, and the next one acts.

    Raises:
        KeyReused: the key came with another request.
    """
    mine = (_ANSWER.c.token_id == request.token_id) & (_ANSWER.c.key_digest == request.key_digest)
    session.execute(delete(_ANSWER).where(mine, _ANSWER.c.created_at <= now - KEPT))
    row = {
        "token_id": request.token_id,
        "key_digest": request.key_digest,
        "request_digest": request.digest,
        "status": 0,
        "sealed": b"",
        "created_at": now,
    }
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(_ANSWER).values(row).on_conflict_do_nothing(index_elements=["token_id", "key_digest"])
    number = session.execute(statement.returning(_ANSWER.c.id)).scalar_one_or_none()
    if number is None:
        kept = session.execute(select(_ANSWER.c.request_digest, _ANSWER.c.status, _ANSWER.c.sealed).where(mine)).one()
        if kept.request_digest != request.digest:
            raise KeyReused("Idempotency-Key: came with another request before; a new request takes a new key")
        return request.opened(kept.sealed, kept.status)
    answer = act(session)
    sealed = request.seal(answer)
    session.execute(update(_ANSWER).where(_ANSWER.c.id == number).values(status=answer.status, sealed=sealed))
    return answer


def sweep(transactions: Transactions, clock: Clock) -> int:
    """Forget answers whose time is up, batch after batch; return how many."""
    swept = 0
    while batch := transactions.write(lambda session: _sweep_batch(session, clock.now())):
        swept += batch
    return swept


def _sweep_batch(session: Session, now: datetime) -> int:
    old = select(_ANSWER.c.id).where(_ANSWER.c.created_at <= now - KEPT).limit(_SWEPT_AT_ONCE)
    done = session.execute(delete(_ANSWER).where(_ANSWER.c.id.in_(old.scalar_subquery())))
    return int(done.rowcount)  # type: ignore[attr-defined]  # a DELETE's result counts rows
