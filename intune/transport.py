"""HTTPS to Microsoft's services: verified, bounded, and over by the deadline."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx2

from intune.errors import IntuneUnavailable
from intune.retry_after import pause_asked_for
from intune.waiting import Deadline, Pauses, SystemTicker, Ticker

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that everything goes through; ``password`` goes with ``user``."""

    url: str
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status; ``is_pause`` where it asks to come again later, which has been noted."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    is_pause: bool = False


def host_of(url: str) -> str:
    """Return host and port of ``url``, for messages and for pauses."""
    return httpx2.URL(url).netloc.decode("ascii")


class Transport:
    """Connections to whatever hosts are asked for, kept open. Use it as a context manager, or call ``close``.

    Args:
        ca_file: PEM file of the authorities that may vouch for the servers; the system's without it.
        proxy: what everything goes through.
        ticker: the time.
    """

    def __init__(self, *, ca_file: Path | None = None, proxy: Proxy | None = None, ticker: Ticker | None = None) -> None:
        self.ticker = ticker or SystemTicker()
        self.pauses = Pauses(self.ticker)
        # The environment's proxies and its .netrc do not count: what an authority trusts stands in its settings.
        self._http = httpx2.Client(
            verify=_trusting(ca_file),
            proxy=None if proxy is None else httpx2.Proxy(proxy.url, auth=(proxy.user, proxy.password) if proxy.user else None),
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def exchange(
        self, method: str, url: str, deadline: Deadline, *, headers: Mapping[str, str], content: bytes | None = None
    ) -> Answer:
        """Send one request and return its answer, which may be to come again later.

        Raises:
            Throttled: the host has asked for a pause that ends after the deadline.
            IntuneUnavailable: no connection, no TLS to be trusted, no answer in time, or too much of one.
        """
        host = self._host(url)
        self.pauses.observe(host, deadline)
        try:
            with self._http.stream(method, url, headers=dict(headers), content=content, timeout=_within(deadline)) as answer:
                body = _bounded(answer, host, deadline)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            self.pauses.unreachable(host)
            raise IntuneUnavailable(f"{host} cannot be reached: {_reason(error)}") from error
        except httpx2.HTTPError as error:
            raise IntuneUnavailable(f"{host} does not answer: {type(error).__name__}") from error
        pause = pause_asked_for(answer.status_code, answer.headers)
        if pause is not None:
            self.pauses.asked_for(host, pause)
        return Answer(answer.status_code, answer.headers, body, is_pause=pause is not None)

    def _host(self, url: str) -> str:
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            parsed = httpx2.URL()
        if parsed.scheme != "https" or not parsed.host:
            # Tokens and secrets go nowhere else, whatever a document fetched before says.
            raise IntuneUnavailable("a service of Microsoft's is said to be at an address that is not https")
        return parsed.netloc.decode("ascii")


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _within(deadline: Deadline) -> httpx2.Timeout:
    # A timeout of nought would mean none at all to some of the layers below.
    return httpx2.Timeout(max(deadline.remaining, 0.001))


def _bounded(answer: httpx2.Response, host: str, deadline: Deadline) -> bytes:
    received = bytearray()
    for chunk in answer.iter_bytes():
        received += chunk
        if len(received) > MAX_ANSWER_BYTES:
            raise IntuneUnavailable(f"{host} answers with more than {MAX_ANSWER_BYTES} bytes")
        if deadline.remaining <= 0:
            raise IntuneUnavailable(f"{host} does not answer in time")
    return bytes(received)


def _reason(error: httpx2.HTTPError) -> str:
    """Return why there was no connection; a certificate that is not trusted is said so, an administrator can do something."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
