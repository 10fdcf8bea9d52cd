"""OpenSSL, the program, accepts our chains for what they are for, and for nothing else."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.constraints import Constraints
from ca.issuance import IssuingAuthority, build
from ca.keys import KeyAlgorithm, generate_key
from ca.profiles import IDENTITY, MAIL_ALL_IN_ONE, SCEP_RA, SMIME_DUAL, TLS_SERVER, CertificateProfile
from tests.ca.authorities import ANN, NOW, SERVICE, YUKI, make_issuing, make_root
from tests.ca.keystores import shared_key

RSA = shared_key(KeyAlgorithm.RSA2048)


def pem(der: bytes) -> bytes:
    """Return a certificate as PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def verify(directory: Path, leaf: bytes, chain: tuple[bytes, ...], *options: str) -> subprocess.CompletedProcess[str]:
    """Run ``openssl verify`` over a leaf; ``chain`` ends with the root. A day after issuance, with strict checks."""
    for name, ders in (("leaf.pem", (leaf,)), ("untrusted.pem", chain[:-1]), ("root.pem", chain[-1:])):
        (directory / name).write_bytes(b"".join(map(pem, ders)))
    at = str(int((NOW + timedelta(days=1)).timestamp()))
    untrusted = ("-untrusted", "untrusted.pem") if chain[:-1] else ()
    return subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", at, "-CAfile", "root.pem", *untrusted, *options, "leaf.pem"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=["ec_issuing", "rsa_issuing"])
def issuing(request: pytest.FixtureRequest) -> IssuingAuthority:
    """An issuing CA of either kind."""
    authority: IssuingAuthority = request.getfixturevalue(request.param)
    return authority


@pytest.mark.parametrize(
    ("profile", "purposes"),
    [
        (IDENTITY, {"sslclient"}),
        (SMIME_DUAL, {"smimesign", "smimeencrypt"}),
        (MAIL_ALL_IN_ONE, {"sslclient", "smimesign", "smimeencrypt"}),
    ],
    ids=["identity", "smime-dual", "mail-all-in-one"],
)
def test_chains_verify_for_their_purposes_only(
    tmp_path: Path, issuing: IssuingAuthority, profile: CertificateProfile, purposes: set[str]
) -> None:
    leaf = build(issuing, profile, YUKI, RSA.public_key(), now=NOW)
    chain = (issuing.certificate_der, *issuing.chain)
    accepted = {
        purpose
        for purpose in ("sslclient", "sslserver", "smimesign", "smimeencrypt", "crlsign", "ocsphelper")
        if verify(tmp_path, leaf.der, chain, "-purpose", purpose).returncode == 0
    }
    # ocsphelper is no purpose of a certificate but a step of OpenSSL's own checks, which anything passes.
    assert accepted - {"ocsphelper"} == purposes


def test_the_ra_passes_for_a_cms_signer(tmp_path: Path, ec_issuing: IssuingAuthority) -> None:
    # certmonger verifies replies with PKCS7_verify, which asks for the purpose smimesign.
    leaf = build(ec_issuing, SCEP_RA, SERVICE, RSA.public_key(), now=NOW)
    chain = (ec_issuing.certificate_der, *ec_issuing.chain)
    result = verify(tmp_path, leaf.der, chain, "-purpose", "smimesign")
    assert result.returncode == 0, result.stderr


def test_name_constraints_hold_for_openssl_as_for_us(tmp_path: Path, ec_root: IssuingAuthority) -> None:
    limits = Constraints(frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION}), mail_domains=("example.com",))
    key = shared_key(KeyAlgorithm.P256, 102)
    limited, unlimited = make_issuing(ec_root, key, constraints=limits), make_issuing(ec_root, key)
    permitted = build(limited, SMIME_DUAL, ANN, RSA.public_key(), now=NOW)
    chain = (limited.certificate_der, *limited.chain)
    assert verify(tmp_path, permitted.der, chain).returncode == 0
    # Issued behind our own check's back: the unlimited authority has the same name and key.
    foreign = build(unlimited, SMIME_DUAL, YUKI, RSA.public_key(), now=NOW)
    assert "permitted subtree violation" in verify(tmp_path, foreign.der, chain).stderr


def test_a_root_vouches_for_a_web_server(tmp_path: Path) -> None:
    root = make_root(generate_key(KeyAlgorithm.P256))
    leaf = build(root, TLS_SERVER, SERVICE, RSA.public_key(), now=NOW)
    for options in (("-verify_hostname", "pki.example.com"), ("-verify_ip", "192.0.2.7")):
        result = verify(tmp_path, leaf.der, (root.certificate_der,), "-purpose", "sslserver", *options)
        assert result.returncode == 0, result.stderr
    other = verify(tmp_path, leaf.der, (root.certificate_der,), "-verify_hostname", "www.example.com")
    assert "hostname mismatch" in other.stderr


def test_openssl_reads_an_internationalised_mailbox_and_the_security_identifier(
    tmp_path: Path, ec_issuing: IssuingAuthority
) -> None:
    def text(der: bytes) -> str:
        (tmp_path / "leaf.der").write_bytes(der)
        command = ["openssl", "x509", "-inform", "DER", "-in", str(tmp_path / "leaf.der"), "-noout", "-text"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "othername: SmtpUTF8Mailbox::雪@xn--r8jz45g.jp" in text(
        build(ec_issuing, SMIME_DUAL, YUKI, RSA.public_key(), now=NOW).der
    )
    identity = text(build(ec_issuing, IDENTITY, ANN, RSA.public_key(), now=NOW).der)
    assert "othername: UPN::ann@corp.example.com" in identity
    assert ANN.sid in identity
