"""Microsoft Graph, as far as objects are listed, made, changed and deleted there: paging, patience, and refusals.

Source: facts/mail_profiles.md section 5. A refusal (4xx) is an answer and final: ``GraphRefused``. Everything else that is no
success may go better later, and is tried again as long as the caller's patience lasts.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import quote

import structlog

from intune.calls import Call, Calls, JsonObject, Settled
from intune.errors import AccessRefused, GraphRefused, IntuneUnavailable, Throttled
from intune.tenant import Tenant
from intune.transport import host_of
from intune.waiting import Deadline, Ticker

_log = structlog.get_logger("intune.graph")

_NOT_FOUND: Final = 404
# A list of more than that has no end.
_PAGES: Final = 10_000
# What is waited before a call that failed is made again.
_BREATHS: Final = (1.0, 4.0, 15.0)
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_LONGEST_MESSAGE: Final = 300


class Graph:
    """Microsoft Graph of one tenant.

    Args:
        tenant: where it is.
        calls: makes the calls.
        ticker: the time.
        version: of the interface; imported certificates are in ``beta`` alone.
        patience_seconds: how long pauses that Graph asks for, and outages, are waited out, in all for one call; with nought, as
            long as the tenant's ``timeout_seconds``, and nothing is tried again.
    """

    def __init__(self, tenant: Tenant, calls: Calls, ticker: Ticker, *, version: str, patience_seconds: float = 0.0) -> None:
        self._tenant = tenant
        self._calls = calls
        self._ticker = ticker
        self._root = f"{tenant.graph_url.rstrip('/')}/{version}"
        self._patience = patience_seconds

    def listed(self, path: str, *, where: str = "") -> Iterator[JsonObject]:
        """Yield the objects of a collection, page after page; those for which the OData filter ``where`` holds.

        Raises:
            GraphRefused: it is not to be had.
            IntuneUnavailable, Throttled, AccessRefused: Graph does not answer, or not as documented.
        """
        url = f"{self._root}/{path}" + (f"?$filter={quote(where, safe=chr(39) + '()')}" if where else "")
        seen = {url}
        for _ in range(_PAGES):
            page = self._object("GET", url)
            entries = page.get("value")
            if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
                raise IntuneUnavailable(f"{host_of(self._root)} answers with something else than a list")
            yield from entries
            following = page.get("@odata.nextLink")
            if following is None:
                return
            # Our token goes nowhere else, and no page is read twice.
            if not isinstance(following, str) or not following.startswith(f"{self._root}/") or following in seen:
                raise IntuneUnavailable(f"{host_of(self._root)} names a next page that is none")
            seen.add(following)
            url = following
        raise IntuneUnavailable(f"{host_of(self._root)} lists without end")

    def get(self, path: str) -> JsonObject | None:
        """Return an object; None where there is none. Raises as ``listed``."""
        settled = self._settled("GET", f"{self._root}/{path}")
        return None if settled.status == _NOT_FOUND else self._granted(settled).document()

    def create(self, path: str, document: Mapping[str, object]) -> JsonObject:
        """Add an object to a collection; return it as Graph has it. Raises as ``listed``."""
        return self._object("POST", f"{self._root}/{path}", document)

    def update(self, path: str, document: Mapping[str, object]) -> None:
        """Change an object. Raises as ``listed``."""
        self._granted(self._settled("PATCH", f"{self._root}/{path}", document))

    def delete(self, path: str) -> bool:
        """Delete an object; return whether there was one. Raises as ``listed``."""
        settled = self._settled("DELETE", f"{self._root}/{path}")
        if settled.status == _NOT_FOUND:
            return False
        self._granted(settled)
        return True

    def _object(self, method: str, url: str, document: Mapping[str, object] | None = None) -> JsonObject:
        return self._granted(self._settled(method, url, document)).document()

    def _settled(self, method: str, url: str, document: Mapping[str, object] | None = None) -> Settled:
        call = Call(method, url, self._tenant.graph_scope, body=document)
        until = Deadline.after(self._patience, self._ticker)
        breaths = iter(_BREATHS)
        while True:
            try:
                return self._calls.settle(call, Deadline.after(self._tenant.timeout_seconds, self._ticker))
            except AccessRefused:
                raise
            except Throttled as throttled:
                pause = throttled.seconds
                if pause >= until.remaining:
                    raise
                _log.info("asked for a pause", host=host_of(url), seconds=round(pause))
            except IntuneUnavailable:
                pause = next(breaths, until.remaining)
                if pause >= until.remaining:
                    raise
            self._ticker.wait(pause)

    def _granted(self, settled: Settled) -> Settled:
        if settled.is_success:
            return settled
        code, message = _reason(settled)
        _log.warning(
            "refused",
            host=settled.host,
            status=settled.status,
            code=code,
            message=message[:_LONGEST_MESSAGE],
            client_request_id=settled.request_id,
        )
        raise GraphRefused(settled.host, settled.status, code)


def _reason(settled: Settled) -> tuple[str, str]:
    """Return code and message of a refusal; empty ones where it does not say."""
    try:
        error = settled.document().get("error")
    except IntuneUnavailable:
        return "", ""
    if not isinstance(error, dict):
        return "", ""
    found = _CODE.fullmatch(str(error.get("code", "")))
    return found.group() if found else "", str(error.get("message", ""))
