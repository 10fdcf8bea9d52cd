"""The values of userSMIMECertificate, read by openssl, and the keys that sign them."""

import hashlib
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ca.issuance import IssuingAuthority
from ldap_publish.directory import SmimeAttribute
from ldap_publish.publication_keys import RENEWED_BEFORE_END, PublicationKeys, create_publication_key, is_publication_key_due
from ldap_publish.publishing import Batch
from ldap_publish.smime import Signer, smime_value
from ldap_publish.subjects import Sources
from tests.ca.keystores import MemoryKeyStore
from tests.ldap_publish.world import ACTOR, World

ATTRIBUTE = "userSMIMECertificate"


@pytest.fixture
def keystore() -> MemoryKeyStore:
    return MemoryKeyStore()


def make_key(world: World, keystore: MemoryKeyStore) -> None:
    now = world.clock.now()
    world.store.write(lambda session: create_publication_key(session, keystore, world.issuing, actor=ACTOR, now=now))


def sign_with(world: World, keystore: MemoryKeyStore) -> None:
    """Publish signed values from now on."""
    world.sources = Sources(crl=lambda *_: None, signer=PublicationKeys(keystore).signer)
    world.use(replace(world.directory, smime_attribute=SmimeAttribute.SIGNED))
    world.note()


def test_certs_only_holds_the_certificate_and_its_chain(issuing: IssuingAuthority) -> None:
    chain = (issuing.certificate_der, *issuing.chain)
    value = smime_value(ATTRIBUTE, chain, None)
    held = {each.public_bytes(Encoding.DER) for each in pkcs7.load_der_pkcs7_certificates(value.content)}
    assert held == set(chain)
    assert value.content == smime_value(ATTRIBUTE, chain, None).content


def test_a_signed_value_verifies_and_says_what_its_owner_can_read(
    sqlite_world: World, keystore: MemoryKeyStore, root: IssuingAuthority, tmp_path: Path
) -> None:
    world = sqlite_world
    make_key(world, keystore)
    sign_with(world, keystore)
    dn = world.fake.add_person("alice")
    number = world.issue(world.add())
    world.run()
    (value,) = world.fake.values(dn, ATTRIBUTE)
    certificates = {each.public_bytes(Encoding.DER) for each in pkcs7.load_der_pkcs7_certificates(value)}
    assert {world.der(number), world.issuing.certificate_der, root.certificate_der} < certificates
    (tmp_path / "value.der").write_bytes(value)
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "empty").touch()
    moment = str(int((world.clock.now() + timedelta(hours=1)).timestamp()))
    verify = [
        "openssl",
        "cms",
        "-verify",
        "-inform",
        "DER",
        "-in",
        "value.der",
        "-content",
        "empty",
        "-binary",
        "-attime",
        moment,
    ]
    done = subprocess.run([*verify, "-CAfile", "root.pem"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        ["openssl", "cms", "-cmsout", "-print", "-inform", "DER", "-in", "value.der"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "S/MIME Capabilities" in shown.stdout
    assert "aes-256-cbc" in shown.stdout


def test_what_is_signed_stays_signed_as_it_is_until_the_key_changes(world: World, keystore: MemoryKeyStore) -> None:
    make_key(world, keystore)
    sign_with(world, keystore)
    dn = world.fake.add_person("alice")
    number = world.issue(world.add())
    assert world.run() == Batch(done=1)
    before = world.fake.values(dn, ATTRIBUTE)
    world.clock.advance(days=1)
    world.owe_again()
    assert world.run() == Batch(done=1)
    assert world.fake.values(dn, ATTRIBUTE) == before
    make_key(world, keystore)
    world.owe_again()
    assert world.run() == Batch(done=1)
    (after,) = world.fake.values(dn, ATTRIBUTE)
    assert [after] != before
    assert world.check() == []
    world.revoke(number)
    world.run()
    assert world.fake.values(dn, ATTRIBUTE) == []


def test_without_a_key_nothing_is_published_and_the_reason_is_said(sqlite_world: World, keystore: MemoryKeyStore) -> None:
    world = sqlite_world
    sign_with(world, keystore)
    dn = world.fake.add_person("alice")
    world.issue(world.add())
    assert world.run() == Batch(failed=1)
    assert "no key to sign userSMIMECertificate with" in world.report().failures[0].error
    assert world.certificates(dn) == []


def test_a_publication_key_is_renewed_in_time_and_belongs_to_its_authority(world: World, keystore: MemoryKeyStore) -> None:
    def due() -> bool:
        with world.store.reading() as session:
            return is_publication_key_due(session, world.issuing.id, now=world.clock.now())

    assert due()
    make_key(world, keystore)
    assert not due()
    with world.store.reading() as session:
        signer = PublicationKeys(keystore).signer(session, world.issuing.id, world.clock.now())
        assert PublicationKeys(keystore).signer(session, 1, world.clock.now()) is None
    assert signer is not None
    certificate = x509.load_der_x509_certificate(signer.certificate_der)
    certificate.verify_directly_issued_by(world.issuing.certificate)
    assert certificate.public_key() == signer.private_key.public_key()
    world.clock.set(certificate.not_valid_after_utc - RENEWED_BEFORE_END)
    assert not due()
    world.clock.advance(seconds=1)
    assert due()
    make_key(world, keystore)
    assert sorted(keystore.kept) == ["issuing-publication-1", "issuing-publication-2"]


def test_a_source_tells_certificate_shape_and_signer_apart(issuing: IssuingAuthority, root: IssuingAuthority) -> None:
    chain = (issuing.certificate_der, *issuing.chain)
    signers = [Signer(each.certificate_der, each.private_key) for each in (issuing, root)]  # type: ignore[arg-type] # EC keys
    sources = {smime_value(ATTRIBUTE, chain, signer).source for signer in (None, *signers)}
    sources.add(smime_value(ATTRIBUTE, chain[:1], None).source)
    assert len(sources) == 4
    assert hashlib.sha256(chain[0]).hexdigest() not in sources
