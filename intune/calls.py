"""Authorised calls of Microsoft's services: JSON out, JSON back, pauses honoured.

Every request gets a ``client-request-id`` of its own, which Microsoft's support asks for; it stands in our log. Bodies and tokens
stand nowhere.
"""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
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

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One request: where to, for which scope our token is, and what is sent."""

    method: str
    url: str
    scope: str
    body: Mapping[str, object] | None = None
    api_version: str = ""

    @property
    def content(self) -> bytes | None:
        """The body, encoded."""
        return None if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()


class Calls:
    """Makes calls with the tokens of one application; shared by all threads."""

    def __init__(self, transport: Transport, tokens: Tokens) -> None:
        self._transport = transport
        self._tokens = tokens

    def perform(self, call: Call, deadline: Deadline) -> JsonObject:
        """Return the JSON object that answers ``call``.

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
            return _object_in(answer, call, request_id)

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


def _object_in(answer: Answer, call: Call, request_id: str) -> JsonObject:
    host = host_of(call.url)
    if answer.status in (_UNAUTHORISED, _FORBIDDEN):
        _log.warning("call refused", url=call.url, client_request_id=request_id, status=answer.status)
        raise AccessRefused(f"{host} refuses access with HTTP {answer.status}")
    if answer.status not in _SUCCESSES:
        _log.warning("call failed", url=call.url, client_request_id=request_id, status=answer.status)
        raise IntuneUnavailable(f"{host} answers with HTTP {answer.status}")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        _log.warning("answer is no JSON object", url=call.url, client_request_id=request_id, status=answer.status)
        raise IntuneUnavailable(f"{host} answers with something else than a JSON object")
    return document
