"""The processes in which private keys are read: what they say, what they keep to themselves, and what they survive."""

import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from ca.keys import KeyAlgorithm
from pkcs_import.errors import ContainerTooSlow, KeyMismatch, NoPrivateKey, NotPkcs12, TruncatedContainer, WrongPassword
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.sealing import Binding, unseal
from pkcs_import.trust import Trust
from pkcs_import.workshop import OpenFile, Workshop
from tests.ca.authorities import NOW
from tests.ca.foreign import foreign_root
from tests.pkcs_import import containers
from tests.pkcs_import.pfx_files import PASSWORD, Wish, archive_public_key, certificate, der, pfx, simple_pfx, spki


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    """A workshop of one process, which the tests share."""
    return Workshop()


@pytest.fixture(scope="module", autouse=True)
def _closed(workshop: Workshop) -> object:
    yield
    workshop.close()


def process_of(workshop: Workshop) -> int:
    """Return the process id of the one process that waits."""
    (bench,) = workshop._free  # noqa: SLF001 - there is no other way to know
    return bench.process_id


def opened(workshop: Workshop, data: bytes, password: str | None = PASSWORD) -> OpenFile:
    """Open a file and close it again; return what was found."""
    with workshop.open(data, password, ours=(), now=NOW) as found:
        return found


def test_a_file_is_described_by_what_is_public_in_it(workshop: Workshop) -> None:
    root = foreign_root()
    key = ec.generate_private_key(ec.SECP256R1())
    own = certificate(key, Wish(("alice@example.com",), "alice@corp.example.com", client_auth=True, issuer=root))
    with workshop.open(pfx(key, own, root.certificate), PASSWORD, ours=[der(root.certificate)], now=NOW) as found:
        (key_found,) = found.keys
    (its,) = key_found.certificates
    assert (its.addresses, its.upns) == (("alice@example.com",), ("alice@corp.example.com",))
    made = its.certificate
    assert (made.der, made.chain) == (der(own), (der(root.certificate),))
    assert (made.subject, made.issuer, made.serial) == ("CN=Alice", "CN=Foreign Root CA", f"{own.serial_number:x}")
    assert (made.purpose, made.trust) == (Purpose.ENCRYPTION, Trust.OURS)
    assert set(made.concerns) == {Concern.CLIENT_AUTH, Concern.UPN}
    assert (made.not_before, made.not_after) == (own.not_valid_before_utc, own.not_valid_after_utc)
    assert key_found.algorithm == "secp256r1"


def test_a_key_comes_out_sealed_to_the_archive_and_bound_to_its_owner(workshop: Workshop, rsa_key: rsa.RSAPrivateKey) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with workshop.open(pfx(key, certificate(key)), PASSWORD, ours=(), now=NOW) as found:
        digest = found.keys[0].spki_sha256
        assert found.seal(17, archive_public_key(rsa_key), ()) == []
        (sealed,) = found.seal(17, archive_public_key(rsa_key), [digest])
    assert sealed.binding == Binding(sealed.binding.uid, 17, digest)
    opened_key = load_der_private_key(unseal(rsa_key, sealed.sealed, sealed.binding), None)
    assert spki(opened_key) == spki(key)


def test_a_made_key_comes_out_sealed_with_its_public_half(workshop: Workshop, rsa_key: rsa.RSAPrivateKey) -> None:
    made = workshop.make(KeyAlgorithm.P256, 17, archive_public_key(rsa_key))
    opened_key = load_der_private_key(unseal(rsa_key, made.sealed, made.binding), None)
    assert isinstance(opened_key, ec.EllipticCurvePrivateKey)
    assert opened_key.public_key() == made.public_key
    assert made.binding.person == 17


@pytest.mark.parametrize(("written", "given"), [("", None), ("", "")])
def test_the_empty_password_and_none_stand_for_each_other(workshop: Workshop, written: str, given: str | None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for mac in (containers.bmp(written), b""):
        parts = (containers.data([containers.certificate_bag(der(certificate(key))), containers.key_bag(pkcs8)]),)
        assert opened(workshop, containers.pfx(*parts, mac=containers.mac(mac)), given).keys


def test_each_refusal_comes_through_as_what_it_is(workshop: Workshop) -> None:
    data = simple_pfx()
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for kind, file, password in (
        (WrongPassword, data, "another"),
        (WrongPassword, data, None),
        (TruncatedContainer, data[:-20], PASSWORD),
        (NotPkcs12, b"rubbish", PASSWORD),
        (NoPrivateKey, containers.pfx(containers.data([containers.certificate_bag(der(certificate(key)))])), None),
        (KeyMismatch, containers.simple(pkcs8, der(certificate(other)), password="secret"), "secret"),
    ):
        with pytest.raises(kind) as refused:
            opened(workshop, file, password)
        assert "another" not in str(refused.value)


def test_names_that_no_database_and_no_terminal_takes_are_made_readable(workshop: Workshop) -> None:
    found = opened(workshop, simple_pfx(Wish(common_name="Al\x1b[2Jice\u202e")))
    assert found.keys[0].certificates[0].certificate.subject == "CN=Al\ufffd[2Jice\ufffd"


def test_one_process_serves_one_file_after_the_other(workshop: Workshop) -> None:
    opened(workshop, simple_pfx())
    first = process_of(workshop)
    opened(workshop, simple_pfx())
    assert process_of(workshop) == first


def test_a_process_that_was_lost_is_replaced(workshop: Workshop) -> None:
    opened(workshop, simple_pfx())
    os.kill(process_of(workshop), signal.SIGKILL)
    os.waitid(os.P_PID, process_of(workshop), os.WEXITED | os.WNOWAIT)
    assert opened(workshop, simple_pfx()).keys


def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_opened() -> None:
    # More than the limit of one derivation is refused before it; many keys, each within it, take their time.
    key = ec.generate_private_key(ec.SECP256R1())
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    slow = containers.aes(b"secret", iterations=16, stated=900_000)
    bags = [containers.key_bag(pkcs8, slow)]
    bomb = containers.pfx(containers.data([containers.certificate_bag(der(certificate(key))), *bags]))
    with Workshop(time_limit=timedelta(seconds=0.1)) as workshop:
        begun = time.monotonic()
        with pytest.raises(ContainerTooSlow, match=r"longer than the 0\.1 seconds"):
            opened(workshop, bomb, "secret")
        assert time.monotonic() - begun < 5
    with Workshop() as workshop:
        assert opened(workshop, simple_pfx()).keys


def test_who_finds_all_processes_busy_waits_for_one() -> None:
    finished: list[str] = []
    with Workshop() as workshop:

        def second() -> None:
            opened(workshop, simple_pfx())
            finished.append("second")

        thread = threading.Thread(target=second)
        with workshop.open(simple_pfx(), PASSWORD, ours=(), now=NOW):
            thread.start()
            time.sleep(0.3)
            finished.append("first")
        thread.join()
    assert finished == ["first", "second"]


def test_an_interrupted_question_costs_the_process_and_not_the_next_answer(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pkcs_import import workshop_channel  # noqa: PLC0415 - only to be interfered with

    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workshop_channel, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(workshop, simple_pfx())
    found = opened(workshop, simple_pfx(Wish(common_name="Bob")))
    assert found.keys[0].certificates[0].certificate.subject == "CN=Bob"


def test_a_process_ends_with_its_workshop_and_none_outlives_the_one_that_asked() -> None:
    workshop = Workshop()
    opened(workshop, simple_pfx())
    process = process_of(workshop)
    workshop.close()
    assert not Path(f"/proc/{process}").exists()


def test_a_process_gets_no_secrets_of_ours_and_may_leave_no_core(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(workshop, simple_pfx())
    os.kill(process_of(workshop), signal.SIGKILL)
    monkeypatch.setenv("SIGNETRY_SECRET", "x")
    with Workshop() as fresh:
        opened(fresh, simple_pfx())
        process = Path(f"/proc/{process_of(fresh)}")
        assert b"SIGNETRY" not in (process / "environ").read_bytes()
        limits = (process / "limits").read_text()
        assert "Max core file size        0                    0" in limits
        assert "Max address space         1073741824" in limits
