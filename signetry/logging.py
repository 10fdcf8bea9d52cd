"""Structured logs on stderr, one JSON object a line (or coloured text), with secrets taken out at the very last step.

Everything ends here, structlog's events and the standard library's records alike, so that a secret which slipped into an event,
an exception message or another library's record is still caught. That is the second line: the first is not to log secrets.
"""

import logging
import re
import secrets
import sys
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

REDACTED = "[redacted]"

# Names of fields that hold secrets; compared by part, so that db_password and X-Api-Token are caught as well.
_SENSITIVE = re.compile(
    r"passw|passphrase|challenge(?!_id|s_)|secret|token|authorization|cookie|credential|private.?key|api.?key|(?:^|[_-])pin(?:$|[_-])",
    re.IGNORECASE,
)
_IN_TEXT = (
    # key=value, key: value and "key": "value" in messages of libraries.
    (
        re.compile(
            r"""(?i)((?:password|passwd|passphrase|challenge(?:password)?|secret|token|authorization|pin)["']?\s*[=:]\s*)"""
            r"""(?:b?"[^"]*"|b?'[^']*'|(?:bearer|basic)\s+\S+|[^\s,;)\]}]+)""",
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9+/=._~-]{8,}"), rf"\1 {REDACTED}"),
    # A token of the API, wherever it stands.
    (re.compile(r"\bsgt_[0-9]+_[A-Za-z0-9_-]{20,}"), REDACTED),
    # User and password in a URL.
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{REDACTED}@"),
    # A SCEP request by GET: the whole message stands in the query.
    (re.compile(r"(?i)(operation=PKIOperation&message=)[^\s&\"']+"), rf"\1{REDACTED}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
)
# Deeper than any event of ours; what lies below is not worth a recursion without end.
_DEPTH = 8
_REFERENCE_BYTES = 5


def _clean(value: object, depth: int = 0) -> object:
    if hasattr(value, "get_secret_value") or depth > _DEPTH:
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {key: REDACTED if _SENSITIVE.search(str(key)) else _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth + 1) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # Bytes may be a key or a message; anything else says of itself what its repr holds.
    return f"<{len(value)} bytes>" if isinstance(value, (bytes, bytearray, memoryview)) else redact_text(str(value))


def redact_text(text: str) -> str:
    """Return ``text`` without what looks like a secret."""
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in list(event):
        # The renderers below want these two as they are.
        if key not in ("_record", "_from_structlog"):
            event[key] = REDACTED if _SENSITIVE.search(key) else _clean(event[key])
    return event


def configure(level: str = "info", style: Literal["json", "console"] = "json", stream: TextIO | None = None) -> None:
    """Send every log of this process to ``stream`` (stderr), from ``level`` upwards."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # As text, before redaction: an exception's message may quote anything.
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[_redact, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        ),
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Each says at "info" what its caller has said already, and uvicorn at "warning" what any port scanner makes it say.
    for name in ("alembic", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def log_reference(error: BaseException, event: str = "unexpected error", **fields: object) -> str:
    """Log ``error`` with its traceback under a new random reference, and return that: it is all a peer gets to see."""
    reference = secrets.token_hex(_REFERENCE_BYTES)
    structlog.get_logger("signetry").error(event, reference=reference, exc_info=error, **fields)
    return reference
