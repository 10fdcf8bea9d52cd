"""What our client sends with, by what a server lists, and by GET where it takes no POST."""

import base64

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from scep import message
from scep.algorithms import PKCS1_V15, Cipher, Digest, KeyTransport, Suite
from scep.client import ScepClient, build_csr
from scep.client_terms import terms_of
from scep.errors import ServerLacks
from scep.http import decode_get_message
from tests.scep.messages import success
from tests.scep.test_client import certified
from tests.scep.world import World

STRONG = {"AES", "SHA-256", "POSTPKIOperation"}


@pytest.mark.parametrize(
    ("capabilities", "digest"),
    [
        ({"SCEPStandard"}, Digest.SHA256),
        (STRONG, Digest.SHA256),
        ({*STRONG, "SHA-1", "DES3", "SHA-512", "SHA-384", "Renewal"}, Digest.SHA256),
        ({"AES", "SHA-512", "SHA-1", "POSTPKIOperation"}, Digest.SHA512),
        ({"AES", "SHA-384", "POSTPKIOperation"}, Digest.SHA384),
    ],
)
def test_the_best_that_is_listed_is_used_and_legacy_changes_nothing(capabilities: set[str], digest: Digest) -> None:
    for legacy in (False, True):
        terms = terms_of(capabilities, legacy=legacy)
        assert (terms.suite, terms.posts) == (Suite(digest, Cipher.AES128, PKCS1_V15), True)


@pytest.mark.parametrize(
    ("capabilities", "missing", "suite"),
    [
        (set[str](), "SHA-256 and AES", Suite(Digest.SHA1, Cipher.DES3)),
        ({"AES", "SHA-1"}, "SHA-256;", Suite(Digest.SHA1, Cipher.AES128)),
        ({"DES3", "SHA-256"}, "AES;", Suite(Digest.SHA256, Cipher.DES3)),
        # Case counts (facts/scep.md section 3).
        ({"aes", "sha-256", "scepstandard"}, "SHA-256 and AES", Suite(Digest.SHA1, Cipher.DES3)),
    ],
)
def test_below_sha_256_and_aes_nothing_is_sent_unless_that_is_permitted(
    capabilities: set[str], missing: str, suite: Suite
) -> None:
    with pytest.raises(ServerLacks, match=f"does not list {missing}"):
        terms_of(capabilities)
    assert terms_of(capabilities, legacy=True).suite == suite


def test_single_des_is_never_used() -> None:
    assert terms_of({"DES"}, legacy=True).suite.cipher is Cipher.DES3


class Recorder:
    """A server that lists ``capabilities`` and keeps how it was asked."""

    def __init__(self, world: World, key: rsa.RSAPrivateKey, capabilities: str | None) -> None:
        self.world = world
        self.granted = certified(world, key)
        self.capabilities = capabilities
        self.methods: list[str] = []
        self.asked: list[Suite] = []

    def serve(self, request: httpx2.Request) -> httpx2.Response:
        """Answer, and keep how it was asked."""
        match request.url.params["operation"]:
            case "GetCACaps":
                self.methods.append("caps")
                return httpx2.Response(404) if self.capabilities is None else httpx2.Response(200, text=self.capabilities)
            case "GetCACert":
                return httpx2.Response(200, content=self.world.responder.ca_certificates("default")[1])
            case _:
                self.methods.append(request.method)
                in_query = request.url.params.get("message", "")
                received = message.parse(request.content or base64.b64decode(in_query, validate=True))
                opened = message.open_envelope(received, [self.world.ra])
                self.asked.append(Suite(received.digest, opened.cipher, opened.key_transport))
                return httpx2.Response(200, content=success(self.world.ra, received, opened, self.granted))

    def enrol(self, key: rsa.RSAPrivateKey, *, legacy: bool = False, oaep: bool = False) -> None:
        """Have our client enrol twice."""
        transport = httpx2.MockTransport(self.serve)
        with ScepClient("http://scep.test/scep/default", transport=transport, legacy=legacy, oaep=oaep) as ours:
            bag = ours.ca_certificates()
            for _ in range(2):
                ours.enrol(bag, key, build_csr(key, "x"))


def test_capabilities_are_asked_for_once(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    server = Recorder(world, rsa_key, "AES\nSHA-256\nPOSTPKIOperation\n")
    server.enrol(rsa_key)
    assert server.methods == ["caps", "POST", "POST"]


def test_a_server_without_post_is_asked_by_get(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    """Raw ``+`` and ``/`` would not survive a query."""
    server = Recorder(world, rsa_key, "AES\r\nSHA-256\r\n")
    server.enrol(rsa_key)
    assert server.methods == ["caps", "GET", "GET"]


def test_our_own_endpoint_understands_our_get(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    sent: list[bytes] = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        match request.url.params["operation"]:
            case "GetCACaps":
                return httpx2.Response(200, text="AES\nSHA-256")
            case "GetCACert":
                return httpx2.Response(200, content=world.responder.ca_certificates("default")[1])
            case _:
                raw = request.url.query.partition(b"message=")[2]
                sent.append(raw)
                answer = world.responder.pki_operation("default", decode_get_message(raw), origin="test")
                return httpx2.Response(200, content=answer)

    csr = build_csr(rsa_key, "x", world.challenge(world.add_person()))
    with ScepClient("http://scep.test/scep/default", transport=httpx2.MockTransport(serve)) as ours:
        ours.enrol(ours.ca_certificates(), rsa_key, csr)
    assert sent
    assert b"+" not in sent[0]


def test_a_server_without_capabilities_is_spoken_to_only_as_legacy(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    for capabilities in (None, "<html>Welcome!</html>"):
        server = Recorder(world, rsa_key, capabilities)
        with pytest.raises(ServerLacks):
            server.enrol(rsa_key)
        assert server.asked == []
        server.enrol(rsa_key, legacy=True)
        assert set(server.asked) == {Suite(Digest.SHA1, Cipher.DES3)}


def test_oaep_is_used_when_asked_for(world: World, rsa_key: rsa.RSAPrivateKey) -> None:
    server = Recorder(world, rsa_key, "SCEPStandard")
    server.enrol(rsa_key, oaep=True)
    assert server.asked[0].key_transport == KeyTransport(oaep=Digest.SHA256, mgf=Digest.SHA256)
