"""The audit logs of the directories, read: what was added, deleted and replaced, in order."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """A value that came or went: ``action`` is add, delete or replace; ``attribute`` is without option.

    ``value`` is the value's beginning, where the log keeps no more (Samba: 1024 bytes); it is empty where a whole attribute was
    deleted or replaced by nothing.
    """

    dn: str
    attribute: str
    action: str
    value: bytes = b""


def from_ldif(text: str) -> list[Change]:
    """Read the modifications of an audit log in LDIF, as slapd's auditlog overlay and 389 DS write it."""
    unfolded = re.sub(r"\n ", "", text)
    # The last record may be half of one.
    return [change for record in re.split(r"\n\n+", unfolded)[:-1] for change in _modifications(record.splitlines())]


def _modifications(lines: list[str]) -> Iterator[Change]:
    fields = [_field(line) for line in lines if ":" in line and not line.startswith(("#", " "))]
    dn = next((value.decode() for name, value in fields if name == "dn"), "")
    if (b"modify") not in [value for name, value in fields if name == "changetype"]:
        return
    action, attribute, seen = "", "", 0
    for line in lines:
        if line == "-":
            if action and not seen:
                yield Change(dn, attribute, action)
            action = ""
            continue
        name, value = _field(line)
        if not action and name in {"add", "delete", "replace"}:
            action, attribute, seen = name, value.decode().split(";")[0], 0
        elif action and name.split(";")[0].lower() == attribute.lower():
            seen += 1
            yield Change(dn, attribute, action, value)


def _field(line: str) -> tuple[str, bytes]:
    name, _, value = line.partition(":")
    return name, base64.b64decode(value[1:]) if value.startswith(":") else value.strip().encode()


def from_samba_json(text: str) -> list[Change]:
    """Read the modifications that succeeded from Samba's ``dsdb_json_audit`` log lines."""
    found = []
    # Lines of more than four kilobytes go on in the next one, and the last may be half of one.
    for line in text.replace(" +>\n  ", "").split("\n")[:-1]:
        brace = line.find('{"')
        if brace < 0 or '"dsdbChange"' not in line:
            continue
        change = json.loads(line[brace:])["dsdbChange"]
        if change["operation"] != "Modify" or change["statusCode"] != 0:
            continue
        for attribute, details in change.get("attributes", {}).items():
            for action in details["actions"]:
                values = [_samba_value(value) for value in action.get("values", [])] or [b""]
                found += [Change(change["dn"], attribute, action["action"], value) for value in values]
    return found


def _samba_value(value: dict[str, str | bool]) -> bytes:
    text = str(value["value"])
    if not value.get("base64"):
        return text.encode()
    # A value cut off by the log ends with dots.
    text = text.rstrip(".")
    return base64.b64decode(text[: len(text) // 4 * 4])
