"""Access tokens for an application of its own right, by MSAL (OAuth 2.0 client credentials, RFC 6749 section 4.4).

MSAL keeps tokens until shortly before their end. It speaks through our transport, so that trust, proxy, deadline and the bounds
of answers are the same everywhere, and is told not to ask Microsoft's public cloud about authorities it does not know.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import structlog

from foundation.errors import SignetryError
from intune.errors import AccessRefused, IntuneUnavailable
from intune.tenant import ClientCertificate, Credential, Tenant
from intune.transport import Transport, host_of
from intune.waiting import Deadline

if TYPE_CHECKING:
    from msal import ConfidentialClientApplication

_log = structlog.get_logger("intune.tokens")

# Microsoft's own number of what is wrong: worth more to whoever searches for it than the sentence around it.
_AADSTS: Final = re.compile(r"AADSTS\d+")
# How long a refusal is remembered: a storm of phones is not to become a storm of log-ons.
_REFUSED_SECONDS: Final = 15.0
_SERVER_ERRORS: Final = 500


@dataclass(frozen=True, slots=True)
class _MsalAnswer:
    """An answer in the shape that MSAL expects of an HTTP library."""

    status_code: int
    text: str = field(repr=False)
    headers: Mapping[str, str]

    def raise_for_status(self) -> None:
        """Do nothing: what MSAL would raise for has been raised already."""


class _MsalHttp:
    """Our transport in the shape that MSAL expects of an HTTP library; ``deadline`` is that of the call under way."""

    def __init__(self, transport: Transport, deadline: Deadline) -> None:
        self._transport = transport
        self.deadline = deadline

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        **_options: object,
    ) -> _MsalAnswer:
        """Send a form."""
        body = data if isinstance(data, str) else urlencode(data or {})
        given = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return self._exchange("POST", url, params, given, body.encode())

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_options: object,
    ) -> _MsalAnswer:
        """Fetch a document."""
        return self._exchange("GET", url, params, headers or {}, None)

    def close(self) -> None:
        """Leave the connections to whoever opened them."""

    def _exchange(
        self, method: str, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str], body: bytes | None
    ) -> _MsalAnswer:
        target = f"{url}?{urlencode(params)}" if params else url
        while True:
            # Each round waits out the pause that the one before was asked for, or raises where that takes too long.
            answer = self._transport.exchange(method, target, self.deadline, headers=headers, content=body)
            if not answer.is_pause:
                break
        if answer.status >= _SERVER_ERRORS:
            raise IntuneUnavailable(f"{host_of(url)} answers with HTTP {answer.status}")
        text = answer.body.decode("utf-8", "replace")
        try:
            json.loads(text)
        except ValueError:
            # MSAL would log it, and a token might be in it.
            raise IntuneUnavailable(f"{host_of(url)} answers with HTTP {answer.status} and something else than JSON") from None
        return _MsalAnswer(answer.status, text, answer.headers)


class Tokens:
    """The access tokens of one application in one tenant, shared by all threads."""

    def __init__(self, tenant: Tenant, transport: Transport) -> None:
        self._tenant = tenant
        self._transport = transport
        self._lock = threading.Lock()
        self._http: _MsalHttp | None = None
        self._application: ConfidentialClientApplication | None = None
        self._refusal: tuple[float, AccessRefused] | None = None

    def bearer(self, scope: str, deadline: Deadline) -> str:
        """Return a token for ``scope`` that is good for some minutes at least.

        Raises:
            AccessRefused: the credentials are not to be had, or are not accepted.
            IntuneUnavailable: the log-on service does not answer, or somebody else waits for it longer than we can.
        """
        with self._alone(deadline):
            if self._refusal is not None and self._transport.ticker.now() < self._refusal[0]:
                raise self._refusal[1]
            try:
                token = self._acquired(scope, deadline)
            except AccessRefused as refusal:
                self._refusal = (self._transport.ticker.now() + _REFUSED_SECONDS, refusal)
                # With it go what MSAL remembers of this refusal and the credential, which may be another one next time.
                self._application = None
                raise
            self._refusal = None
            return token

    def forget(self, deadline: Deadline) -> None:
        """Forget the tokens at hand: a service has refused one of them."""
        with self._alone(deadline):
            if self._application is not None:
                self._application.remove_tokens_for_client()

    @contextmanager
    def _alone(self, deadline: Deadline) -> Iterator[None]:
        if not self._lock.acquire(timeout=deadline.remaining):
            raise IntuneUnavailable(f"{host_of(self._tenant.login_url)} does not answer in time")
        try:
            yield
        finally:
            self._lock.release()

    def _acquired(self, scope: str, deadline: Deadline) -> str:
        # Here, and not at the top: with all it brings along it takes longer to import than most commands take to run.
        from msal.exceptions import MsalError  # noqa: PLC0415

        login = host_of(self._tenant.login_url)
        try:
            application = self._opened(deadline)
            # A token of which half has passed is renewed beforehand; while that fails, the old one still does.
            result = application.acquire_token_for_client([scope], http_exceptions=(IntuneUnavailable,))
        except SignetryError:
            raise
        except ValueError as error:
            # What MSAL says when the tenant's document is refused or missing.
            _log.warning("no such authority", authority=self._tenant.authority)
            raise AccessRefused(f"{login} does not know this tenant") from error
        except (MsalError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise IntuneUnavailable(f"{login} does not answer as documented: {type(error).__name__}") from error
        return self._token_in(result, scope)

    def _opened(self, deadline: Deadline) -> "ConfidentialClientApplication":
        from msal import ConfidentialClientApplication  # noqa: PLC0415 - as above

        if self._application is not None and self._http is not None:
            self._http.deadline = deadline
            return self._application
        http = _MsalHttp(self._transport, deadline)
        self._application = ConfidentialClientApplication(
            self._tenant.client_id,
            client_credential=_for_msal(self._credential()),
            authority=self._tenant.authority,
            http_client=http,
            # Otherwise MSAL asks login.microsoftonline.com about every other host: the settings name the one to trust.
            instance_discovery=False,
        )
        self._http = http
        return self._application

    def _credential(self) -> Credential:
        try:
            return self._tenant.credential()
        except SignetryError as error:
            _log.error("credential cannot be read", reason=str(error))
            raise AccessRefused("the credentials for Intune cannot be read") from error

    def _token_in(self, result: Mapping[str, Any], scope: str) -> str:
        token = result.get("access_token")
        if isinstance(token, str) and token:
            return token
        description = str(result.get("error_description", ""))
        found = _AADSTS.search(description)
        code = found.group() if found else str(result.get("error", "no reason"))[:60]
        _log.warning(
            "no token",
            authority=self._tenant.authority,
            scope=scope,
            reason=code,
            description=description.partition("\n")[0][:300],
        )
        raise AccessRefused(f"{host_of(self._tenant.login_url)} refuses the credentials for Intune: {code}")


def _for_msal(credential: Credential) -> str | dict[str, str]:
    if isinstance(credential, ClientCertificate):
        return {"private_key": credential.private_key, "public_certificate": credential.certificate}
    return credential.secret
