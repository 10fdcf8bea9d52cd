"""What is to be done for a person, of what the archive has and what Intune has."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ca.authorisation import PersonId
from intune.imported_pfx import ConnectorKey, Listed, Statement, thumbprint_of
from people.person import PersonRecord
from pkcs_import.intune_plan import Connector, Plan, Recorded, plan
from pkcs_import.keeping import KeptCertificate, KeptKey, Origin
from pkcs_import.purpose import Purpose
from pkcs_import.trust import Trust

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
UPN = "alice@example.com"


@pytest.fixture
def connector(rsa_key: rsa.RSAPrivateKey) -> Connector:
    return Connector(ConnectorKey(rsa_key.public_key()), "PFXEncryptionKey", "a provider")


def person(*, active: bool = True) -> PersonRecord:
    return PersonRecord(upn=UPN, email=UPN, id=1, active=active, created_at=NOW, changed_at=NOW)


def certificate(name: str, purpose: Purpose = Purpose.ENCRYPTION, ends: int = 365) -> KeptCertificate:
    return KeptCertificate(
        id=1,
        certificate_id=None,
        sha256=name,
        subject="CN=alice",
        issuer="CN=some CA",
        serial="01",
        not_before=NOW,
        not_after=NOW + timedelta(days=ends),
        purpose=purpose,
        trust=Trust.UNKNOWN,
        concerns=(),
        kept_at=NOW,
        der=name.encode(),
        chain=b"",
    )


def key(*certificates: KeptCertificate) -> KeptKey:
    return KeptKey(1, "0" * 32, PersonId(1), Origin.IMPORTED, "0" * 64, "rsa2048", NOW, certificates)


def pushed(name: str, connector: Connector, *, confirmed: bool = True) -> dict[str, Recorded]:
    digest = thumbprint_of(name.encode())
    return {digest: Recorded(digest, UPN, connector.key.sha256, f"user-{digest}", NOW if confirmed else None)}


def listed(name: str, connector: Connector, **changes: str) -> dict[str, Listed]:
    digest = thumbprint_of(name.encode())
    values = {
        "user_principal_name": UPN,
        "intended_purpose": "smimeEncryption",
        "provider_name": connector.provider_name,
        "key_name": connector.key_name,
        "padding_scheme": "oaepSha512",
        **changes,
    }
    return {digest: Listed(f"user-{digest}", Statement(thumbprint=digest, start=NOW, expiration=NOW, **values))}


def told(found: Plan) -> list[tuple[str, str]]:
    return [(str(step.change), step.reason) for step in found.steps]


def test_what_only_signs_is_no_business_of_intunes(connector: Connector) -> None:
    found = plan(person(), [key(certificate("one", Purpose.SIGNING)), key(certificate("two", Purpose.BOTH))], {}, {}, connector)
    assert [step.thumbprint for step in found.steps] == [thumbprint_of(b"two")]


def test_an_earlier_certificate_over_the_same_key_stays(connector: Connector) -> None:
    both = key(certificate("later", ends=700), certificate("earlier"))
    found = plan(person(), [both], pushed("earlier", connector), listed("earlier", connector), connector)
    assert [(step.thumbprint, str(step.change)) for step in found.steps] == [(thumbprint_of(b"later"), "create")]


def test_what_the_archive_does_not_know_any_more_goes(connector: Connector) -> None:
    found = plan(person(), [], pushed("one", connector), listed("one", connector), connector)
    assert told(found) == [("delete", "not on record any more")]
    assert found.steps[0].intune_id == f"user-{thumbprint_of(b'one')}"


def test_what_others_have_there_is_left_alone(connector: Connector) -> None:
    for active in (True, False):
        assert plan(person(active=active), [], {}, listed("another's", connector), connector).steps == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key_name": "of before"}, "keyName differs"),
        ({"provider_name": "another", "padding_scheme": "oaepSha256"}, "providerName, paddingScheme differ"),
        ({"intended_purpose": "unassigned"}, "intendedPurpose differs"),
    ],
)
def test_a_difference_is_named_as_graph_names_it(connector: Connector, changes: dict[str, str], reason: str) -> None:
    there = listed("one", connector, **changes)
    found = plan(person(), [key(certificate("one"))], pushed("one", connector), there, connector)
    assert told(found) == [("update", reason)]


def test_spelling_is_no_difference(connector: Connector) -> None:
    there = listed("one", connector, user_principal_name=UPN.upper(), intended_purpose="SmimeEncryption")
    found = plan(person(), [key(certificate("one"))], pushed("one", connector), there, connector)
    assert (found.steps, found.unchanged) == ((), 1)


def test_what_is_not_known_to_have_arrived_is_sent_again(connector: Connector) -> None:
    begun = pushed("one", connector, confirmed=False)
    keys = [key(certificate("one"))]
    assert told(plan(person(), keys, begun, {}, connector)) == [("create", "not in Intune")]
    assert told(plan(person(), keys, begun, listed("one", connector), connector)) == [("update", "the upload was interrupted")]
    assert told(plan(person(), keys, {}, listed("one", connector), connector)) == [("update", "uploaded by somebody else")]
