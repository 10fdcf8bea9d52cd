"""Signatures with broken hashes, as authorities made before 2016 have them. The library makes none any more; OpenSSL does."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ca.chain import Chain, find_chain
from ca.errors import ChainRefused
from ca.signatures import broken_hash, is_issued_by, is_self_signed
from tests.ca.foreign import foreign_root

EXTENSIONS = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
# There is no ECDSA with MD5.
BROKEN = {"rsa": {"sha1": "SHA-1", "md5": "MD5"}, "ec": {"sha1": "SHA-1"}}
KEYS = {"rsa": ("-newkey", "rsa:2048"), "ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")}


@pytest.fixture(scope="module", params=KEYS)
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root that signed itself with SHA-1, and certificates below it named after their hash."""
    folder = tmp_path_factory.mktemp("old")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "extensions").write_text(EXTENSIONS)
    new = ("req", *KEYS[request.param], "-noenc")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(*new, "-x509", "-sha1", "-days", "9", "-subj", "/CN=Old Root", *usage, "-keyout", "root.key", "-out", "root.pem")
    openssl(*new, "-subj", "/CN=Ours", "-keyout", "ours.key", "-out", "ours.csr")
    for name in ("sha256", *BROKEN[request.param]):
        signing = ("-CA", "root.pem", "-CAkey", "root.key", "-days", "8", "-extfile", "extensions")
        openssl("x509", "-req", "-in", "ours.csr", *signing, f"-{name}", "-out", f"{name}.pem")
    return folder


def read(folder: Path, name: str) -> x509.Certificate:
    """Read one of them."""
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def found(own: x509.Certificate, root: x509.Certificate) -> Chain:
    """Look for the chain from one to the other."""
    return find_chain(own.public_key(), [own, root], [], now=own.not_valid_before_utc)  # type: ignore[arg-type] # RSA or EC


def verifies(folder: Path, name: str) -> bool:
    """Ask OpenSSL for its opinion, with its own default of what is strong enough."""
    command = ["openssl", "verify", "-auth_level", "1", "-CAfile", "root.pem", f"{name}.pem"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0


def test_a_root_may_have_signed_itself_with_sha1(old: Path) -> None:
    own, root = read(old, "sha256"), read(old, "root")
    assert isinstance(root.signature_hash_algorithm, hashes.SHA1)
    assert is_self_signed(root)
    assert found(own, root).certificates == (own, root)
    assert verifies(old, "sha256")


def test_below_the_root_broken_hashes_are_refused_by_name(old: Path) -> None:
    root = read(old, "root")
    broken = {name: shown for name, shown in BROKEN["rsa"].items() if (old / f"{name}.pem").exists()}
    assert broken
    for name, shown in broken.items():
        own = read(old, name)
        assert is_issued_by(own, root)
        assert broken_hash(own) == shown
        with pytest.raises(ChainRefused, match=f"CN=Ours is signed with {shown}, which verifiers refuse"):
            found(own, root)
        assert not verifies(old, name)


def test_a_broken_hash_is_no_way_around_the_signature(old: Path) -> None:
    namesake = foreign_root("Old Root").certificate
    assert not is_issued_by(read(old, "sha1"), namesake)
    assert not is_issued_by(read(old, "sha1"), foreign_root("Another").certificate)
    with pytest.raises(ChainRefused, match="is missing or is over another key"):
        found(read(old, "sha1"), namesake)
