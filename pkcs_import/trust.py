"""How the chain of an imported certificate stands: our own authorities, the operating system's trusted roots, or nobody's.

An expired certificate is judged as of its last day: old mail is what it is kept for. Revocation is not looked at.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from ca.chain import MAX_LENGTH, find_chain_to
from ca.errors import ChainRefused

# Of a chain that came with a file; what is behind the first ones is not looked at.
_MOST_GIVEN = 32


class Trust(StrEnum):
    """Who vouches for a certificate."""

    OURS = "ours"
    SYSTEM = "system"
    UNKNOWN = "unknown"


class Judge:
    """Judges chains by ``ours``, the certificates (DER) of our authorities and those above, and the ``system``'s roots."""

    def __init__(self, ours: Iterable[bytes], system: Callable[[], Sequence[bytes]]) -> None:
        """Read our own; the system's are asked for when the first chain needs them."""
        self._ours = _Heap(_loaded(ours))
        self._system = system
        self._system_heap: _Heap | None = None

    def judge(self, leaf: bytes, chain: Sequence[bytes], now: datetime) -> Trust:
        """Return who vouches for the certificate ``leaf`` (DER), with the help of the ``chain`` that came with it."""
        own, given = _loaded([leaf]), _loaded(chain[:_MOST_GIVEN])
        if not own:
            return Trust.UNKNOWN
        (certificate,) = own
        moment = max(certificate.not_valid_before_utc, min(now, certificate.not_valid_after_utc))
        if self._ours.vouches(certificate, given, moment):
            return Trust.OURS
        if self._system_heap is None:
            self._system_heap = _Heap(_loaded(self._system()))
        return Trust.SYSTEM if self._system_heap.vouches(certificate, given, moment) else Trust.UNKNOWN


class _Heap:
    """Trusted certificates, found by their subjects."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._by_subject: dict[x509.Name, list[x509.Certificate]] = defaultdict(list)
        for certificate in certificates:
            self._by_subject[certificate.subject].append(certificate)

    def vouches(self, leaf: x509.Certificate, given: Sequence[x509.Certificate], moment: datetime) -> bool:
        """Say whether a chain leads from ``leaf`` through ``given`` to a root that is trusted here."""
        trusted, others = self._on_the_way(leaf, given)
        if not trusted:
            return False
        try:
            find_chain_to(trusted, leaf, others, now=moment)
        except (ChainRefused, ValueError):
            # ValueError: an extension that cannot be read.
            return False
        return True

    def _on_the_way(
        self, leaf: x509.Certificate, given: Sequence[x509.Certificate]
    ) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
        """Return those trusted and those given whose names an ascent from ``leaf`` meets: a few, of what may be hundreds."""
        by_subject: dict[x509.Name, list[x509.Certificate]] = defaultdict(list)
        for certificate in given:
            by_subject[certificate.subject].append(certificate)
        trusted: list[x509.Certificate] = []
        others: list[x509.Certificate] = []
        wanted, met = {leaf.issuer}, set[x509.Name]()
        for _ in range(MAX_LENGTH):
            met |= wanted
            found = [each for name in wanted for each in self._by_subject.get(name, ())]
            trusted += found
            others += (more := [each for name in wanted for each in by_subject.get(name, ())])
            wanted = {each.issuer for each in (*found, *more)} - met
            if not wanted:
                break
        return trusted, others


def _loaded(ders: Iterable[bytes]) -> list[x509.Certificate]:
    with warnings.catch_warnings():
        # Roots from before RFC 5280, with a serial number of zero, are among those that systems trust.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return list(_readable(ders))


def _readable(ders: Iterable[bytes]) -> Iterator[x509.Certificate]:
    for der in ders:
        try:
            certificate = x509.load_der_x509_certificate(der)
            # Read late, and each of them may be what no library reads.
            _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key())
        except (ValueError, UnsupportedAlgorithm):
            continue
        yield certificate
