"""``signetry init --csr`` and ``signetry ca create|csr|install|export``."""

import base64
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.constraints import Constraints, constraints_of
from crl import publication
from signetry.doctor.examination import examine
from signetry.settings import load_settings
from tests.ca.test_export import read_store
from tests.signetry.foreign_pki import TODAY, root_of_today, signed
from tests.signetry.installation import PUBLIC_URL, Commands, opened

MAIL_ONLY = frozenset({ExtendedKeyUsageOID.EMAIL_PROTECTION})


@pytest.fixture
def awaiting(commands: Commands, empty_home: Path) -> Path:
    """An installation whose issuing CA awaits its certificate; its home."""
    commands.text("init", "--csr", "--ca-key", "p256", "--public-url", PUBLIC_URL, "--organisation", "Example Ltd")
    return empty_home


def test_init_with_csr_makes_a_request_and_says_what_comes_next(commands: Commands, awaiting: Path) -> None:
    made = commands.json("init", "--csr")
    assert made["request"] == str(awaiting / "issuing.csr")
    assert "signetry ca install" in made["next"]
    assert "issuing_ca" not in made
    request = x509.load_pem_x509_csr((awaiting / "issuing.csr").read_bytes())
    assert request.subject.rfc4514_string() == "CN=Example Ltd Issuing CA,O=Example Ltd"
    printed = x509.load_pem_x509_csr(commands.text("ca", "csr").encode())
    assert (printed.subject, printed.public_key()) == (request.subject, request.public_key())
    assert not list((awaiting / "keys").glob("root*"))
    (row,) = commands.json("ca", "list")
    assert (row["name"], row["issuer"]) == ("issuing", "(awaiting its certificate)")


def test_until_the_certificate_comes_everything_says_so(commands: Commands, awaiting: Path) -> None:
    assert "waits for its certificate: run signetry ca install FILE" in commands.refused("init")
    assert f"have {awaiting}/issuing.csr signed" in commands.refused("serve")
    assert "has a key of kind p256 already" in commands.refused("init", "--csr", "--ca-key", "rsa3072")
    assert "no certificate yet" in commands.refused("ca", "export", "issuing")
    assert "no certification authority of ours has a certificate yet" in commands.refused("crl", "show")
    assert "'issuing' of ours that has a certificate" in commands.refused("crl", "issue", "issuing")
    done = commands.run("doctor", "--json")
    assert done.status == 1
    found = [finding for finding in done.document if finding["check"] == "authority issuing"]
    assert [(finding["severity"], finding["finding"]) for finding in found] == [("error", "it has no certificate yet")]
    assert "signetry ca csr issuing" in found[0]["advice"]


def test_installed_the_authority_works_like_one_of_our_own(commands: Commands, awaiting: Path) -> None:
    file = signed(root_of_today(), awaiting / "issuing.csr")
    planned = commands.json("ca", "install", file, "--dry-run")
    assert (planned["installed"], planned["chain"]) == (False, ["root (CN=Corporate Root CA)"])
    assert commands.json("ca", "list")[0]["issuer"] == "(awaiting its certificate)"
    done = commands.json("ca", "install", file)
    assert (done["installed"], done["serial"], done["warnings"]) == (True, planned["serial"], [])
    assert commands.json("ca", "install", file)["installed"] is False
    # Nothing is left to do.
    assert commands.json("init")["issuing_ca"] == "CN=Example Ltd Issuing CA,O=Example Ltd"
    assert commands.json("init", "--csr")["next"] == "signetry serve"
    with opened() as house:
        house.require_complete()
        (ra,) = house.authorities.endpoint_keys(house.endpoint("default").issuing_ca).ra
        assert ra.certificate.issuer == house.authority("issuing").certificate.subject
        with house.transactions.reading() as session:
            assert publication.current_by_name(session, "issuing") is not None
            assert publication.current_by_name(session, "root") is None
        assert house.follow_public_url() == []
        severities = {finding.check: finding.severity for finding in examine(house)}
    assert severities["authority root"] == severities["authority issuing"] == severities["endpoint default"] == "ok"
    assert "CRL of root" not in severities
    assert [row["ca"] for row in commands.json("crl", "show")] == ["issuing"]
    commands.json("crl", "issue")


def test_certificate_and_chain_come_in_several_files(commands: Commands, awaiting: Path, tmp_path: Path) -> None:
    root = root_of_today()
    csr = x509.load_pem_x509_csr((awaiting / "issuing.csr").read_bytes())
    own = root.certify(csr.subject, csr.public_key(), TODAY)  # type: ignore[arg-type] # a key of ours
    (tmp_path / "own.cer").write_bytes(own.public_bytes(Encoding.DER))
    (tmp_path / "root.pem").write_bytes(b"\xef\xbb\xbf" + root.certificate.public_bytes(Encoding.PEM))
    assert "Corporate Root CA" in commands.refused("ca", "install", tmp_path / "own.cer")
    done = commands.json("ca", "install", tmp_path / "own.cer", "--chain", tmp_path / "root.pem")
    assert done["subject"] == "CN=Example Ltd Issuing CA,O=Example Ltd"


def test_a_file_that_holds_no_certificate_is_bad_usage(commands: Commands, awaiting: Path) -> None:
    assert "a certificate request" in commands.refused("ca", "install", awaiting / "issuing.csr", status=2)
    assert "No such file" in commands.refused("ca", "install", awaiting / "missing.pem")


def test_a_chain_that_allows_nothing_of_what_is_configured_is_refused(commands: Commands, awaiting: Path) -> None:
    servers = replace(TODAY, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    file = signed(root_of_today(servers), awaiting / "issuing.csr")
    assert "allows issuing to issue none of identity, mail-all-in-one" in commands.refused("ca", "install", file)
    assert commands.json("ca", "list")[0]["issuer"] == "(awaiting its certificate)"


def test_a_chain_that_allows_some_is_installed_with_a_warning(commands: Commands, awaiting: Path) -> None:
    mail = replace(TODAY, purposes=[ExtendedKeyUsageOID.EMAIL_PROTECTION])
    (warning,) = commands.json("ca", "install", signed(root_of_today(mail), awaiting / "issuing.csr"))["warnings"]
    assert warning.startswith("the chain does not allow identity, mail-all-in-one")
    findings = commands.run("doctor", "--json").document
    assert any("does not allow identity, mail-all-in-one" in finding["finding"] for finding in findings)


@pytest.mark.usefixtures("empty_home")
def test_who_signs_the_request_decides_its_limits(commands: Commands) -> None:
    assert "leave --purpose and the domains out" in commands.refused("init", "--csr", "--purpose", "clientAuth", status=2)


def test_an_installation_with_a_root_of_its_own_keeps_it(commands: Commands, installed_home: Path) -> None:
    assert installed_home.exists()
    assert "stands under a root of its own already" in commands.refused("init", "--csr")


@pytest.mark.parametrize(
    ("profile_set", "profiles", "purposes"),
    [
        ("mail", ["smime-signing", "smime-encryption", "smime-dual"], MAIL_ONLY),
        ("logon", ["identity"], frozenset({ExtendedKeyUsageOID.CLIENT_AUTH})),
        ("device", ["device"], frozenset({ExtendedKeyUsageOID.CLIENT_AUTH})),
        ("all", ["identity", "smime-signing", "smime-encryption", "smime-dual", "mail-all-in-one"], frozenset()),
    ],
)
@pytest.mark.usefixtures("installed_home")
def test_a_further_authority_is_constrained_to_what_its_profiles_share(
    commands: Commands, profile_set: str, profiles: list[str], purposes: frozenset[x509.ObjectIdentifier]
) -> None:
    made = commands.json("ca", "create", "second", "--profile-set", profile_set)
    assert tomllib.loads(made["endpoint"]) == {"endpoints": {"second": {"issuing_ca": "second", "profiles": profiles}}}
    assert made["subject"] == "CN=Signetry Second CA"
    assert "restart the service" in made["next"]
    with opened() as house:
        authority = house.authority("second")
        assert constraints_of(authority.certificate) == Constraints(purposes)
        with house.transactions.reading() as session:
            assert publication.current(session, authority.id) is not None


def test_what_keeps_its_first_crl_from_coming_out_is_said(commands: Commands, installed_home: Path) -> None:
    assert not commands.json("ca", "create", "mail", "--profile-set", "mail")["warnings"]
    (installed_home / "keys").joinpath("issuing-p256.key").rename(installed_home / "issuing.key")
    made = commands.run("ca", "create", "mail", "--profile-set", "mail", "--json")
    assert [warning for warning in made.document["warnings"] if "issuing-p256" in warning]


def test_its_endpoint_works_once_it_stands_in_the_settings(commands: Commands, installed_home: Path) -> None:
    text = commands.text("ca", "create", "mail", "--profile-set", "mail", "--mail-domain", "Example.com")
    block = text[text.index("[endpoints.mail]") :]
    with (installed_home / "signetry.toml").open("a") as file:
        file.write(block)
    assert load_settings().endpoints["mail"].issuing_ca == "mail"
    with opened() as house:
        assert house.renew_ra_keys() == 1
        assert house.authority("mail").limits.permits(x509.RFC822Name("ann@example.com"))
        assert not house.authority("mail").limits.permits(x509.RFC822Name("ann@other.example"))
    # It is named already, so there is nothing more to add.
    assert commands.json("ca", "create", "mail", "--profile-set", "mail", "--mail-domain", "example.com")["endpoint"] is None


@pytest.mark.usefixtures("installed_home")
def test_the_same_order_again_finds_what_it_made(commands: Commands) -> None:
    first = commands.json("ca", "create", "mail", "--profile-set", "mail")
    again = commands.json("ca", "create", "mail", "--profile-set", "mail", "--ca-key", "p256")
    assert (first["created"], again["created"]) == (True, False)
    assert again["serial"] == first["serial"]
    assert "made otherwise" in commands.refused("ca", "create", "mail", "--profile-set", "logon")
    assert "made otherwise" in commands.refused("ca", "create", "mail", "--profile-set", "mail", "--csr")
    assert "with a key of kind p256" in commands.refused("ca", "create", "mail", "--profile-set", "mail", "--ca-key", "p384")
    assert len(commands.json("ca", "list")) == 3


def test_a_further_authority_can_be_certified_elsewhere(commands: Commands, installed_home: Path) -> None:
    made = commands.json("ca", "create", "mail", "--profile-set", "mail", "--csr", "--ca-key", "rsa2048")
    assert x509.load_pem_x509_csr(made["request"].encode()).subject.rfc4514_string() == "CN=Signetry Mail CA"
    assert "signetry ca install FILE --name mail" in made["next"]
    # The rest of the installation works on.
    with opened() as house:
        house.require_complete()
    done = commands.json("ca", "install", signed(root_of_today(), installed_home / "mail.csr"), "--name", "mail")
    # The name root is taken by ours.
    assert done["chain"] == ["corporate-root-ca (CN=Corporate Root CA)"]
    assert done["warnings"] == ["no endpoint names mail as its issuing_ca yet"]
    assert commands.json("ca", "create", "mail", "--profile-set", "mail", "--csr")["created"] is False
    issuers = {row["name"]: row["issuer"] for row in commands.json("ca", "list")}
    assert issuers == {"root": "(self)", "issuing": "root", "mail": "corporate-root-ca", "corporate-root-ca": "(self)"}


def test_a_root_elsewhere_certifies_by_request_only(commands: Commands, awaiting: Path) -> None:
    commands.text("ca", "install", signed(root_of_today(), awaiting / "issuing.csr"))
    assert "make a request with --csr" in commands.refused("ca", "create", "mail", "--profile-set", "mail")
    assert commands.json("ca", "create", "mail", "--profile-set", "mail", "--csr")["created"] is True


@pytest.mark.parametrize("name", ["root", "issuing-delta", "Mail", "a_b", ""])
@pytest.mark.usefixtures("installed_home")
def test_a_name_that_cannot_stand_in_a_url_is_bad_usage(commands: Commands, name: str) -> None:
    assert "an issuing CA's name" in commands.refused("ca", "create", name, status=2)


@pytest.mark.usefixtures("installed_home")
def test_choices_that_do_not_exist_are_bad_usage(commands: Commands) -> None:
    assert "mail, logon, device, all" in commands.refused("ca", "create", "x", "--profile-set", "what", status=2)
    assert "--ca-key is one of" in commands.refused("ca", "create", "x", "--ca-key", "dsa", status=2)
    limits = ("--csr", "--mail-domain", "example.com")
    assert "leave them out" in commands.refused("ca", "create", "x", *limits, status=2)


@pytest.mark.usefixtures("installed_home")
def test_a_chain_is_exported_in_every_form(commands: Commands, tmp_path: Path) -> None:
    out = tmp_path / "chain.sst"
    done = commands.json("ca", "export", "issuing", "--format", "sst", "--out", out)
    assert (done["certificates"], done["format"]) == (2, "sst")
    with opened() as house:
        authority = house.authority("issuing")
    chain = [authority.certificate_der, *authority.chain]
    assert read_store(out.read_bytes()) == chain
    printed = json.loads(commands.text("ca", "export", "issuing", "--format", "sst", "--json"))
    assert base64.b64decode(printed["base64"]) == out.read_bytes()
    commands.text("ca", "export", "issuing", "--out", tmp_path / "chain.pem")
    pem = x509.load_pem_x509_certificates((tmp_path / "chain.pem").read_bytes())
    assert [each.public_bytes(Encoding.DER) for each in pem] == chain
    assert "there is no authority 'nowhere'" in commands.refused("ca", "export", "nowhere")


@pytest.mark.usefixtures("installed_home")
def test_a_request_for_renewal_can_be_written_to_a_file(commands: Commands, tmp_path: Path) -> None:
    commands.text("ca", "csr", "issuing", "--out", tmp_path / "renewal.csr")
    assert x509.load_pem_x509_csr((tmp_path / "renewal.csr").read_bytes()).is_signature_valid
    assert "certifies itself" in commands.refused("ca", "csr", "root")
