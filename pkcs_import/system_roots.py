"""The roots that the operating system trusts, on Linux, macOS and Windows (``oscrypto.trust_list``)."""

from oscrypto import trust_list
from oscrypto.errors import CACertsError

_EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
_ANY_PURPOSE = "2.5.29.37.0"


def system_roots() -> list[bytes]:
    """Return the roots (DER) that this machine trusts for mail; none where it has no list."""
    try:
        entries = trust_list.get_list()
    except (OSError, CACertsError):
        return []
    return [certificate.dump() for certificate, trusted, rejected in entries if _is_for_mail(trusted, rejected)]


def _is_for_mail(trusted: set[str], rejected: set[str]) -> bool:
    """Say whether a root is good for mail; one of which nothing is said is good for everything."""
    return _EMAIL_PROTECTION not in rejected and (not trusted or not trusted.isdisjoint((_EMAIL_PROTECTION, _ANY_PURPOSE)))
