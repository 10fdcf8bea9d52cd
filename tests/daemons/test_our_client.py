"""Our own client before a running service: EC keys, waiting for approval, being killed meanwhile, and asking for things."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from tests.daemons.service import Service, eventually, serving

CONFIGURATION = """
[endpoints.renewing]
renew_after = 0.0

[endpoints.held]
challenge = "approval"
profiles = ["identity"]
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with Alice on record."""
    with serving(tmp_path_factory.mktemp("ours"), "--ca-key", "p256", configuration=CONFIGURATION, workers=1) as running:
        running.add_person()
        yield running


def challenge_file(service: Service, folder: Path, profile: str) -> str:
    path = folder / "challenge"
    path.touch(mode=0o600)
    path.write_text(service.challenge(profile=profile, endpoint="renewing"))
    return str(path)


def certificate(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())


@pytest.mark.parametrize("kind", ["p256", "p384", "p521"])
def test_an_ec_key_enrols_and_renews_and_openssl_believes_it(ours: Service, tmp_path: Path, kind: str) -> None:
    """``smime-dual`` lets the key agree, so that a renewal is answered without any challenge."""
    url, out = f"{ours.url}/scep/renewing", tmp_path / "alice"
    ours.signetry(
        "enrol", url, "--challenge-file", challenge_file(ours, tmp_path, "smime-dual"), "--out", str(out), "--key", kind
    )
    first = certificate(out)
    ours.signetry("enrol", url, "--renew", "--out", str(out), "--key", kind)
    assert certificate(out).serial_number != first.serial_number
    assert "OK" in ours.run("openssl", "verify", "-CAfile", "chain.pem", "certificate.pem", cwd=out).stdout
    agreed = [ours.run("openssl", *words, "-pubout", cwd=out).stdout for words in (("pkey", "-in", "key.pem"),)]
    assert agreed == [ours.run("openssl", "x509", "-in", "certificate.pem", "-pubkey", "-noout", cwd=out).stdout]


def test_an_ec_key_that_can_only_sign_renews_with_a_fresh_challenge(ours: Service, tmp_path: Path) -> None:
    url, out = f"{ours.url}/scep/renewing", str(tmp_path / "alice")
    ours.signetry("enrol", url, "--challenge-file", challenge_file(ours, tmp_path, "identity"), "--out", out, "--key", "p256")
    before = certificate(Path(out))
    refusal = ours.run("signetry", "enrol", url, "--renew", "--out", out, "--key", "p256", succeeds=False).stderr
    assert "can only sign" in refusal
    fresh = challenge_file(ours, tmp_path, "identity")
    ours.signetry("enrol", url, "--renew", "--challenge-file", fresh, "--out", out, "--key", "p256")
    assert certificate(Path(out)).serial_number != before.serial_number


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_a_client_killed_while_it_waits_goes_on_where_it_was(ours: Service, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "alice"
    command = [
        *("signetry", "enrol", f"{ours.url}/scep/held", "--no-challenge", "--out", str(out)),
        *("--key", kind, "--common-name", kind, "--poll-interval", "1s", "--max-poll", "40s"),
    ]
    waiting = subprocess.Popen(command, env=ours.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually((out / "pending.json").exists, seconds=30, message="it does not wait")
    finally:
        waiting.kill()
        waiting.wait()
    (row,) = [row for row in ours.json("request", "list") if row["subject"] == f"CN={kind}"]
    ours.signetry("request", "approve", str(row["id"]), "--upn", "alice@example.com")
    ours.run(*command)
    assert {path.name for path in out.iterdir()} == {"key.pem", "certificate.pem", "chain.pem"}
    assert certificate(out).subject.rfc4514_string() == "CN=Alice"


def test_certificates_crls_and_the_next_ca_are_asked_for(ours: Service, tmp_path: Path) -> None:
    url, out = f"{ours.url}/scep/renewing", tmp_path / "alice"
    told = ours.json("enrol", url, "--challenge-file", challenge_file(ours, tmp_path, "identity"), "--out", str(out))
    assert ours.signetry("scep", "get-cert", url, told["serial"]) == (out / "certificate.pem").read_text()
    assert (
        "names nothing that is given here"
        in ours.run("signetry", "scep", "get-cert", url, "1f", "--fingerprint", told["ca_fingerprint"], succeeds=False).stderr
    )
    crl = ours.json("scep", "get-crl", url, "--as", str(out), "--out", str(tmp_path / "crl.pem"))
    assert crl["issuer"] == ours.json("scep", "show", url)["ca"]
    ours.run("openssl", "crl", "-in", str(tmp_path / "crl.pem"), "-CAfile", str(out / "chain.pem"), "-noout")
    assert "no other CA is prepared" in ours.run("signetry", "scep", "next-ca", url, succeeds=False).stderr


def test_a_client_that_pins_its_ca_follows_a_roll_over(tmp_path: Path) -> None:
    with serving(tmp_path / "home", "--ca-key", "p256", configuration=CONFIGURATION, workers=1) as service:
        service.add_person()
        url, out = f"{service.url}/scep/renewing", tmp_path / "alice"
        pin = ("--fingerprint", service.json("scep", "show", url)["ca_fingerprint"])
        service.signetry("ca", "rollover", "prepare", "issuing")
        eventually(lambda: "GetNextCACert" in service.json("scep", "show", url)["capabilities"])
        (following, *_) = [each for each in service.json("scep", "next-ca", url, *pin) if each["subject"].endswith("CA 2")]
        challenge = challenge_file(service, tmp_path, "identity")
        service.signetry("enrol", url, "--challenge-file", challenge, "--out", str(out), *pin)
        assert following["pem"] in (out / "next-ca.pem").read_text()
        service.signetry("ca", "rollover", "activate", "issuing")
        eventually(lambda: service.json("scep", "show", url)["ca_fingerprint"] == following["fingerprint"])
        told = service.json("enrol", url, "--renew", "--out", str(out), *pin)
        assert told["ca_fingerprint"] == following["fingerprint"]
        # Who was not there to hear of it sees another CA than the one it knows.
        assert "not the expected one" in service.run("signetry", "scep", "get-crl", url, *pin, succeeds=False).stderr
