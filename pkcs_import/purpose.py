"""What a certificate is for, from its key usage and extended key usage, and what about it an archive should think twice of.

Source: RFC 5280 sections 4.2.1.3 and 4.2.1.12, RFC 8550 section 4.4; facts/mail_profiles.md section 6.
"""

from enum import StrEnum


class Purpose(StrEnum):
    """What a certificate is for."""

    SIGNING = "signing"
    ENCRYPTION = "encryption"
    BOTH = "both"
    AUTHENTICATION = "authentication"


class Concern(StrEnum):
    """What a key in an archive should not be able to do: whoever gets at the archive could do it as well."""

    CLIENT_AUTH = "clientAuth"
    UPN = "upn"
    NON_REPUDIATION = "nonRepudiation"
