"""Who vouches for an imported certificate."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs_import.system_roots import system_roots
from pkcs_import.trust import Judge, Trust
from tests.ca.authorities import NOW
from tests.ca.foreign import Foreign, Says, foreign_root
from tests.pkcs_import.pfx_files import Wish, certificate, der


def never() -> list[bytes]:
    pytest.fail("the system's roots are read when they are needed, not before")


def none() -> list[bytes]:
    return []


@pytest.fixture(scope="module")
def root() -> Foreign:
    return foreign_root()


@pytest.fixture(scope="module")
def issuing(root: Foreign) -> Foreign:
    return root.authority("Foreign Issuing CA")


def leaf(issuer: Foreign | None) -> bytes:
    return der(certificate(ec.generate_private_key(ec.SECP256R1()), Wish(issuer=issuer)))


def test_what_one_of_our_authorities_issued_is_ours_without_a_chain_in_the_file(root: Foreign, issuing: Foreign) -> None:
    judge = Judge([der(root.certificate), der(issuing.certificate)], never)
    assert judge.judge(leaf(issuing), (), NOW) is Trust.OURS


def test_a_chain_in_the_file_leads_to_our_root(root: Foreign, issuing: Foreign) -> None:
    judge = Judge([der(root.certificate)], none)
    assert judge.judge(leaf(issuing), (der(issuing.certificate),), NOW) is Trust.OURS
    assert judge.judge(leaf(issuing), (), NOW) is Trust.UNKNOWN


def test_a_chain_to_a_root_of_the_operating_system_is_the_systems(root: Foreign, issuing: Foreign) -> None:
    judge = Judge([], lambda: [der(root.certificate)])
    assert judge.judge(leaf(issuing), (der(issuing.certificate),), NOW) is Trust.SYSTEM


def test_a_root_that_only_the_file_vouches_for_is_nobodys(root: Foreign, issuing: Foreign) -> None:
    judge = Judge([der(foreign_root("Another").certificate)], none)
    assert judge.judge(leaf(issuing), (der(issuing.certificate), der(root.certificate)), NOW) is Trust.UNKNOWN


def test_a_self_signed_certificate_is_nobodys() -> None:
    assert Judge([], none).judge(leaf(None), (), NOW) is Trust.UNKNOWN


def test_a_root_of_the_same_name_and_another_key_vouches_for_nothing(issuing: Foreign) -> None:
    impostor = foreign_root()
    judge = Judge([der(impostor.certificate)], none)
    assert judge.judge(leaf(issuing), (der(issuing.certificate),), NOW) is Trust.UNKNOWN


def test_an_expired_certificate_is_judged_as_of_its_last_day(root: Foreign, issuing: Foreign) -> None:
    judge = Judge([der(root.certificate)], none)
    long_after = NOW + timedelta(days=20 * 365)
    assert judge.judge(leaf(issuing), (der(issuing.certificate),), long_after) is Trust.OURS


def test_a_certificate_that_outlived_its_authority_is_nobodys(root: Foreign) -> None:
    ended = root.authority("Ended CA", Says(not_after=NOW - timedelta(days=1)))
    judge = Judge([der(root.certificate)], none)
    assert judge.judge(leaf(ended), (der(ended.certificate),), NOW) is Trust.UNKNOWN


def test_an_end_entity_vouches_for_nothing(root: Foreign) -> None:
    no_authority = root.authority("Alice", Says(is_authority=False, signs_certificates=False))
    judge = Judge([der(root.certificate)], none)
    assert judge.judge(leaf(no_authority), (der(no_authority.certificate),), NOW) is Trust.UNKNOWN


def test_name_constraints_above_bind(root: Foreign) -> None:
    elsewhere = root.authority("Elsewhere CA", Says(permitted=[x509.RFC822Name("example.org")]))
    judge = Judge([der(root.certificate)], none)
    assert judge.judge(leaf(elsewhere), (der(elsewhere.certificate),), NOW) is Trust.UNKNOWN


def test_rubbish_in_the_chain_hurts_nothing(root: Foreign, issuing: Foreign) -> None:
    judge = Judge([der(root.certificate)], none)
    assert judge.judge(leaf(issuing), (b"rubbish", der(issuing.certificate)), NOW) is Trust.OURS
    assert judge.judge(b"rubbish", (), NOW) is Trust.UNKNOWN


def test_the_roots_of_this_machine_do_not_vouch_for_what_they_have_not_issued(issuing: Foreign) -> None:
    assert Judge([], system_roots).judge(leaf(issuing), (der(issuing.certificate),), NOW) is Trust.UNKNOWN
