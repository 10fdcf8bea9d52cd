"""What the doctor's checks find."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from signetry.house import House

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; ``advice`` is what an administrator can do, where something is to be done."""

    check: str
    severity: Severity
    finding: str
    advice: str = ""


Check = Callable[[House], Iterator[Finding]]
