"""Imported certificates: what is sent is as documented, and the connector opens it."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from intune.errors import GraphRefused, IntuneUnavailable
from intune.imported_pfx import ConnectorKey, PaddingScheme
from intune.pfx_certificates import PfxCertificates
from tests.intune.files import PASSPHRASE, identity, imported
from tests.intune.pfx_service import PfxService
from tests.intune.server import Cloud, Reply

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
ALICE = "Alice.O'Hara+x@example.com"


@pytest.fixture
def connector(rsa_key: rsa.RSAPrivateKey) -> ConnectorKey:
    return ConnectorKey(rsa_key.public_key())


@pytest.mark.parametrize("scheme", list(PaddingScheme))
def test_a_file_arrives_so_that_the_connector_opens_it(
    pfx_certificates: PfxCertificates, pfx_service: PfxService, rsa_key: rsa.RSAPrivateKey, scheme: PaddingScheme
) -> None:
    user = pfx_service.add_user(ALICE)
    pfx = imported("one", ALICE, ConnectorKey(rsa_key.public_key(), scheme))
    number = pfx_certificates.create(pfx, NOW)
    assert number == f"{user}-{pfx.statement.thumbprint}"
    opened = pfx_service.opened(pfx_service.files[number])
    assert opened.cert is not None
    assert opened.cert.certificate == identity("one")[1]
    (listed,) = pfx_certificates.of_user(ALICE.upper())
    assert (listed.id, pfx.statement.differences(listed.statement)) == (number, ())
    assert pfx_certificates.find(number) == listed
    assert PASSPHRASE not in repr(pfx)


def test_lists_are_read_page_after_page(
    pfx_certificates: PfxCertificates, pfx_service: PfxService, connector: ConnectorKey
) -> None:
    pfx_service.page_size = 2
    for upn in (ALICE, "bob@example.com"):
        pfx_service.add_user(upn)
    numbers = [pfx_certificates.create(imported(name, ALICE, connector), NOW) for name in ("one", "two", "three")]
    pfx_certificates.create(imported("four", "bob@example.com", connector), NOW)
    assert [each.id for each in pfx_certificates.of_user(ALICE)] == numbers
    assert len(list(pfx_certificates.everything())) == 4
    assert pfx_certificates.of_user("nobody@example.com") == []


def test_a_file_is_replaced_and_deleted(
    pfx_certificates: PfxCertificates, pfx_service: PfxService, connector: ConnectorKey
) -> None:
    pfx_service.add_user(ALICE)
    number = pfx_certificates.create(imported("one", ALICE, connector), NOW)
    pfx_certificates.replace(number, imported("one", ALICE, connector), NOW)
    assert pfx_certificates.delete(number)
    assert not pfx_certificates.delete(number)
    assert pfx_certificates.find(number) is None
    assert [act for act, _ in pfx_service.acts] == ["pfx-create", "pfx-update", "pfx-delete"]


def test_whom_intune_does_not_know_gets_nothing(
    pfx_certificates: PfxCertificates, pfx_service: PfxService, connector: ConnectorKey
) -> None:
    with pytest.raises(GraphRefused, match=r"HTTP 400 \(BadRequest\)"):
        pfx_certificates.create(imported("one", ALICE, connector), NOW)
    assert pfx_service.files == {}


@pytest.mark.parametrize("body", [b"{}", b'{"id": ""}', b'{"id": 7}', b'{"id": "a/../b"}'])
def test_a_number_that_is_none_is_no_answer(
    cloud: Cloud, pfx_certificates: PfxCertificates, connector: ConnectorKey, body: bytes
) -> None:
    cloud.answer("pfx-create", Reply(201, body))
    with pytest.raises(IntuneUnavailable, match="what it calls"):
        pfx_certificates.create(imported("one", ALICE, connector), NOW)
