"""Whether an authority can issue under a profile at all, before anybody asks for a certificate."""

from cryptography import x509

from ca.authorisation import SubjectNames
from ca.errors import ProfileNotAllowed
from ca.limits import Limits
from ca.profiles import CertificateProfile
from ca.subject import Organisation, subject_name

# A subject of each kind needs some name; which one decides nothing.
_SOMEBODY = SubjectNames(
    display_name="Sample",
    given_name="Sample",
    surname="Sample",
    upn="sample@example.com",
    emails=("sample@example.com",),
    device_name="Sample",
)


def can_issue(limits: Limits, profile: CertificateProfile, organisation: Organisation | None) -> bool:
    """Say whether ``limits`` allow the purposes of ``profile`` and subjects of its shape; addresses are judged one by one."""
    subject = limits.completed(subject_name(profile, _SOMEBODY, organisation))
    try:
        limits.check(profile.extended_key_usage, [x509.DirectoryName(subject)])
    except ProfileNotAllowed:
        return False
    return True
