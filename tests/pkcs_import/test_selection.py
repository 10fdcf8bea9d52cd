"""Which of a file's keys go into the archive."""

from datetime import timedelta

import pytest

from pkcs_import.errors import ConcernRefused, NotForPurpose
from pkcs_import.keeping import NewCertificate
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.selection import select_keys
from pkcs_import.trust import Trust
from pkcs_import.workshop import FoundCertificate, FoundKey
from tests.ca.authorities import NOW


def key(label: str, *purposes: Purpose, concerns: tuple[Concern, ...] = ()) -> FoundKey:
    certificates = tuple(
        FoundCertificate(
            NewCertificate(
                der=b"",
                sha256=f"{label}{number}",
                chain=(),
                subject=f"CN={label}",
                issuer="CN=CA",
                serial="1",
                not_before=NOW,
                not_after=NOW + timedelta(days=1),
                purpose=purpose,
                trust=Trust.UNKNOWN,
                concerns=concerns,
            ),
            (),
            (),
        )
        for number, purpose in enumerate(purposes)
    )
    return FoundKey(label, "rsa2048", certificates)


def test_everything_is_taken_where_nothing_is_said() -> None:
    found = select_keys([key("a", Purpose.SIGNING), key("b", Purpose.AUTHENTICATION)], None, ())
    assert [each.spki_sha256 for each in found.keys] == ["a", "b"]
    assert found.left_out == ()


@pytest.mark.parametrize("wanted", [Purpose.SIGNING, Purpose.ENCRYPTION])
def test_a_certificate_for_both_is_kept_for_the_one_that_is_wanted(wanted: Purpose) -> None:
    (taken,) = select_keys([key("a", Purpose.BOTH)], wanted, ()).keys
    assert [each.purpose for each in taken.certificates] == [wanted]


def test_what_is_not_for_the_purpose_is_left_out_and_named() -> None:
    found = select_keys([key("a", Purpose.SIGNING), key("b", Purpose.ENCRYPTION)], Purpose.ENCRYPTION, ())
    assert [each.spki_sha256 for each in found.keys] == ["b"]
    assert found.left_out == ("CN=a is for signing only",)


def test_both_leaves_out_what_is_for_authentication_only() -> None:
    found = select_keys([key("a", Purpose.AUTHENTICATION), key("b", Purpose.SIGNING)], Purpose.BOTH, ())
    assert [each.spki_sha256 for each in found.keys] == ["b"]
    assert [each.certificates[0].purpose for each in found.keys] == [Purpose.SIGNING]


def test_a_file_without_anything_for_the_purpose_is_refused() -> None:
    with pytest.raises(NotForPurpose, match="CN=a is for signing only"):
        select_keys([key("a", Purpose.SIGNING)], Purpose.ENCRYPTION, ())


def test_a_concern_that_is_not_refused_is_taken() -> None:
    (taken,) = select_keys([key("a", Purpose.BOTH, concerns=(Concern.UPN,))], None, {Concern.CLIENT_AUTH}).keys
    assert taken.certificates[0].concerns == (Concern.UPN,)


def test_a_refused_concern_keeps_the_key_out_and_leaves_the_others() -> None:
    keys = [key("a", Purpose.BOTH, concerns=(Concern.UPN, Concern.NON_REPUDIATION)), key("b", Purpose.ENCRYPTION)]
    found = select_keys(keys, None, {Concern.UPN})
    assert [each.spki_sha256 for each in found.keys] == ["b"]
    assert found.left_out == ("CN=a allows upn, which the settings keep out of the archive",)
    with pytest.raises(ConcernRefused, match="CN=a allows upn"):
        select_keys(keys[:1], None, {Concern.UPN})
