"""What opens a delivered PKCS #12, and which encoding it reads.

Not all of Apple's, gpgsm's and Outlook's importers read PBES2 with a SHA-256 MAC; gpgsm takes nothing but 3DES. What makes the
old encoding weak is its key derivation, and under a machine's passphrase there is nothing to guess. Source: facts/ldap.md,
facts/mail_profiles.md sections 5 and 9.
"""

from enum import StrEnum
from typing import Final

from pkcs_import.delivery import Method
from pkcs_import.packing import Encoding


class Target(StrEnum):
    """The program, or system, that imports a file."""

    APPLE = "apple"
    OUTLOOK = "outlook"
    """Outlook on a phone, which opens it itself."""
    GPGSM = "gpgsm"
    ANDROID = "android"
    WINDOWS = "windows"
    OTHER = "other"
    """Thunderbird, OpenSSL, Java, …"""


_LEGACY: Final = frozenset({Target.APPLE, Target.OUTLOOK, Target.GPGSM})
# How management systems and people begin the names of platforms.
_PLATFORMS: Final = (
    (("ios", "ipad", "iphone", "mac", "os x", "osx", "apple", "vision", "tvos"), Target.APPLE),
    (("android",), Target.ANDROID),
    (("win",), Target.WINDOWS),
)


def encoding_for(target: Target) -> Encoding:
    """Return the strongest encoding that a target is known to read."""
    return Encoding.LEGACY if target in _LEGACY else Encoding.MODERN


def takes_one_at_a_time(target: Target) -> bool:
    """Say whether a target is known, or must be feared, to take only the first key of a file: each then gets its own."""
    return target in _LEGACY


def usual_target(method: Method, platform: str) -> Target:
    """Return what imports a file that goes by ``method`` to a device of ``platform`` (as recorded, in small letters)."""
    match method:
        case Method.MAIL | Method.INTUNE:
            return Target.OUTLOOK
        case Method.PROFILE:
            return Target.APPLE
        case _:
            known = (target for beginnings, target in _PLATFORMS if platform.startswith(beginnings))
            return next(known, Target.OTHER)
