"""What we write, read by OpenSSL, and the other way round."""

import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from scep import reply
from scep.algorithms import PKCS1_V15, Cipher, Digest, KeyTransport, Suite
from scep.cms import read_signed_data
from scep.envelope import open_envelope, seal
from scep.errors import FailInfo
from scep.key_transport import RsaRecipient
from scep.message import parse
from scep.signing import certificates_only
from tests.foundation.ber_encoding import to_ber
from tests.scep.messages import CA, CLIENT, CSR, RA, request, success
from tests.vectors.scep.capture import HERE, key


def openssl(*arguments: str, data: bytes) -> bytes:
    """Run openssl on ``data`` and return what it writes."""
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def verify(der: bytes) -> bytes:
    """Verify a SignedData down to the CA and return its content."""
    return openssl("cms", "-verify", "-inform", "DER", "-binary", "-purpose", "any", "-CAfile", str(HERE / "ca.pem"), data=der)


def decrypt(der: bytes, name: str) -> bytes:
    """Open an EnvelopedData with the key of ``name``."""
    files = ("-inkey", str(HERE / f"{name}.key.pem"), "-recip", str(HERE / f"{name}.pem"))
    return openssl("cms", "-decrypt", "-inform", "DER", "-binary", *files, data=der)


@pytest.mark.parametrize("digest", [Digest.SHA1, Digest.SHA256, Digest.SHA384, Digest.SHA512])
def test_openssl_verifies_every_kind_of_reply(digest: Digest) -> None:
    received = parse(request(Suite(digest=digest)))
    exchange = received.exchange
    assert verify(reply.failure(RA, exchange, FailInfo.BAD_REQUEST, "nö")) == b""
    assert verify(reply.pending(RA, exchange)) == b""
    assert decrypt(verify(success(RA, received, open_envelope(received.content, [RA]), CA.certificate_der)), "client")


@pytest.mark.parametrize("cipher", [Cipher.DES3, Cipher.AES128, Cipher.AES192, Cipher.AES256])
@pytest.mark.parametrize("transport", [PKCS1_V15, KeyTransport(Digest.SHA1), KeyTransport(Digest.SHA256, Digest.SHA256)])
def test_openssl_opens_what_we_seal(cipher: Cipher, transport: KeyTransport) -> None:
    assert decrypt(seal(CSR, RsaRecipient(key("ra").public_key(), RA.issuer_and_serial, transport), cipher), "ra") == CSR


@pytest.mark.parametrize("cipher", ["des3", "aes128", "aes192", "aes256"])
@pytest.mark.parametrize(
    ("options", "transport"),
    [
        ((), PKCS1_V15),
        (("-keyopt", "rsa_padding_mode:oaep"), KeyTransport(Digest.SHA1)),
        (("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"), KeyTransport(Digest.SHA256, Digest.SHA256)),
        (("-keyid",), PKCS1_V15),
        (("-stream", "-indef"), PKCS1_V15),
    ],
)
def test_what_openssl_seals_opens(cipher: str, options: tuple[str, ...], transport: KeyTransport) -> None:
    recipient = ("-recip", str(HERE / "ra.pem"))
    der = openssl("cms", "-encrypt", "-outform", "DER", "-binary", f"-{cipher}", *recipient, *options, data=CSR)
    opened = open_envelope(der, [RA])
    assert opened.content == CSR
    if "sha256" not in options:
        assert opened.key_transport == transport


@pytest.mark.parametrize("options", [(), ("-keyid",), ("-md", "sha512"), ("-stream", "-indef")])
def test_what_openssl_signs_verifies(options: tuple[str, ...]) -> None:
    signer = ("-signer", str(HERE / "client.pem"), "-inkey", str(HERE / "client.key.pem"))
    der = openssl("cms", "-sign", "-nodetach", "-outform", "DER", "-binary", *signer, *options, data=CSR)
    signed = read_signed_data(der)
    signed.verify(signed.signer().public_key)
    assert signed.content == CSR


def test_openssl_reads_the_ber_that_our_tests_write() -> None:
    """So that the stand-in for BouncyCastle is known to be BER, and not just what our own reader takes for it."""
    assert decrypt(verify(to_ber(request(), keep=[CLIENT.certificate_der])), "ra") == CSR
    sealed = seal(CSR, RsaRecipient(key("ra").public_key(), RA.issuer_and_serial), Cipher.AES128)
    assert decrypt(to_ber(sealed, segment=100, implicit=True), "ra") == CSR


def test_openssl_lists_a_bag_of_certificates_in_our_order() -> None:
    bag = certificates_only([RA.certificate_der, CA.certificate_der, CLIENT.certificate_der])
    pem = openssl("pkcs7", "-inform", "DER", "-print_certs", data=bag)
    positions = [pem.find(signer.certificate.public_bytes(Encoding.PEM)) for signer in (RA, CA, CLIENT)]
    assert -1 not in positions
    assert positions == sorted(positions)
