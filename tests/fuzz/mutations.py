"""Deterministic mutations of encoded messages: the same generator state gives the same mutant."""

import random
from collections.abc import Callable, Sequence
from typing import Final

from foundation import tlv
from foundation.tlv import Element, MalformedTlv

_TAGS: Final = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C, 0x13, 0x16, 0x1E, 0x24, 0x30, 0x31, 0x80, 0xA0, 0xA1, 0x1F, 0x00)
_LENGTHS: Final = (
    b"\x00",
    b"\x80",
    b"\x7f",
    b"\x81\xff",
    b"\x82\xff\xff",
    b"\x84\xff\xff\xff\xff",
    b"\x85\x01\x00\x00\x00\x00",
    b"\xff",
)
_MAX_ELEMENTS: Final = 400

Mutation = Callable[[random.Random, bytes, Sequence[Element]], bytes]


def elements(data: bytes) -> list[Element]:
    """Return the elements of ``data``, outermost first, as far as they can be read."""
    found: list[Element] = []
    try:
        queue = [tlv.read(data)]
    except MalformedTlv:
        return found
    while queue and len(found) < _MAX_ELEMENTS:
        element = queue.pop(0)
        found.append(element)
        if element.tag & 0x20:
            try:
                queue += tlv.children(data, element)
            except MalformedTlv:
                continue
    return found


def mutate(source: random.Random, data: bytes) -> bytes:
    """Return ``data`` with one to three things wrong with it."""
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        found = elements(data)
        # Without an element to work on, only the blind mutations apply.
        mutation = source.choice(_STRUCTURAL + _BLIND if found else _BLIND)
        data = mutation(source, data, found)
    return data


# --- blind ---


def _flip_bits(source: random.Random, data: bytes, _: Sequence[Element]) -> bytes:
    changed = bytearray(data or b"\0")
    for _unused in range(source.choice((1, 1, 2, 8))):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def _truncate(source: random.Random, data: bytes, _: Sequence[Element]) -> bytes:
    return data[: source.randrange(len(data) + 1)]


def _append(source: random.Random, data: bytes, _: Sequence[Element]) -> bytes:
    return data + source.randbytes(source.choice((1, 2, 100)))


def _splice(source: random.Random, data: bytes, _: Sequence[Element]) -> bytes:
    start, end, target = sorted(source.randrange(len(data) + 1) for _unused in range(3))
    return data[:start] + data[end:target] + data[start:]


# --- structural ---


def _replaced(data: bytes, element: Element, replacement: bytes) -> bytes:
    """Replace one element without putting the lengths around it right."""
    return data[: element.start] + replacement + data[element.end :]


def _resized(data: bytes, chosen: Element, replacement: bytes) -> bytes:
    """Replace one element and put the lengths around it right, so that the change reaches the inner decoders."""

    def rebuild(element: Element) -> bytes:
        if element == chosen:
            return replacement
        if not (element.start <= chosen.start and chosen.end <= element.end and element.tag & 0x20):
            return data[element.start : element.end]
        return tlv.tlv(element.tag, b"".join(rebuild(child) for child in tlv.children(data, element)))

    outer = tlv.read(data)
    return rebuild(outer) + data[outer.end :]


def _corrupt_length(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element = source.choice(found)
    return data[: element.start + 1] + source.choice(_LENGTHS) + data[element.content :]


def _swap_tag(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element = source.choice(found)
    return data[: element.start] + bytes((source.choice(_TAGS),)) + data[element.start + 1 :]


def _duplicate(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element = source.choice(found)
    times = source.choice((2, 2, 3, 50))
    return _resized(data, element, data[element.start : element.end] * times)


def _delete(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    return _resized(data, source.choice(found), b"")


def _empty(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element = source.choice(found)
    return _resized(data, element, bytes((element.tag, 0)))


def _transplant(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element, other = source.choice(found), source.choice(found)
    return _resized(data, element, data[other.start : other.end])


def _scramble(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element = source.choice(found)
    return _replaced(data, element, data[element.start : element.content] + source.randbytes(element.end - element.content))


def _grow(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element = source.choice(found)
    return _resized(data, element, tlv.tlv(element.tag, source.choice((b"\x81", b"\0", b"0")) * source.choice((70, 300, 20000))))


def _nest(source: random.Random, data: bytes, found: Sequence[Element]) -> bytes:
    element = source.choice(found)
    depth = source.choice((5, 40, 2000))
    return _resized(data, element, b"\x30\x80" * depth + data[element.start : element.end] + b"\0\0" * depth)


_BLIND: Final[tuple[Mutation, ...]] = (_flip_bits, _flip_bits, _truncate, _append, _splice)
_STRUCTURAL: Final[tuple[Mutation, ...]] = (
    _corrupt_length,
    _swap_tag,
    _duplicate,
    _delete,
    _empty,
    _transplant,
    _scramble,
    _grow,
    _nest,
)
