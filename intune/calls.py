"""Authorised calls of Microsoft's services: JSON out, JSON back, pauses honoured.

Every request gets a ``client-request-id`` of its own, which Microsoft's support asks for; it stands in our log. Bodies and tokens
stand nowhere.
"""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from intune.errors import AccessRefused, IntuneUnavailable
from intune.tokens import Tokens
from intune.transport import Answer, Transport, host_of
from intune.waiting import Deadline

_log = structlog.get_logger("intune.calls")

_UNAUTHORISED: Final = 401
_FORBIDDEN: Final = 403
_SUCCESSES: Final = range(200, 300)
_REFUSALS: Final = range(400, 500)

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One request: where to, for which scope our token is, and what is sent."""

    method: str
    url: str
    scope: str
    body: Mapping[str, object] | None = field(default=None, repr=False)
    api_version: str = ""

    @property
    def content(self) -> bytes | None:
        """The body, encoded."""
        return None if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Settled:
    """What a service has answered, for good: done, or refused. ``request_id`` is what Microsoft's support asks for."""

    host: str
    status: int
    body: bytes = field(repr=False)
    request_id: str

    @property
    def is_success(self) -> bool:
        """Whether it was done."""
        return self.status in _SUCCESSES

    def document(self) -> JsonObject:
        """Return the JSON object in it. Raises IntuneUnavailable where there is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            _log.warning("answer is no JSON object", host=self.host, client_request_id=self.request_id, status=self.status)
            raise IntuneUnavailable(f"{self.host} answers with something else than a JSON object")
        return document


class Calls:
    """Makes calls with the tokens of one application; shared by all threads."""

    def __init__(self, transport: Transport, tokens: Tokens) -> None:
        self._transport = transport
        self._tokens = tokens

    def perform(self, call: Call, deadline: Deadline) -> JsonObject:
        """Return the JSON object that answers ``call``. Raises as ``settle``, and IntuneUnavailable for any other answer."""
        settled = self.settle(call, deadline)
        if not settled.is_success:
            raise IntuneUnavailable(f"{settled.host} answers with HTTP {settled.status}")
        return settled.document()

    def settle(self, call: Call, deadline: Deadline) -> Settled:
        """Return what answers ``call``: a success, or a refusal with a 4xx other than 401, 403 and 429.

        A pause that the service asks for is waited out where it ends before the deadline; a token that it does not accept is
        replaced once.

        Raises:
            Throttled: the pause would take longer.
            AccessRefused: our credentials, or the application's permissions, do not do.
            IntuneUnavailable: no answer in time, or none as documented.
        """
        is_renewed = False
        while True:
            answer, request_id = self._once(call, deadline)
            if answer.is_pause:
                continue
            if answer.status == _UNAUTHORISED and not is_renewed:
                is_renewed = True
                self._tokens.forget(deadline)
                continue
            return _settled(answer, call, request_id)

    def _once(self, call: Call, deadline: Deadline) -> tuple[Answer, str]:
        request_id = str(uuid.uuid4())
        headers = {
            "authorization": f"Bearer {self._tokens.bearer(call.scope, deadline)}",
            "client-request-id": request_id,
            "accept": "application/json",
        }
        if call.api_version:
            headers["api-version"] = call.api_version
        if call.body is not None:
            headers["content-type"] = "application/json; charset=utf-8"
        started = time.perf_counter()
        try:
            answer = self._transport.exchange(call.method, call.url, deadline, headers=headers, content=call.content)
        except IntuneUnavailable as error:
            _log.warning("call not answered", url=call.url, client_request_id=request_id, reason=str(error))
            raise
        _log.debug(
            "call answered",
            url=call.url,
            client_request_id=request_id,
            status=answer.status,
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )
        return answer, request_id


def _settled(answer: Answer, call: Call, request_id: str) -> Settled:
    host = host_of(call.url)
    if answer.status in (_UNAUTHORISED, _FORBIDDEN):
        _log.warning("call refused", url=call.url, client_request_id=request_id, status=answer.status)
        raise AccessRefused(f"{host} refuses access with HTTP {answer.status}")
    if answer.status not in _SUCCESSES:
        _log.warning("call failed", url=call.url, client_request_id=request_id, status=answer.status)
    if answer.status not in _SUCCESSES and answer.status not in _REFUSALS:
        raise IntuneUnavailable(f"{host} answers with HTTP {answer.status}")
    return Settled(host, answer.status, answer.body, request_id)
