"""HTTP/1 with bounds: uvicorn's httptools protocol, which by itself reads a request's head without end.

What clients need stays: request lines of 16 KiB and more (SCEP by GET carries the whole message in the query), HTTP/1.0 and
requests without a Host header (facts/scep.md section 3). Pipelining and keep-alive are uvicorn's own.

Nobody is upgraded to another protocol, and whoever offers it is answered as if they had not (RFC 9110 section 7.8). Java's
HttpClient offers ``h2c`` with every request to a plain listener unless it is told not to; the parser takes that for the end of
HTTP/1, and what is posted would be lost.
"""

from asyncio import BaseTransport, TimerHandle
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Counted as received; the read in which the head ends may bring a little more. SCEP's longest GET is a quarter of this.
HEAD_AT_MOST = 64 * 1024

# From the connection, or the first byte of a further request, to the end of the head; and from there to the end of the body.
HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0

# A peer that fetches an answer must take this many bytes of it in this time; a large CRL may take minutes.
WRITE_SECONDS = 30.0
WRITTEN_AT_LEAST = 16 * 1024

# How long what a refused peer goes on sending is read and thrown away.
LINGER_SECONDS = 1.0


class _Parser:
    """``httptools``' request parser for a protocol that is never upgraded."""

    def __init__(self, protocol: "BoundedHttpToolsProtocol") -> None:
        self._protocol = protocol
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self._protocol)
        self.should_upgrade = self._parser.should_upgrade
        self.should_keep_alive = self._parser.should_keep_alive
        self.get_method = self._parser.get_method
        self.get_http_version = self._parser.get_http_version

    def feed_data(self, data: bytes) -> None:
        """Parse ``data``; where it offers an upgrade, from the start again without."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            head = self._protocol.head_without_upgrade()
            if head is None:
                raise
            # It stopped at the end of the head; a parser that has stopped cannot be made to read a body.
            self._begin()
            self.feed_data(head + data[offered.args[0] :])


class BoundedHttpToolsProtocol(HttpToolsProtocol):
    """One connection; a peer that sends too much of a head, or sends or reads too slowly, is turned away."""

    head_seconds = HEAD_SECONDS
    body_seconds = BODY_SECONDS
    write_seconds = WRITE_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)  # type: ignore[assignment] # all of it that is used
        self._head_bytes = 0
        self._in_head = True
        # Whether anything of a request has come but the empty lines that may stand before it.
        self._begun = False
        self._body_arrived = False
        # Chunk headers, their extensions and the trailers since the last byte of a body.
        self._framing_bytes = 0
        self._refused = False
        self._deadline: TimerHandle | None = None
        self._stalled: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Start the clock: a connection on which nothing arrives is closed as well."""
        super().connection_made(transport)  # type: ignore[arg-type] # it is a Transport
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            # uvicorn counts when a request has come; until then a connection would cost a file descriptor all the same.
            self.transport.abort()
        self._expect_within(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._expect_within(None)
        self._watch_reader(None)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the clock for a peer that does not read its answer."""
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stop that clock."""
        self._watch_reader(None)
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, as long as the head, and what frames a chunked body, stay within their bound."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._body_arrived = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._in_head:
            self._framing_bytes = 0 if self._body_arrived else self._framing_bytes + len(data)
            if self._framing_bytes > HEAD_AT_MOST:
                # Trailers without end, which would all be kept. There may be an answer on its way, so there is no other.
                self.transport.close()
        elif self._head_bytes > HEAD_AT_MOST:
            # No header yet means that the request line itself has no end.
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if self.headers else HTTPStatus.REQUEST_URI_TOO_LONG)
        elif self._head_bytes and self._deadline is None:
            # An empty line, of which the parser tells nobody; uvicorn has stopped its own clock for it.
            self._expect_within(self.head_seconds)

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        super().on_message_begin()
        self._begun = True
        self._expect_within(self.head_seconds)

    def on_headers_complete(self) -> None:
        """Note the end of the head."""
        if self._offers_upgrade():
            # It is parsed again, without the offer.
            return
        self._in_head = False
        self._framing_bytes = 0
        self._expect_within(self.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that what arrives is a body, whose length the application bounds."""
        self._body_arrived = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note the end of the body: from here on the application has all the time it wants, and the next head may come."""
        if self._offers_upgrade():
            return
        self._expect_within(None)
        self._in_head = True
        self._begun = False
        self._head_bytes = 0
        super().on_message_complete()

    def head_without_upgrade(self) -> bytes | None:
        """Return the head that was parsed last without its Upgrade header; None when it has none."""
        if not self._offers_upgrade():
            return None
        request_line = b" ".join((self.parser.get_method(), self.url, b"HTTP/" + self.parser.get_http_version().encode()))
        headers = (name + b": " + value for name, value in self.headers if name != b"upgrade")
        return b"\r\n".join((request_line, *headers, b"", b""))

    def _offers_upgrade(self) -> bool:
        # To the parser CONNECT is an upgrade as well; it is answered as any method that no route has.
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _expect_within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head and self.cycle is not None and not self.cycle.response_complete:
            # The request before is still being answered; a refusal now would be taken for its answer.
            self._expect_within(self.head_seconds)
        elif self._in_head and self._begun:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            # Either nothing was asked, or the application is waiting for the rest and learns that there is none.
            self.transport.close()

    def _watch_reader(self, unread: int | None) -> None:
        """Abort the connection unless the peer takes enough of the ``unread`` bytes in time; None ends the watch."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._stalled = None if unread is None else self.loop.call_later(self.write_seconds, self._look_at_reader, unread)

    def _look_at_reader(self, before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if before - unread < WRITTEN_AT_LEAST:
            self.transport.abort()
        else:
            self._watch_reader(unread)

    def _refuse(self, status: HTTPStatus) -> None:
        body = status.phrase.encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        # Closing now, with bytes of the peer's still unread, would reset the connection, and the peer might never see the answer.
        self._refused = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._expect_within(None)
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)
