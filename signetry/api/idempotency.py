"""``Idempotency-Key``: what creates can be asked for again and happens once (draft-ietf-httpapi-idempotency-key-header).

A handler that creates takes ``repeatable: Once`` and returns ``repeatable.answer(act)``; ``act`` runs in one writing transaction
and returns the model that is the answer. With a key the answer is kept beside what was created, for a day.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlmodel import Session

from signetry.access.answers import KEPT, LONGEST_KEY, Answer, RepeatableRequest, answer_once
from signetry.api.security import CALLER, Caller

REPLAYED_HEADER = "Idempotency-Replayed"


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that may be repeated; ``request`` is None where it came without a key."""

    caller: Caller
    request: RepeatableRequest | None = field(repr=False)

    def answer(self, act: Callable[[Session], BaseModel], status: int = 201) -> Response:
        """Run ``act`` in one transaction and answer with its result, or answer as before.

        ``act`` may run again after a lost connection: it must not have effects outside the session.
        """
        house = self.caller.house

        def shaped(session: Session) -> Answer:
            return Answer(status, act(session).model_dump_json().encode())

        def once(session: Session) -> Answer:
            if self.request is None:
                return shaped(session)
            return answer_once(session, self.request, shaped, now=house.clock.now())

        answer = house.transactions.write(once)
        headers = {REPLAYED_HEADER: "true"} if answer.replayed else {}
        return Response(answer.body, answer.status, headers, media_type="application/json")


async def _repeatable(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=LONGEST_KEY,
            pattern=r"^[\x21-\x7e]+$",
            description=f"A value of your choice, new for each thing to create. The same request with the same key within "
            f"{KEPT.total_seconds() / 3600:.0f} hours creates nothing more and gets the same answer.",
        ),
    ] = None,
) -> Repeatable:
    caller: Caller = request.scope[CALLER]
    if key is None:
        return Repeatable(caller, None)
    return Repeatable(caller, RepeatableRequest(caller.token.id, caller.secret, key, _digest(request, await request.body())))


def _digest(request: Request, body: bytes) -> str:
    parts = (request.method, request.url.path, request.url.query, request.headers.get("content-type", ""))
    head = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(hashlib.sha256(head).digest() + body).hexdigest()


Once = Annotated[Repeatable, Depends(_repeatable)]
