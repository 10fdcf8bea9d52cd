"""A fixed short corpus of mutants against the reader of PKCS #12; the long run is ``make fuzz``."""

from itertools import islice

import pytest

from tests.fuzz import run_containers
from tests.fuzz.containers import ContainerSource, digested
from tests.fuzz.run_containers import main, originals

_COUNT = 2500
_SEED = 7292


def test_mutants_are_refused_or_understood() -> None:
    outcomes = {digested(made) for made in islice(ContainerSource(_SEED, originals()), _COUNT)}
    # The corpus is worth its time only while it gets to every layer.
    assert outcomes >= {
        "accepted",
        "open: NotPkcs12",
        "open: TruncatedContainer",
        "open: WrongPassword",
        "open: ContainerTooSlow",
        "open: NoPrivateKey",
        "open: UnsupportedKey",
        "match: NoCertificate",
        "match: KeyMismatch",
    }


def test_the_long_run_passes_when_nothing_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "40"]) == 0
    assert "40 files in" in capsys.readouterr().out


def _crash(made: bytes) -> str:
    raise IndexError(len(made))


@pytest.mark.parametrize("complaint", ["IndexError", "took", "grew"])
def test_the_long_run_fails_on_crashes_slowness_and_growth(
    complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--count", "10"]
    if complaint == "IndexError":
        monkeypatch.setattr(run_containers, "digested", _crash)
    elif complaint == "took":
        arguments += ["--seconds", "0"]
    else:
        readings = iter((1000, 1000 + 65 * 1024))
        monkeypatch.setattr(run_containers, "resident_kibibytes", lambda _pid: next(readings))
    assert main(arguments) == 1
    assert complaint in capsys.readouterr().err
