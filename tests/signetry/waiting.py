"""An installation where administrators decide on requests, and clients whose requests wait there."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from audit.log import Actor
from ca.csr import parse_csr
from scep import pending
from scep.certificate import read_certificate
from scep.client import named, throwaway_signer
from scep.enrolment import Enroller
from scep.register import GrantedCertificate
from scep.request import EnrolmentRequest, PresentedRequest
from signetry.house import House
from signetry.policies import policies

HELD = "held"
ROUTERS = "routers"
SETTINGS = """
[endpoints.held]
challenge = "approval"

[endpoints.routers]
challenge = "approval"
profiles = ["device"]
"""
_ADDRESS = "192.0.2.7"


def with_approval(home: Path) -> Path:
    """Give an installation two endpoints where administrators decide."""
    with (home / "signetry.toml").open("a") as file:
        file.write(SETTINGS)
    return home


@cache
def client_key() -> ec.EllipticCurvePrivateKey:
    """Return the key of every client."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def request(common_name: str = "a device", names: Sequence[x509.GeneralName] = ()) -> EnrolmentRequest:
    """Return a request as it is judged: verified, and with nothing decided yet."""
    builder = x509.CertificateSigningRequestBuilder(named(common_name))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    csr = parse_csr(builder.sign(client_key(), hashes.SHA256()).public_bytes(Encoding.DER))
    signer = read_certificate(throwaway_signer(client_key(), named("SCEP SIGNER")).certificate_der)
    return EnrolmentRequest.received(common_name, csr, "", signer, must_renew=False)


def wait(house: House, asked: EnrolmentRequest, endpoint: str = HELD) -> None:
    """Let a request wait."""
    presented = PresentedRequest(house.endpoints[endpoint], asked, None)
    keep = partial(pending.defer, presented=presented, needs_approval=True, actor=Actor(f"scep:{endpoint}", _ADDRESS))
    house.transactions.write(lambda session: keep(session, now=house.clock.now()))


def come_back(house: House, asked: EnrolmentRequest, endpoint: str = HELD) -> GrantedCertificate | None:
    """Send a request again; return what it gets."""
    enroller = Enroller(house.transactions, house.clock, policies=policies(house))
    return enroller.enrol(house.endpoints[endpoint], house.authority("issuing"), asked, Actor(f"scep:{endpoint}", _ADDRESS))
