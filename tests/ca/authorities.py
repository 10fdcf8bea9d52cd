"""Authorities made for tests, without a database, and the subjects they certify."""

from datetime import UTC, datetime

from cryptography import x509

from ca.authorisation import CaName, SubjectNames
from ca.authority_certificates import authority_name, sign_issuing, sign_root
from ca.constraints import Constraints
from ca.issuance import IssuingAuthority
from ca.keys import PrivateKey
from ca.subject import Organisation

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
PUBLIC_URL = "http://pki.example.com"
ORGANISATION = Organisation("Example Corporation", "NTRUS+DE-1234567", "US")

ANN = SubjectNames(
    display_name="Ann Lee",
    given_name="Ann",
    surname="Lee",
    upn="ann@corp.example.com",
    emails=("ann.lee@example.com", "ann@example.com"),
    sid="S-1-5-21-3623811015-3361044348-30300820-1013",
)
# A non-ASCII local part, at a domain whose A-label a record holds.
YUKI = SubjectNames(
    display_name="山田 雪",
    given_name="雪",
    surname="山田",
    upn="yuki@corp.example.com",
    emails=("雪@xn--r8jz45g.jp", "yuki@example.com"),
)
PHONE = SubjectNames(
    device_name="phone-17", dns_names=("phone-17.example.com",), uris=("urn:uuid:0b7bdd6d-9c7a-4b8c-8a26-0f4f1f1e9f55",)
)
SERVICE = SubjectNames(display_name="Example service", dns_names=("pki.example.com", "192.0.2.7"))


def make_root(key: PrivateKey, *, now: datetime = NOW, public_url: str = PUBLIC_URL) -> IssuingAuthority:
    """Make a root over ``key``."""
    built = sign_root(authority_name("Example Root CA", ORGANISATION), key, now=now)
    return IssuingAuthority(
        id=1,
        name=CaName("root"),
        certificate=x509.load_der_x509_certificate(built.der),
        certificate_der=built.der,
        private_key=key,
        crl_url=f"{public_url}/crl/root.crl",
        ca_issuers_url=f"{public_url}/aia/root.cer",
    )


def make_issuing(
    root: IssuingAuthority,
    key: PrivateKey,
    *,
    constraints: Constraints | None = None,
    now: datetime = NOW,
    public_url: str = PUBLIC_URL,
) -> IssuingAuthority:
    """Make an issuing CA over ``key``, under ``root``."""
    name = authority_name("Example Issuing CA", ORGANISATION)
    built = sign_issuing(root, name, key.public_key(), constraints=constraints or Constraints(), now=now)
    return IssuingAuthority(
        id=2,
        name=CaName("issuing"),
        certificate=x509.load_der_x509_certificate(built.der),
        certificate_der=built.der,
        private_key=key,
        crl_url=f"{public_url}/crl/issuing.crl",
        ca_issuers_url=f"{public_url}/aia/issuing.cer",
        chain=(root.certificate_der,),
    )
