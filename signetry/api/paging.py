"""Lists in pages: ``limit`` and an opaque ``after``, a position that stays where it is while rows come and go.

A cursor holds the sort key of the last item seen, so that a page costs the same wherever it starts, and what is added or removed
meanwhile makes nothing appear twice or stay away. The answer names the next page twice: as ``next`` in the body, and as a Link
header (RFC 8288).
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field

from foundation.errors import BadRequest

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
_LONGEST = 1000
_LARGEST = 2**63 - 1

Item = TypeVar("Item")
Row = TypeVar("Row")


class InvalidCursor(BadRequest):
    """The ``after`` of a request is none that this list gave out."""

    def __init__(self) -> None:
        super().__init__("after: not a cursor of this list; take the one that the page before gave")


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: str | None = Field(description="The cursor of the next page, for its `after`; null on the last page.")


def encode_cursor(*key: int | str) -> str:
    """Return the cursor that stands after the item with this sort key."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type[int | str]) -> tuple[Any, ...]:
    """Return the sort key in a cursor, which must consist of ``types``.

    Raises:
        InvalidCursor: it does not, or a value is one that no database takes.
    """
    if len(cursor) > _LONGEST:
        raise InvalidCursor
    try:
        # The standard library skips what is not in the alphabet unless it is told not to.
        encoded = cursor.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"))
        key = json.loads(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise InvalidCursor from error
    if not isinstance(key, list) or [type(part) for part in key] != list(types):
        raise InvalidCursor
    if not all(_is_storable(part) for part in key):
        raise InvalidCursor
    return tuple(key)


def _is_storable(part: int | str) -> bool:
    if isinstance(part, int):
        return abs(part) <= _LARGEST
    # PostgreSQL holds no NUL; a lone surrogate is no text at all.
    return "\0" not in part and not any("\ud800" <= character <= "\udfff" for character in part)


@dataclass(frozen=True, slots=True)
class Paging:
    """What page a request asks for, and how its answer names the next."""

    limit: int
    cursor: str | None
    _request: Request = field(repr=False)
    _response: Response = field(repr=False)

    @property
    def one_more(self) -> int:
        """How many rows to fetch: one more than are shown tells whether there is a next page."""
        return self.limit + 1

    def after(self, *types: type[int | str]) -> tuple[Any, ...] | None:
        """Return the sort key after which the page begins, of ``types``; None for the first page. Raises InvalidCursor."""
        return None if self.cursor is None else decode_cursor(self.cursor, *types)

    def page(self, rows: Sequence[Row], key: Callable[[Row], tuple[int | str, ...]], shape: Callable[[Row], Item]) -> Page[Item]:
        """Return the page that ``rows`` (up to ``one_more``) make, each shaped; ``key`` is the sort key of a row."""
        shown = rows[: self.limit]
        following = key(shown[-1]) if len(rows) > self.limit else None
        return self.part([shape(row) for row in shown], following)

    def part(self, items: list[Item], following: tuple[int | str, ...] | None) -> Page[Item]:
        """Return a page of ``items``; ``following`` is the sort key that the next page begins after, None on the last."""
        cursor = None if following is None else encode_cursor(*following)
        if cursor is not None:
            url = self._request.url.include_query_params(after=cursor)
            # Without scheme and host, of which a reverse proxy may have told us the wrong ones.
            self._response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
        return Page(items=items, next=cursor)


def _paging(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most.")] = DEFAULT_LIMIT,
    after: Annotated[
        str | None, Query(max_length=_LONGEST, description="The `next` of the page before; none for the first page.")
    ] = None,
) -> Paging:
    return Paging(limit, after, request, response)


InPages = Annotated[Paging, Depends(_paging)]
