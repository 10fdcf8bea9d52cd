"""Changing encoded structures from the inside, with the lengths around the change put right."""

from foundation import tlv


def rebuilt(der: bytes, old: bytes, new: bytes) -> bytes:
    """Replace the element (or content) ``old`` wherever it stands in ``der``, and correct the lengths around it."""
    element = tlv.read(der)
    content = der[element.content : element.end]
    if der == old:
        return new
    if content == old:
        return tlv.tlv(element.tag, new)
    if not element.tag & 0x20 or old not in content:
        return der
    children = tlv.children(der, element)
    return tlv.tlv(element.tag, b"".join(rebuilt(der[child.start : child.end], old, new) for child in children))


def walk(der: bytes) -> list[bytes]:
    """Return every element of ``der``, outermost first."""
    found, queue = [], [der]
    while queue:
        part = queue.pop(0)
        found.append(part)
        element = tlv.read(part)
        if element.tag & 0x20:
            queue += [part[child.start : child.end] for child in tlv.children(part, element)]
    return found
