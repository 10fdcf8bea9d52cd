"""Certificate requests as Intune's devices send them."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AttributeOID, NameOID

CHALLENGE = "made by Intune for one device"


def upn(value: str) -> x509.OtherName:
    """Return a user principal name as it stands in a subject alternative name: a UTF8String."""
    encoded = value.encode()
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), bytes((0x0C, len(encoded))) + encoded)


def request_for(
    key: rsa.RSAPrivateKey, *names: x509.GeneralName, common_name: str = "a phone", challenge: str = CHALLENGE
) -> x509.CertificateSigningRequest:
    """Return a request for ``names``; without a challenge where that is empty."""
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())
