"""Sessions that are lost are opened again, and only then unavailable; threads share one, and a forked process has its own."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ca import pkcs11_session
from ca.errors import KeyMissing, KeyUnavailable, PinRefused, TokenUnavailable
from ca.keys import KeyAlgorithm, require_halves
from ca.pkcs11 import Pkcs11KeyStore
from ca.pkcs11_errors import describe
from tests.ca.tokens import keystore_in, opened
from tests.softhsm import MODULE, PIN, SO_PIN, SoftHsm

PKCS1 = padding.PKCS1v15()


@pytest.fixture
def keystore(softhsm: SoftHsm) -> Iterator[Pkcs11KeyStore]:
    with opened(softhsm) as keystore:
        yield keystore


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next attempt follow a failure at once."""
    monkeypatch.setattr(pkcs11_session, "_REST_SECONDS", 0.0)


def sign(key: object) -> bytes:
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(b"data", PKCS1, hashes.SHA256())


# --- loss ---


def close_session(keystore: Pkcs11KeyStore) -> None:
    session = keystore._token._session  # noqa: SLF001 - behind its back
    assert session is not None
    session.close()


def log_out(keystore: Pkcs11KeyStore) -> None:
    """Log the user out: the session stays, its private objects do not."""
    session = keystore._token._session  # noqa: SLF001 - behind its back
    assert session is not None
    other = session.token.open()
    with pytest.raises(pkcs11.UserAlreadyLoggedIn):
        session.token.open(user_pin=PIN)
    other.close()
    session.close()
    keystore._token._session = session.token.open()  # noqa: SLF001 - as above


def end_library(_keystore: Pkcs11KeyStore) -> None:
    pkcs11.lib(str(MODULE)).finalize()


def restart_library(_keystore: Pkcs11KeyStore) -> None:
    pkcs11.lib(str(MODULE)).reinitialize()


LOSSES = [close_session, log_out, end_library, restart_library]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_lost_session_is_opened_again_and_the_operation_repeated(
    keystore: Pkcs11KeyStore, lose: Callable[[Pkcs11KeyStore], None]
) -> None:
    key = keystore.generate("ra", KeyAlgorithm.RSA2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    ciphertext = key.public_key().encrypt(b"content key", PKCS1)
    lose(keystore)
    assert key.decrypt(ciphertext, PKCS1) == b"content key"
    lose(keystore)
    require_halves(key)
    lose(keystore)
    assert keystore.load("ra").public_key() == key.public_key()
    lose(keystore)
    assert not keystore.exists("another")
    lose(keystore)
    require_halves(keystore.generate("another", KeyAlgorithm.P256))


@pytest.mark.parametrize(
    "error",
    [
        pkcs11.DeviceError(),
        pkcs11.DeviceRemoved(),
        pkcs11.TokenNotPresent(),
        pkcs11.GeneralError(),
        pkcs11.FunctionFailed(),
        pkcs11.UserNotLoggedIn(),
        pkcs11.SessionHandleInvalid(),
        pkcs11.PKCS11Error("Unmapped error code 0x80000123"),
    ],
    ids=describe,
)
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.usefixtures("impatient")
def test_what_fails_is_tried_again_after_the_session_and_after_the_library(
    keystore: Pkcs11KeyStore, error: pkcs11.PKCS11Error, times: int
) -> None:
    sessions: list[pkcs11.Session] = []

    def operation(session: pkcs11.Session) -> str:
        sessions.append(session)
        if len(sessions) <= times:
            raise error
        return "done"

    if times < 3:
        assert keystore._token.run(operation) == "done"  # noqa: SLF001 - what the keys run on
    else:
        with pytest.raises(TokenUnavailable) as caught:
            keystore._token.run(operation)  # noqa: SLF001 - as above
        assert caught.value.detail == describe(error)
    assert len(sessions) == min(times + 1, 3)
    assert len({id(session) for session in sessions}) == len(sessions)


def test_what_the_token_refuses_is_not_tried_again(keystore: Pkcs11KeyStore) -> None:
    calls: list[pkcs11.Session] = []

    def operation(session: pkcs11.Session) -> None:
        calls.append(session)
        raise pkcs11.MechanismInvalid

    with pytest.raises(KeyUnavailable, match="CKR_MECHANISM_INVALID"):
        keystore._token.run(operation)  # noqa: SLF001 - as above
    assert len(calls) == 1


@pytest.mark.usefixtures("impatient")
def test_a_token_that_is_taken_away_is_unavailable_until_it_is_back(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    key = keystore.generate("ra", KeyAlgorithm.RSA2048)
    assert isinstance(key, rsa.RSAPrivateKey)
    good = key.public_key().encrypt(b"content key", PKCS1)
    bad = bytes(255) + b"\2"
    softhsm.take_away()
    for _ in range(2):
        for attempt in (
            lambda: sign(key),
            lambda: key.decrypt(good, PKCS1),
            lambda: key.decrypt(bad, PKCS1),
            lambda: keystore.load("ra"),
            lambda: keystore.exists("ra"),
            lambda: keystore.exists("another"),
            lambda: keystore.generate("another", KeyAlgorithm.P256),
        ):
            with pytest.raises(TokenUnavailable, match=r"^the token that keeps the private keys cannot be used now$"):
                attempt()
    softhsm.bring_back()
    assert key.decrypt(good, PKCS1) == b"content key"
    assert keystore.exists("ra")
    assert not keystore.exists("another")


def test_after_a_failure_nobody_tries_for_a_while(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    key = keystore.generate("ra", KeyAlgorithm.RSA2048)
    softhsm.take_away()
    with pytest.raises(TokenUnavailable):
        sign(key)
    softhsm.bring_back()
    with pytest.raises(TokenUnavailable):
        sign(key)
    time.sleep(pkcs11_session._REST_SECONDS)  # noqa: SLF001 - no longer than it takes
    sign(key)


def test_a_key_that_was_removed_is_missing_and_the_others_go_on(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    kept, removed = keystore.generate("kept", KeyAlgorithm.RSA2048), keystore.generate("removed", KeyAlgorithm.RSA2048)
    softhsm.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "removed")
    with pytest.raises(KeyMissing, match="there is no key 'removed'"):
        sign(removed)
    sign(kept)


# --- finding the token ---


def detail(softhsm: SoftHsm, label: str = "signetry") -> str:
    with opened(softhsm, label) as keystore, pytest.raises(TokenUnavailable) as caught:
        keystore.facts()
    return caught.value.detail


def test_a_token_that_is_not_there_is_told_with_those_that_are(softhsm: SoftHsm) -> None:
    assert detail(softhsm, "another") == "there is no token called 'another'; there are: 'signetry'"


def test_two_tokens_of_one_label_are_not_chosen_from(softhsm: SoftHsm) -> None:
    softhsm.tool("--init-token", "--free", "--label", "signetry", "--pin", PIN, "--so-pin", SO_PIN)
    assert detail(softhsm) == "there are 2 tokens called 'signetry'"


@pytest.mark.parametrize("module", ["missing.so", "text.so", "/usr/lib/x86_64-linux-gnu/libc.so.6"])
def test_a_library_that_cannot_be_loaded_is_told_of(softhsm: SoftHsm, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (softhsm.directory / "text.so").write_text("no library")
    monkeypatch.setattr("tests.ca.tokens.MODULE", softhsm.directory / module)
    assert "while loading" in detail(softhsm)


# --- the PIN ---


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that every PIN offered to the token is put on."""
    offered: list[str] = []
    connect = pkcs11_session.Token._connect  # noqa: SLF001 - what logs in

    def noting(token: pkcs11_session.Token) -> pkcs11.Session:
        find = token._find  # noqa: SLF001 - as above

        class Noting:
            def __init__(self, real: pkcs11.Token) -> None:
                self._real = real

            def __getattr__(self, name: str) -> object:
                return getattr(self._real, name)

            def open(self, **options: object) -> pkcs11.Session:
                if "user_pin" in options:
                    offered.append(str(options["user_pin"]))
                return self._real.open(**options)  # type: ignore[arg-type] # passed on

        monkeypatch.setattr(token, "_find", lambda library: Noting(find(library)))
        try:
            return connect(token)
        finally:
            monkeypatch.setattr(token, "_find", find)

    monkeypatch.setattr(pkcs11_session.Token, "_connect", noting)
    return offered


@pytest.mark.usefixtures("impatient")
def test_a_wrong_pin_is_offered_once_by_all_processes_together(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = counted(monkeypatch)
    softhsm.write_pin("wrong-pin")
    for _ in range(3):
        # Each stands for a process: what they share is the note.
        with opened(softhsm) as keystore:
            for _ in range(2):
                with pytest.raises(PinRefused):
                    keystore.facts()
    assert offered == ["wrong-pin"]
    softhsm.write_pin(PIN)
    with opened(softhsm) as keystore:
        keystore.facts()
    assert offered == ["wrong-pin", PIN]


@pytest.mark.usefixtures("impatient")
def test_a_pin_is_offered_again_once_its_file_was_touched(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token was given the PIN that the file has."""
    softhsm.write_pin("new-pin-4712")
    with opened(softhsm) as keystore:
        with pytest.raises(PinRefused, match="cannot be used now") as caught:
            keystore.facts()
        assert "new-pin" not in caught.value.detail
        keystore.close()
        softhsm.pkcs11_tool("--change-pin", "--new-pin", "new-pin-4712")
        offered = counted(monkeypatch)
        with pytest.raises(PinRefused, match="cannot be used now") as caught:
            keystore.facts()
        assert "touch the file" in caught.value.detail
        os.utime(softhsm.pin_file, (1, 1))
        keystore.facts()
    assert offered == ["new-pin-4712"]


@pytest.mark.parametrize(
    ("flag", "words"),
    [(pkcs11.TokenFlag.USER_PIN_FINAL_TRY, "one attempt left"), (pkcs11.TokenFlag.USER_PIN_LOCKED, "locked")],
)
def test_a_token_about_to_lock_is_left_alone(
    softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, flag: pkcs11.TokenFlag, words: str
) -> None:
    offered = counted(monkeypatch)

    class Flagged:
        """SoftHSM never says so of itself."""

        label, serial, flags = "signetry", b"1", flag

    monkeypatch.setattr(pkcs11_session.Token, "_find", lambda _token, _library: Flagged())
    assert words in detail(softhsm)
    assert offered == []


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"", 0o600, "must hold one line"),
        (b"one\ntwo\n", 0o600, "must hold one line"),
        (b"\xff\xfe", 0o600, "is not text"),
        (b"1234\n", 0o644, "must be 0600"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_a_pin_file_that_cannot_be_used_is_told_of(softhsm: SoftHsm, content: bytes | None, mode: int, words: str) -> None:
    if content is None:
        softhsm.pin_file.unlink()
    else:
        softhsm.pin_file.write_bytes(content)
        softhsm.pin_file.chmod(mode)
    said = detail(softhsm)
    assert words in said
    assert "1234" not in said


# --- threads and processes ---


def test_threads_share_one_session(keystore: Pkcs11KeyStore) -> None:
    keys = [keystore.generate(f"key-{number}", KeyAlgorithm.RSA2048) for number in range(2)]
    done: Counter[int] = Counter()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(40):
                key = keys[(number + round_) % 2]
                assert isinstance(key, rsa.RSAPrivateKey)
                key.public_key().verify(sign(key), b"data", PKCS1, hashes.SHA256())
                assert key.decrypt(key.public_key().encrypt(b"%d" % number, PKCS1), PKCS1) == b"%d" % number
                if number == 0 and round_ % 10 == 0:
                    keystore._token.run(lambda session: session.close())  # noqa: SLF001 - behind the others
                done[number] += 1
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert done == dict.fromkeys(range(6), 40)


def test_a_thread_does_not_wait_for_ever(keystore: Pkcs11KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pkcs11_session, "_PATIENCE_SECONDS", 0.1)
    key = keystore.generate("ra", KeyAlgorithm.RSA2048)
    hanging, release = threading.Event(), threading.Event()

    def hang(_session: pkcs11.Session) -> None:
        hanging.set()
        release.wait(10)

    thread = threading.Thread(target=keystore._token.run, args=(hang,))  # noqa: SLF001 - a call that does not return
    thread.start()
    hanging.wait(10)
    with pytest.raises(TokenUnavailable):
        sign(key)
    release.set()
    thread.join()
    sign(key)


def test_two_key_stores_of_one_process_do_not_disturb_each_other(softhsm: SoftHsm) -> None:
    with opened(softhsm) as one, opened(softhsm) as two:
        key = one.generate("ra", KeyAlgorithm.RSA2048)
        sign(two.load("ra"))
        one.close()
        sign(two.load("ra"))
        sign(key)


def test_a_key_made_by_another_process_is_found_and_works(keystore: Pkcs11KeyStore, softhsm: SoftHsm) -> None:
    assert not keystore.exists("theirs")
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.ca.tokens import keystore_in; from tests.softhsm import SoftHsm; from ca.keys import KeyAlgorithm\n"
        "keystore_in(SoftHsm(Path(sys.argv[1]))).generate('theirs', KeyAlgorithm.RSA2048)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script, softhsm.directory], check=True, timeout=60, cwd=root)
    sign(keystore.load("theirs"))


def test_a_forked_process_opens_a_session_of_its_own(keystore: Pkcs11KeyStore) -> None:
    key = keystore.generate("ra", KeyAlgorithm.RSA2048)
    child = os.fork()
    if child == 0:  # pragma: no cover - in another process
        try:
            sign(key)
            sign(keystore.load("ra"))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    sign(key)


def test_nothing_is_opened_before_it_is_needed(softhsm: SoftHsm) -> None:
    softhsm.pin_file.unlink()
    keystore_in(softhsm).close()
