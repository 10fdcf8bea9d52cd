"""The whole round on PostgreSQL 15, and several web processes and a worker coordinated by it."""

from pathlib import Path

import httpx2
from cryptography import x509

from tests.daemons.service import eventually, serving
from tests.postgresql import Cluster


def test_the_same_round_runs_on_postgresql(postgresql: Cluster, tmp_path: Path) -> None:
    url = postgresql.create("served").render_as_string(hide_password=False)
    with serving(tmp_path / "home", "--ca-key", "p256", database_url=url) as service:
        assert not (service.home / "signetry.db").exists()
        service.add_person()
        challenge = tmp_path / "challenge"
        challenge.touch(mode=0o600)
        challenge.write_text(service.challenge())
        service.signetry("enrol", service.scep, "--challenge-file", str(challenge), "--out", str(tmp_path / "alice"))
        certificate = x509.load_pem_x509_certificate((tmp_path / "alice" / "certificate.pem").read_bytes())
        service.signetry("cert", "revoke", f"{certificate.serial_number:032x}", "--reason", "keyCompromise")

        def listed() -> bool:
            crl = x509.load_der_x509_crl(httpx2.get(f"{service.url}/crl/issuing.crl").content)
            return crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

        eventually(listed)
        service.kill_everything()
        service.start()
        assert listed()
    postgresql.drop("served")
