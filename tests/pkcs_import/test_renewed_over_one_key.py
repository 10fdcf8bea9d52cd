"""A public authority has renewed a certificate over the same key: mail to the older certificate is read, too."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from sqlalchemy import update
from sqlmodel import Session

from foundation.tables import table_of
from foundation.transactions import Transactions
from pkcs_import import unsealing
from pkcs_import.archive import PackedKey
from pkcs_import.delivery import Method
from pkcs_import.errors import SealBroken
from pkcs_import.opening import Opener
from pkcs_import.packing import Encoding
from pkcs_import.purpose import Purpose
from pkcs_import.records import ArchivedCertificate
from pkcs_import.unsealing import DeliveryRules
from tests.clocks import ManualClock
from tests.pkcs_import.archiving import ACTOR, ArchivedPair, KeysInMemory, certificate_over, curve_keys, make_archive_key, put
from tests.pkcs_import.delivering import Deliveries, prepared
from tests.pkcs_import.test_packing import gnupg
from tests.vectors.pkcs12.make import run

LETTER = b"A letter of the year before last.\r\n" * 30
BOTH = pytest.mark.parametrize("encoding", list(Encoding))
CERTIFICATES = table_of(ArchivedCertificate)


class Renewed:
    """Alice has one key, with certificates of three years from two authorities, and one that only signs."""

    def __init__(self, store: Transactions, clock: ManualClock) -> None:
        self.made: Deliveries = prepared(store, clock)
        self.keystore = KeysInMemory()
        # The newest, so the one that is sealed to.
        make_archive_key(store, self.keystore, "archive-2", clock.now())
        key = rsa.generate_private_key(65537, 2048)
        issuers = [certificate_over(each, f"CA {number}", clock.now(), clock.now()) for number, each in enumerate(curve_keys(2))]
        self.chains = [(each.public_bytes(serialization.Encoding.DER),) for each in issuers]

        def certified(age: int, purpose: Purpose = Purpose.ENCRYPTION) -> ArchivedPair:
            chain = self.chains[min(age, 1)]
            return put(store, self.made.alice, key, clock.now(), age_in_years=age, purpose=purpose, chain=chain)

        self.oldest, self.older, self.newest = (certified(age) for age in (2, 1, 0))
        self.signing = certified(3, Purpose.SIGNING)

    def delivered(self, encoding: Encoding) -> tuple[PackedKey, str]:
        """Return the file that Alice gets, and its passphrase."""
        order = self.made.order(Method.FILE, encoding=encoding)
        now, opener = self.made.clock.now(), Opener([self.keystore])
        found = unsealing.deliver(self.made.store, opener, order, DeliveryRules(), actor=ACTOR, now=now)
        assert found.passphrase is not None
        return found.files[0], found.passphrase

    def files(self, folder: Path, encoding: Encoding) -> tuple[Path, Path, Path]:
        """Write the file, its passphrase, and a message that openssl encrypted to the oldest certificate."""
        packed, passphrase = self.delivered(encoding)
        names = ("keys.p12", "passphrase", "message", "letter", "to.pem")
        keys, secret, message, letter, recipient = (folder / name for name in names)
        keys.write_bytes(packed.pkcs12)
        secret.write_text(passphrase)
        letter.write_bytes(LETTER)
        recipient.write_bytes(self.oldest.certificate.public_bytes(serialization.Encoding.PEM))
        encrypting = ("openssl", "cms", "-encrypt", "-binary", "-aes-256-cbc", "-outform", "DER")
        run(*encrypting, "-in", str(letter), "-out", str(message), str(recipient))
        return keys, secret, message


@pytest.fixture
def renewed(store: Transactions, clock: ManualClock) -> Renewed:
    return Renewed(store, clock)


@BOTH
def test_all_encryption_certificates_of_a_key_are_in_its_file_once(renewed: Renewed, encoding: Encoding) -> None:
    packed, passphrase = renewed.delivered(encoding)
    found = load_pkcs12(packed.pkcs12, passphrase.encode())
    assert found.cert is not None
    assert found.cert.certificate == renewed.newest.certificate
    der = serialization.Encoding.DER
    beside = [each.certificate.public_bytes(der) for each in found.additional_certs]
    older, oldest = (each.certificate.public_bytes(der) for each in (renewed.older, renewed.oldest))
    assert beside == [*renewed.chains[0], older, *renewed.chains[1], oldest]
    assert packed.key_ids == (renewed.newest.id,)


def test_an_older_certificate_of_another_key_is_found_out(renewed: Renewed) -> None:
    """Rows of certificates are bound to nothing: not only the newest is looked at."""
    foreign = certificate_over(curve_keys(1)[0], "Mallory", renewed.made.clock.now(), renewed.made.clock.now())

    def exchange(session: Session) -> None:
        is_oldest = CERTIFICATES.c.serial == f"{renewed.oldest.certificate.serial_number:x}"
        der = foreign.public_bytes(serialization.Encoding.DER)
        assert session.execute(update(CERTIFICATES).where(is_oldest).values(der=der).returning(CERTIFICATES.c.id)).all()

    renewed.made.store.write(exchange)
    with pytest.raises(SealBroken) as refused:
        renewed.delivered(Encoding.MODERN)
    assert "another key's" in str(refused.value)


@BOTH
def test_nss_reads_mail_to_the_oldest_certificate(renewed: Renewed, encoding: Encoding, tmp_path: Path) -> None:
    keys, passphrase, message = renewed.files(tmp_path, encoding)
    database = f"sql:{tmp_path}"
    run("certutil", "-N", "-d", database, "--empty-password")
    run("pk12util", "-i", str(keys), "-d", database, "-w", str(passphrase))
    run("cmsutil", "-D", "-d", database, "-i", str(message), "-o", str(tmp_path / "read"))
    assert (tmp_path / "read").read_bytes() == LETTER


def test_gpgsm_reads_mail_to_the_oldest_certificate(renewed: Renewed, tmp_path: Path) -> None:
    keys, passphrase, message = renewed.files(tmp_path, Encoding.LEGACY)
    quietly = ("gpgsm", "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase-fd", "0", "--disable-dirmngr")
    with gnupg(tmp_path / "gnupg") as environment:
        for arguments in (("--import", str(keys)), ("--output", str(tmp_path / "read"), "--decrypt", str(message))):
            command = [*quietly, *arguments]
            subprocess.run(command, env=environment, input=passphrase.read_bytes(), capture_output=True, check=True, timeout=60)
    assert (tmp_path / "read").read_bytes() == LETTER
