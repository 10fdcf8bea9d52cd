"""Which of a file's keys go into the archive: those for the purpose that is wanted, without what the settings refuse."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pkcs_import.errors import ConcernRefused, NotForPurpose
from pkcs_import.keeping import NewCertificate
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.workshop import FoundKey

# What a certificate that is for the one may be kept for, when somebody says so.
_SERVES = {
    Purpose.SIGNING: {Purpose.SIGNING},
    Purpose.ENCRYPTION: {Purpose.ENCRYPTION},
    Purpose.BOTH: {Purpose.SIGNING, Purpose.ENCRYPTION},
    Purpose.AUTHENTICATION: {Purpose.AUTHENTICATION},
}


@dataclass(frozen=True, slots=True)
class SelectedKey:
    """A key to be kept, with the certificates over it that are."""

    spki_sha256: str
    algorithm: str
    certificates: tuple[NewCertificate, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken of a file. ``left_out`` says of each certificate that is not taken why."""

    keys: tuple[SelectedKey, ...]
    left_out: tuple[str, ...]


def select_keys(keys: Sequence[FoundKey], purpose: Purpose | None, refused: Collection[Concern]) -> Selection:
    """Return what of ``keys`` is to be kept.

    Args:
        keys: what was found in a file.
        purpose: what it is wanted for: a certificate that allows more is kept for this alone, one that does not allow it is left
            out; ``both`` leaves out what is for authentication only. None takes everything as it is.
        refused: what no certificate may let its key do.

    Raises:
        NotForPurpose, ConcernRefused: nothing is left.
    """
    left_out: list[str] = []
    taken: list[SelectedKey] = []
    error: type[NotForPurpose | ConcernRefused] = NotForPurpose
    for key in keys:
        certificates = []
        for found in key.certificates:
            certificate = _narrowed(found.certificate, purpose)
            if certificate is None:
                left_out.append(f"{found.certificate.subject} is for {found.certificate.purpose} only")
            elif concerns := [str(each) for each in certificate.concerns if each in refused]:
                error = ConcernRefused
                left_out.append(f"{certificate.subject} allows {', '.join(concerns)}, which the settings keep out of the archive")
            else:
                certificates.append(certificate)
        if certificates:
            taken.append(SelectedKey(key.spki_sha256, key.algorithm, tuple(certificates)))
    if not taken:
        raise error("; ".join(left_out))
    return Selection(tuple(taken), tuple(left_out))


def _narrowed(certificate: NewCertificate, purpose: Purpose | None) -> NewCertificate | None:
    if purpose is None:
        return certificate
    if purpose is Purpose.BOTH:
        return None if certificate.purpose is Purpose.AUTHENTICATION else certificate
    return replace(certificate, purpose=purpose) if purpose in _SERVES[certificate.purpose] else None
