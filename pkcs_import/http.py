"""The page behind a one-time link, on the device listener: a look at what it leads to (GET), and fetching it, once (POST).

Looking changes nothing, so that no mail filter that follows links uses one up. The token stands in the query, which no log line
has. Whatever is wrong with a token, the answer is the same to the byte.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from foundation.clock import Clock
from foundation.errors import SignetryError
from foundation.transactions import Transactions
from pkcs_import import delivery_links
from pkcs_import.delivery import HandedListener
from pkcs_import.delivery_links import Offer
from pkcs_import.errors import UnknownDelivery

PATH: Final = "/keys"
PARAMETER: Final = "token"
_STYLE: Final = (
    "body{font:1.1em/1.5 sans-serif;max-width:34em;margin:2em auto;padding:0 1em}button{font-size:1em;padding:.6em 1.2em}"
)
_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "vary": "accept-language",
}
_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "title": "Your mail keys",
        "for": "Encryption keys for the device {device}: {keys}, in one file.",
        "once": "The file can be fetched once, until {until}. Open this page on the device itself.",
        "passphrase": "To open the file you need its passphrase, which you get by another way than this link.",
        "button": "Fetch the file",
        "nowhere": "This link leads to nothing, or to nothing any more: a link works once, and for a limited time. "
        "Ask whoever sent it for a new one.",
        "busy": "Too many requests came from your network. Try again in a minute.",
        "unavailable": "The keys cannot be fetched at the moment. Try again in a minute; the link stays good.",
    },
    "ja": {
        "title": "メールの暗号鍵",
        "for": "端末「{device}」用の暗号鍵 {keys} 個が 1 つのファイルに入っています。",
        "once": "ファイルは {until} まで、1 回だけ取得できます。このページは使用する端末で開いてください。",
        "passphrase": "ファイルを開くにはパスフレーズが必要です。パスフレーズはこのリンクとは別の方法で届きます。",
        "button": "ファイルを取得する",
        "nowhere": "このリンクは無効です。リンクは 1 回だけ、期限内に限り有効です。送信者に新しいリンクを依頼してください。",
        "busy": "お使いのネットワークからの要求が多すぎます。1 分後にもう一度お試しください。",
        "unavailable": "現在、鍵を取得できません。1 分後にもう一度お試しください。リンクは引き続き有効です。",
    },
}


def routes(
    transactions: Transactions,
    clock: Clock,
    *,
    admit: Callable[[str], int],
    listeners: Sequence[HandedListener] = (),
) -> list[Route]:
    """Return the page's route.

    Args:
        transactions: the store.
        clock: the time.
        admit: says after how many seconds an address is to come back, 0 where it may ask now.
        listeners: who is told that a device holds its keys, in the transaction that notes it.
    """
    return [Route(PATH, _Page(transactions, clock, admit, listeners).answer, methods=["GET", "POST"])]


class _Page:
    """Answers the page's requests; works with the database, so not in the event loop."""

    def __init__(
        self, transactions: Transactions, clock: Clock, admit: Callable[[str], int], listeners: Sequence[HandedListener]
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._admit = admit
        self._listeners = listeners

    def answer(self, request: Request) -> Response:
        """Return the page, the file, or the one answer that there is to everything else."""
        language = _language(request)
        origin = request.client.host if request.client else "unknown"
        wait = self._admit(origin)
        if wait:
            return _shown(language, 429, _paragraph(language, "busy"), {"retry-after": str(wait)})
        tokens = request.query_params.getlist(PARAMETER)
        token = tokens[0] if len(tokens) == 1 else ""
        try:
            return self._fetched(token, origin) if request.method == "POST" else self._offered(language, token)
        except UnknownDelivery:
            return _shown(language, 404, _paragraph(language, "nowhere"))
        except SignetryError:
            return _shown(language, 503, _paragraph(language, "unavailable"), {"retry-after": "60"})

    def _offered(self, language: str, token: str) -> Response:
        with self._transactions.reading() as session:
            offer = delivery_links.offered(session, token, now=self._clock.now())
        return _shown(language, 200, _offer(language, offer))

    def _fetched(self, token: str, origin: str) -> Response:
        fetch = partial(delivery_links.fetch, token=token, origin=origin, now=self._clock.now(), listeners=self._listeners)
        package = self._transactions.write(fetch)
        attached = {
            **_HEADERS,
            "content-disposition": f'attachment; filename="{package.name}"',
            "content-type": package.media_type,
        }
        return Response(package.content, headers=attached)


def _language(request: Request) -> str:
    """Return the first language that the browser asks for and that there are words in."""
    for part in request.headers.get("accept-language", "").split(","):
        language = part.partition(";")[0].strip().lower().partition("-")[0]
        if language in _WORDS:
            return language
    return "en"


def _offer(language: str, offer: Offer) -> str:
    words = _WORDS[language]
    until = offer.expires_at.strftime("%Y-%m-%d %H:%M UTC")
    lines = (words["for"].format(device=offer.device, keys=offer.keys), words["once"].format(until=until), words["passphrase"])
    # Without an address the form goes to the page's own, token and all.
    button = f'<form method="post"><button>{escape(words["button"])}</button></form>'
    return "".join(f"<p>{escape(line)}</p>" for line in lines) + button


def _paragraph(language: str, name: str) -> str:
    return f"<p>{escape(_WORDS[language][name])}</p>"


def _shown(language: str, status: int, body: str, more: Mapping[str, str] | None = None) -> Response:
    title = escape(_WORDS[language]["title"])
    page = (
        f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1>{body}</body></html>"
    )
    headers = {**_HEADERS, "content-type": "text/html; charset=utf-8", "content-language": language, **(more or {})}
    return Response(page, status, headers=headers)
