"""micromdm ``scepclient`` 2.1.0, which sends single DES and SHA-1 whatever the capabilities say."""

from pathlib import Path

from cryptography import x509

from tests.daemons.service import Service


def scepclient(service: Service, folder: Path, endpoint: str, challenge: str, *, succeeds: bool = True) -> str:
    done = service.run(
        "scepclient",
        *("-server-url", f"{service.url}/scep/{endpoint}", "-private-key", "key.pem", "-certificate", "cert.pem"),
        *("-challenge", challenge, "-cn", "phone", "-debug"),
        cwd=folder,
        succeeds=succeeds,
    )
    return done.stdout + done.stderr


def test_it_enrols_and_renews_where_the_museum_is_open(service: Service, tmp_path: Path) -> None:
    service.add_person("micro")
    challenge = service.challenge("micro", endpoint="museum")
    scepclient(service, tmp_path, "museum", challenge)
    first = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    assert first.subject.rfc4514_string() == "CN=Micro"
    # With the certificate in place it sends a RenewalReq; the spent challenge in it is its own.
    scepclient(service, tmp_path, "museum", challenge)
    second = x509.load_pem_x509_certificate((tmp_path / "cert.pem").read_bytes())
    assert second.serial_number != first.serial_number
    assert second.subject == first.subject


def test_it_is_refused_elsewhere(service: Service, tmp_path: Path) -> None:
    service.add_person("micro-default")
    scepclient(service, tmp_path, "default", service.challenge("micro-default"), succeeds=False)
    assert not (tmp_path / "cert.pem").exists()
