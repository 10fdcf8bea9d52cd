"""``/authorities``: listed, made, certified elsewhere, certified again, exported."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from signetry.access.roles import Role
from tests.signetry.api.conftest import Api

MAIL = {"profile_set": "mail", "key": "p256", "mail_domains": ["Example.com", ".example.org"], "dns_domains": ["example.com"]}


def names(api: Api, query: str = "") -> list[str]:
    return [authority["name"] for authority in api.call("GET", f"/authorities{query}").json()["items"]]


def test_authorities_are_listed_by_name(api: Api) -> None:
    assert names(api) == ["issuing", "root"]
    first = api.call("GET", "/authorities?limit=1").json()
    assert names(api, f"?after={first['next']}") == ["root"]
    shown = api.call("GET", "/authorities/issuing", Role.AUDITOR).json()
    assert (shown["issuer"], shown["key"], shown["is_ours"], shown["is_awaiting"]) == ("root", "p256", True, False)
    for path in ("", "/pem", "/p7c", "/sst"):
        assert api.call("GET", f"/authorities/nobodys{path}").status_code == 404
        assert api.call("GET", f"/authorities/No%20name{path}").status_code == 400


def test_the_same_order_makes_one_authority(api: Api) -> None:
    made, again = (api.call("PUT", "/authorities/mail", json=MAIL).json() for _ in range(2))
    assert (made["is_new"], again["is_new"]) == (True, False)
    assert {**again, "is_new": True} == made
    assert 'issuing_ca = "mail"' in made["endpoint"]
    assert names(api) == ["issuing", "mail", "root"]
    assert api.call("PUT", "/authorities/mail", json={**MAIL, "key": "p384"}).status_code == 409
    certificate = x509.load_pem_x509_certificates(api.call("GET", "/authorities/mail/pem").content)[0]
    assert f"{certificate.serial_number:032x}" == made["serial"]
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    permitted = [name.value for name in constraints.permitted_subtrees or ()]
    assert {"example.com", ".example.org"} <= set(permitted)


def test_what_cannot_be_an_authority_is_refused(api: Api) -> None:
    for name, wrong, status in (
        ("Mail", {}, 400),
        ("root", {}, 400),
        ("x-delta", {}, 400),
        ("x", {"profile_set": "everything"}, 400),
        ("x", {"key": "rsa1024"}, 400),
        ("x", {"mail_domains": ["*.example.com"]}, 400),
        ("x", {"elsewhere": True, "dns_domains": ["example.com"]}, 400),
        ("x", {"elsewhere": 1}, 400),
    ):
        assert (name, wrong, api.call("PUT", f"/authorities/{name}", json=wrong).status_code) == (name, wrong, status)
    assert names(api) == ["issuing", "root"]


def test_an_authority_is_certified_by_somebody_elses(api: Api) -> None:
    made = api.call("PUT", "/authorities/theirs", json={"profile_set": "all", "key": "p256", "elsewhere": True}).json()
    assert (made["serial"], api.call("GET", "/authorities/theirs").json()["is_awaiting"]) == (None, True)
    assert api.call("GET", "/authorities/theirs/pem").status_code == 404
    assert api.call("POST", "/authorities/theirs/reissue").status_code == 404
    answer = api.call("GET", "/authorities/theirs/csr")
    assert answer.headers["content-type"] == "application/x-pem-file"
    chain = certified(api, x509.load_pem_x509_csr(answer.content))
    pem = "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)
    for query, installed in (("?dry_run=true", False), ("", True), ("", False)):
        done = api.call("POST", f"/authorities/theirs/install{query}", json={"files": [pem]}).json()
        assert (done["installed"], [member["subject"] for member in done["chain"]]) == (installed, ["CN=Their Root"])
    assert api.call("GET", "/authorities/theirs").json()["is_awaiting"] is False
    for wrong, status in (([], 400), (["no certificate"], 400), ([made["request"]], 400), ([pem.split("-----END")[0]], 400)):
        assert api.call("POST", "/authorities/theirs/install", json={"files": wrong}).status_code == status
    assert api.call("POST", "/authorities/issuing/install", json={"files": [pem]}).status_code == 422


def certified(api: Api, request: x509.CertificateSigningRequest) -> list[x509.Certificate]:
    """Return a certificate for ``request`` and the root that signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Their Root")])
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    chain = []
    for subject, public_key in ((request.subject, request.public_key()), (name, key.public_key())):
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        chain.append(
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(api.clock.now() - timedelta(days=1))
            .not_valid_after(api.clock.now() + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
    return chain


def test_an_authority_is_certified_again_once_for_a_key(api: Api) -> None:
    before = api.call("GET", "/authorities/issuing").json()["serial"]
    rehearsed = api.call("POST", "/authorities/issuing/reissue?dry_run=true").json()
    assert (rehearsed["due"], rehearsed["serial"]) == (False, None)
    first, second = (api.call("POST", "/authorities/issuing/reissue", headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert (first.status_code, first.json()) == (200, second.json())
    after = api.call("GET", "/authorities/issuing").json()["serial"]
    assert after == first.json()["serial"] != before
    assert api.call("POST", "/authorities/nobodys/reissue").status_code == 404


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("pem", "application/pem-certificate-chain"),
        ("p7c", "application/pkcs7-mime"),
        ("sst", "application/vnd.ms-pki.certstore"),
    ],
)
def test_a_chain_is_exported(api: Api, form: str, media_type: str) -> None:
    answer = api.call("GET", f"/authorities/issuing/{form}", Role.AUDITOR)
    assert (answer.headers["content-type"], answer.status_code) == (media_type, 200)
    assert f'filename="issuing.{form}"' in answer.headers["content-disposition"]
    if form == "p7c":
        assert len(pkcs7.load_der_pkcs7_certificates(answer.content)) == 2
    if form == "sst":
        assert answer.content.startswith(b"\0\0\0\0CERT")
