"""Reading back the names that a certificate of ours was issued under: what ``ca.subject`` wrote."""

from cryptography import x509

from ca.authorisation import SubjectNames
from ca.subject import SECURITY_IDENTIFIER, SMTP_UTF8_MAILBOX, UPN
from foundation import tlv
from foundation.tlv import MalformedTlv


def names_in(certificate: x509.Certificate) -> SubjectNames:
    """Return the alternative names and the SID in ``certificate``; the fields that its subject would fill stay empty.

    Raises:
        MalformedTlv: one of these is not what ``ca.subject`` writes.
    """
    emails: list[str] = []
    upn = ""
    dns_names: list[str] = []
    uris: list[str] = []
    sid = ""
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.UnrecognizedExtension) and extension.oid == SECURITY_IDENTIFIER:
            sid = _security_identifier(value.value)
        if not isinstance(value, x509.SubjectAlternativeName):
            continue
        for name in value:
            if isinstance(name, x509.RFC822Name):
                emails.append(name.value)
            elif isinstance(name, x509.DNSName):
                dns_names.append(name.value)
            elif isinstance(name, x509.UniformResourceIdentifier):
                uris.append(name.value)
            elif isinstance(name, x509.OtherName) and name.type_id == SMTP_UTF8_MAILBOX:
                emails.append(_utf8(name.value))
            elif isinstance(name, x509.OtherName) and name.type_id == UPN:
                upn = _utf8(name.value)
    return SubjectNames(upn=upn, emails=tuple(emails), sid=sid, dns_names=tuple(dns_names), uris=tuple(uris))


def _security_identifier(encoded: bytes) -> str:
    """Return the SID in a value that ``ca.subject.security_identifier`` wrote: GeneralNames of one otherName."""
    try:
        (other_name,) = tlv.children(encoded, tlv.read(encoded))
        _, explicit = tlv.children(encoded, other_name)
        octets = tlv.read(encoded, explicit.content)
        return encoded[octets.content : octets.end].decode("ascii")
    except ValueError as error:
        raise MalformedTlv("a security identifier that holds no SID") from error


def _utf8(encoded: bytes) -> str:
    element = tlv.read(encoded)
    return tlv.text(element.tag, encoded[element.content : element.end])
