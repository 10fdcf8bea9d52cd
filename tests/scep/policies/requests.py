"""Certificate requests that bring names of their own."""

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AttributeOID, NameOID

from scep.client import ClientKey


def request(
    key: ClientKey, challenge: str = "", *, name: str = "", dns: Sequence[str] = (), others: Sequence[x509.GeneralName] = ()
) -> x509.CertificateSigningRequest:
    """Return a request of the common name ``name``, for DNS names and any others."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    builder = x509.CertificateSigningRequestBuilder(x509.Name(subject))
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    names = [*map(x509.DNSName, dns), *others]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())
