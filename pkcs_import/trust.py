"""How the chain of an imported certificate stands: our own authorities, the operating system's trusted roots, or nobody's."""

from enum import StrEnum


class Trust(StrEnum):
    """Who vouches for a certificate."""

    OURS = "ours"
    SYSTEM = "system"
    UNKNOWN = "unknown"
