"""The way to a webhook: one POST, verified TLS, nothing followed, everything bounded."""

import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
import structlog

from foundation.clock import Clock
from foundation.errors import Unavailable
from scep.policies.webhook_messages import WebhookMisbehaved, signature_headers, verify

MAX_ANSWER_BYTES: Final = 64 * 1024
# A connection that was not made has asked nothing yet; anything later is left to the client, whose request comes again.
_ATTEMPTS: Final = 2

_log = structlog.get_logger("signetry.webhook")


class WebhookUnavailable(Unavailable):
    """The webhook has not decided. The client learns no more than that; why stands in the log."""

    def __init__(self) -> None:
        super().__init__("whoever decides about the requests of this endpoint cannot be asked now")


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """Where a webhook is, which authorities vouch for it (the system's without ``ca_file``), and how long it may take."""

    url: str
    ca_file: Path | None = None
    timeout_seconds: float = 10.0


class WebhookClient:
    """Asks one webhook; shared by all threads. ``keys`` gives the keys that are good now, the newest first."""

    def __init__(self, address: WebhookAddress, keys: Callable[[], Sequence[bytes]], clock: Clock) -> None:
        self._address = address
        self._keys = keys
        self._clock = clock
        # The environment's proxies and its .netrc do not count: whom an authority asks stands in its settings.
        self._http = httpx2.Client(
            verify=_trusting(address.ca_file), timeout=address.timeout_seconds, follow_redirects=False, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, body: bytes) -> bytes:
        """Send ``body``, signed; return the body of the answer, whose signature has been verified.

        Raises:
            WebhookUnavailable: no answer in time, none with HTTP 200, or none that is signed.
        """
        keys = self._keys()
        message_id = f"msg_{secrets.token_urlsafe(18)}"
        headers = {
            **signature_headers(keys, message_id, body, now=self._clock.now()),
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "signetry",
        }
        try:
            answer, received = self._exchange(headers, body)
            verify(keys, message_id, answer.headers, received, now=self._clock.now())
        except WebhookMisbehaved as error:
            self.complain(str(error))
            raise WebhookUnavailable from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            self.complain(_reason(error))
            raise WebhookUnavailable from error
        return received

    def complain(self, reason: str) -> None:
        """Tell the administrator why there is no answer."""
        # Without path and query, which may hold what is nobody's business.
        _log.warning("webhook does not decide", host=httpx2.URL(self._address.url).host, reason=reason)

    def _exchange(self, headers: dict[str, str], body: bytes) -> tuple[httpx2.Response, bytes]:
        until = time.monotonic() + self._address.timeout_seconds
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._http.stream("POST", self._address.url, content=body, headers=headers) as answer:
                    received = _bounded(answer, until)
                    if answer.status_code != httpx2.codes.OK:
                        raise WebhookMisbehaved(f"it answers with HTTP {answer.status_code}, not 200")
                    return answer, received
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if attempt == _ATTEMPTS or time.monotonic() >= until:
                    raise
        raise AssertionError("unreachable")


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _bounded(answer: httpx2.Response, until: float) -> bytes:
    received = bytearray()
    for chunk in answer.iter_bytes():
        received += chunk
        if len(received) > MAX_ANSWER_BYTES:
            raise WebhookMisbehaved(f"it answers with more than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > until:
            raise WebhookMisbehaved("it does not answer in time")
    return bytes(received)


def _reason(error: Exception) -> str:
    """Return why there is no answer; a certificate that is not trusted is said so, an administrator can do something."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return f"no answer: {type(error).__name__}"
