"""OpenSSL as relying party and mail client: chains, CRLs, and S/MIME with an issued pair."""

from pathlib import Path

import httpx2
import pytest
from cryptography import x509

from tests.daemons.service import Service, eventually


def enrol(service: Service, folder: Path, name: str, profile: str) -> Path:
    """Enrol into ``folder/profile`` with our client and return that folder."""
    out = folder / profile
    out.mkdir()
    (out / "challenge").touch(mode=0o600)
    (out / "challenge").write_text(service.challenge(name, profile))
    service.signetry("enrol", service.scep, "--challenge-file", str(out / "challenge"), "--out", str(out))
    return out


def serial_of(folder: Path) -> str:
    return f"{x509.load_pem_x509_certificate((folder / 'certificate.pem').read_bytes()).serial_number:032x}"


def fetch_crl(service: Service, folder: Path) -> x509.CertificateRevocationList:
    der = httpx2.get(f"{service.url}/crl/issuing.crl").content
    (folder / "crl.der").write_bytes(der)
    service.run("openssl", "crl", "-inform", "DER", "-in", "crl.der", "-out", "crl.pem", cwd=folder)
    return x509.load_der_x509_crl(der)


def verify(service: Service, folder: Path, *, succeeds: bool) -> str:
    options = ("-crl_check", "-CAfile", "chain.pem", "-CRLfile", "crl.pem", "certificate.pem")
    done = service.run("openssl", "verify", *options, cwd=folder, succeeds=succeeds)
    return done.stdout + done.stderr


def test_a_relying_party_sees_revocation_hold_and_release(service: Service, tmp_path: Path) -> None:
    service.add_person("relying")
    out = enrol(service, tmp_path, "relying", "identity")
    serial = serial_of(out)

    def listed() -> bool:
        return fetch_crl(service, out).get_revoked_certificate_by_serial_number(int(serial, 16)) is not None

    fetch_crl(service, out)
    assert "OK" in verify(service, out, succeeds=True)
    service.signetry("cert", "hold", serial)
    eventually(listed)
    assert "certificate revoked" in verify(service, out, succeeds=False)
    service.signetry("cert", "release", serial)
    eventually(lambda: not listed())
    assert "OK" in verify(service, out, succeeds=True)
    service.signetry("cert", "revoke", serial, "--reason", "keyCompromise")
    eventually(listed)
    assert "certificate revoked" in verify(service, out, succeeds=False)
    entry = fetch_crl(service, out).get_revoked_certificate_by_serial_number(int(serial, 16))
    assert entry is not None
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.key_compromise


@pytest.fixture(scope="module")
def mailbox(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an issued signing and an issued encryption certificate."""
    folder = tmp_path_factory.mktemp("mailbox")
    service.add_person("mailer")
    enrol(service, folder, "mailer", "smime-signing")
    enrol(service, folder, "mailer", "smime-encryption")
    (folder / "mail.txt").write_text("Subject: hello\n\nHello.\n")
    return folder


def test_signed_mail_verifies_for_its_purpose(service: Service, mailbox: Path) -> None:
    pair = ("-signer", "smime-signing/certificate.pem", "-inkey", "smime-signing/key.pem")
    service.run("openssl", "cms", "-sign", "-in", "mail.txt", "-out", "signed.eml", *pair, cwd=mailbox)
    verifying = ("-purpose", "smimesign", "-CAfile", "smime-signing/chain.pem", "-in", "signed.eml", "-out", "verified.txt")
    service.run("openssl", "cms", "-verify", *verifying, cwd=mailbox)
    assert "Hello." in (mailbox / "verified.txt").read_text()


def test_encrypted_mail_opens_with_its_key(service: Service, mailbox: Path) -> None:
    sealing = ("-aes256", "-in", "mail.txt", "-out", "sealed.eml", "smime-encryption/certificate.pem")
    service.run("openssl", "cms", "-encrypt", *sealing, cwd=mailbox)
    pair = ("-recip", "smime-encryption/certificate.pem", "-inkey", "smime-encryption/key.pem")
    service.run("openssl", "cms", "-decrypt", "-in", "sealed.eml", "-out", "opened.txt", *pair, cwd=mailbox)
    assert "Hello." in (mailbox / "opened.txt").read_text()


@pytest.mark.parametrize(
    ("folder", "purpose"),
    [("smime-signing", "smimeencrypt"), ("smime-encryption", "smimesign"), ("smime-signing", "sslclient")],
)
def test_neither_key_is_good_for_another_purpose(service: Service, mailbox: Path, folder: str, purpose: str) -> None:
    options = ("-purpose", purpose, "-CAfile", f"{folder}/chain.pem", f"{folder}/certificate.pem")
    done = service.run("openssl", "verify", *options, cwd=mailbox, succeeds=False)
    assert "unsuitable certificate purpose" in done.stdout + done.stderr
