"""``signetry cert`` and ``signetry crl`` on an installation of their own."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlmodel import Session, select
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from audit.records import AuditEvent
from ca import hierarchy
from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.errors import AlreadyRevoked, BadSerial, NotOnHold, UnknownCertificate
from ca.hierarchy import NewAuthority
from ca.issuance import build, record
from ca.keys import KeyAlgorithm
from ca.profiles import profile_named
from crl import publication
from foundation.errors import BadRequest
from people.devices import DeviceFields, add_device
from people.person import PersonFields
from people.persons import add_person
from signetry.cli import certificates, crl
from signetry.house import House, open_house

NAMES = SubjectNames(
    display_name="Alice Smith", upn="alice@corp.example.com", emails=("alice@example.com",), sid="S-1-5-21-1-2-3-1104"
)


class Installation:
    """A house with both authorities, Alice, and her phone; and the commands run on it."""

    def __init__(self, house: House, key: ec.EllipticCurvePrivateKey) -> None:
        self.house = house
        self._key = key
        house.transactions.write(self._furnish)
        house.publish_crls()

    def issue(self, profile: str = "identity", *, with_device: bool = False, validity: timedelta | None = None) -> str:
        """Issue a certificate to Alice; return its serial number."""
        authority = self.house.authority("issuing")
        now = self.house.clock.now()
        built = build(authority, profile_named(profile), NAMES, self._key.public_key(), now=now, validity=validity)
        device = DeviceId(self.device) if with_device else None
        authorisation = Authorisation(ProfileName(profile), NAMES, "one-time challenge 17", PersonId(self.person), device)

        def act(session: Session) -> int:
            return record(session, built, authority=authority, authorisation=authorisation, actor=self.house.actor, now=now)

        self.house.transactions.write(act)
        return built.serial

    def cert(self, *arguments: str, exit_code: int = 0, stdin: str = "") -> Result:
        """Run ``signetry cert``."""
        result = CliRunner().invoke(certificates.app, arguments, input=stdin)
        assert result.exit_code == exit_code, result.output
        return result

    def json(self, *arguments: str, exit_code: int = 0) -> Any:  # noqa: ANN401 - any JSON
        """Run ``signetry cert … --json`` and return what it printed."""
        return json.loads(self.cert(*arguments, "--json", exit_code=exit_code).stdout)

    def refusal(self, *arguments: str) -> BaseException | None:
        """Run ``signetry cert`` and return why it refused."""
        return self.cert(*arguments, exit_code=1).exception

    def crl(self, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """Run ``signetry crl … --json`` and return what it printed."""
        result = CliRunner().invoke(crl.app, [*arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def listed(self) -> dict[str, str]:
        """Return what the issuing CA's CRL lists: serial and reason."""
        return {entry["serial"]: entry["reason"] for entry in self.crl("show", "issuing", "--entries")}

    def _furnish(self, session: Session) -> None:
        house = self.house
        how: dict[str, Any] = {"actor": house.actor, "now": house.clock.now()}
        made: dict[str, Any] = {"public_url": "http://ca.example", **how}
        root = NewAuthority(hierarchy.ROOT, "Test Root", KeyAlgorithm.P384)
        loaded = hierarchy.create_root(session, house.keystore, root, **made)
        issuing = NewAuthority(hierarchy.ISSUING, "Test Issuing CA", KeyAlgorithm.P256)
        hierarchy.create_issuing(session, house.keystore, loaded, issuing, **made)
        fields = PersonFields(upn=NAMES.upn, email=NAMES.emails[0], display_name=NAMES.display_name)
        self.person = add_person(session, fields, **how).id
        self.device = add_device(session, DeviceFields(name="alice-phone", owner=NAMES.upn), **how).id
        publication.ensure_schedules(session, house.clock.now())


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with an empty database."""
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path))
    shutil.copy(sqlite_template, tmp_path / "signetry.db")
    (tmp_path / "secrets").mkdir(mode=0o700)
    secret = tmp_path / "secrets" / "key-passphrase"
    secret.write_text("a passphrase for tests\n")
    secret.chmod(0o600)
    return tmp_path


@pytest.fixture
def installation(home: Path, ec_key: ec.EllipticCurvePrivateKey) -> Iterator[Installation]:
    """The house in ``home``, furnished."""
    assert home.exists()
    house = open_house()
    # Standard output is the commands' own: where the log goes is ``main``'s business.
    with capture_logs():
        yield Installation(house, ec_key)
    house.close()


def test_show_tells_whose_a_certificate_is(installation: Installation) -> None:
    serial = installation.issue(with_device=True)
    shown = installation.json("show", serial)
    assert (shown["person"], shown["name"], shown["mail"]) == ("alice@corp.example.com", "Alice Smith", "alice@example.com")
    assert (shown["device"], shown["profile"], shown["authority"]) == ("alice-phone", "identity", "issuing")
    assert (shown["emails"], shown["upn"], shown["sid"]) == (["alice@example.com"], "alice@corp.example.com", NAMES.sid)
    assert (shown["status"], shown["key"], shown["granted_by"]) == ("good", "EC secp256r1", "one-time challenge 17")
    text = installation.cert("show", serial.upper()).stdout
    assert "alice@corp.example.com" in text
    assert "revoked_at" not in text


def test_list_filters_and_pages(installation: Installation) -> None:
    old = installation.issue(validity=timedelta(days=20))
    new = installation.issue("smime-signing", with_device=True)

    def serials(*arguments: str) -> list[str]:
        return [row["serial"] for row in installation.json("list", *arguments)]

    assert serials("--upn", "alice@corp.example.com") == [new, old]
    assert serials("--device", "alice-phone") == [new]
    assert serials("--profile", "identity") == [old]
    assert serials("--expiring", "30d") == [old]
    assert serials("--upn", "alice@corp.example.com", "--limit", "1", "--page", "2") == [old]
    assert serials("--status", "revoked") == []
    assert old in installation.cert("list").stdout


def test_a_certificate_is_exported_as_pem_der_and_chain(installation: Installation, tmp_path: Path) -> None:
    serial = installation.issue()
    pem = x509.load_pem_x509_certificate(installation.cert("export", serial).stdout_bytes)
    assert f"{pem.serial_number:032x}" == serial
    out = tmp_path / "a.der"
    installation.cert("export", serial, "--format", "der", "--out", str(out))
    assert x509.load_der_x509_certificate(out.read_bytes()) == pem
    chain = x509.load_pem_x509_certificates(installation.cert("export", serial, "--format", "chain").stdout_bytes)
    assert chain[0] == pem
    assert [certificate.issuer for certificate in chain] == [certificate.subject for certificate in (*chain[1:], chain[-1])]


def test_a_revocation_is_in_the_crl_that_issue_builds(installation: Installation) -> None:
    serial = installation.issue()
    (before,) = installation.crl("show", "issuing")
    (row,) = installation.json("revoke", serial, "--reason", "keyCompromise")
    assert (row["serial"], row["outcome"], row["reason"]) == (serial, "revoked", "keyCompromise")
    (after,) = installation.crl("issue", "issuing")
    assert after["number"] > before["number"]
    assert installation.listed() == {serial: "keyCompromise"}
    assert installation.json("show", serial)["status"] == "revoked"


def test_the_crl_is_owed_with_the_revocation(installation: Installation) -> None:
    result = installation.cert("revoke", installation.issue())
    assert "CRL" in result.stderr
    (outcome,) = installation.house.publish_crls()
    assert outcome.published
    assert outcome.entry_count == 1


def test_serials_are_taken_with_colons_and_refused_when_decimal_or_unknown(installation: Installation) -> None:
    serial = installation.issue()
    colons = ":".join(serial[i : i + 2] for i in range(0, len(serial), 2)).upper()
    assert isinstance(installation.refusal("revoke", str(int(serial, 16))), BadSerial)
    assert isinstance(installation.refusal("show", "abcdef"), UnknownCertificate)
    assert installation.json("revoke", colons)[0]["outcome"] == "revoked"
    assert installation.json("revoke", colons)[0]["outcome"] == "unchanged"
    assert isinstance(installation.refusal("revoke", colons, "--reason", "superseded"), AlreadyRevoked)


def test_hold_and_release(installation: Installation) -> None:
    serial = installation.issue()
    assert isinstance(installation.refusal("release", serial), NotOnHold)
    assert installation.json("hold", serial)[0]["outcome"] == "held"
    assert installation.json("show", serial)["status"] == "on-hold"
    installation.crl("issue")
    assert installation.listed() == {serial: "certificateHold"}
    assert installation.json("release", serial)[0]["outcome"] == "released"
    installation.crl("issue")
    assert installation.listed() == {}


def test_all_of_a_person_or_device_are_revoked(installation: Installation) -> None:
    """At a terminal after a question (test_a_terminal_is_asked), otherwise at once."""
    first, second = installation.issue(), installation.issue(with_device=True)
    rows = installation.json("revoke", "--device", "alice-phone", "--reason", "superseded")
    assert [row["serial"] for row in rows] == [second]
    rows = installation.json("revoke", "--upn", "alice@example.com", "--reason", "affiliationChanged", "-y")
    assert [row["serial"] for row in rows] == [first]
    assert installation.json("revoke", "--upn", "alice@example.com", "--yes") == []


@pytest.mark.parametrize(("answer", "exit_code", "status"), [("n\n", 1, "good"), ("y\n", 0, "revoked")])
def test_a_terminal_is_asked(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, answer: str, exit_code: int, status: str
) -> None:
    serial = installation.issue()
    monkeypatch.setattr(certificates, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    result = installation.cert("revoke", "--upn", "alice@example.com", stdin=answer, exit_code=exit_code)
    assert serial in result.stderr
    assert installation.json("show", serial)["status"] == status


def test_a_dry_run_says_what_it_would_do_and_does_nothing(installation: Installation) -> None:
    serial = installation.issue()
    assert installation.json("revoke", "--upn", "alice@example.com", "--dry-run")[0]["outcome"] == "revoked"
    assert installation.json("revoke", serial, "--dry-run")[0]["outcome"] == "revoked"
    assert installation.json("show", serial)["status"] == "good"
    with installation.house.transactions.reading() as session:
        assert "certificate.revoked" not in session.exec(select(AuditEvent.action)).all()
    assert installation.house.publish_crls() == []


def test_one_way_of_choosing_is_needed(installation: Installation) -> None:
    serial = installation.issue()
    assert isinstance(installation.refusal("revoke"), BadRequest)
    assert isinstance(installation.refusal("revoke", serial, "--upn", "alice@example.com"), BadRequest)


def test_an_invalidity_date_is_taken_as_utc(installation: Installation) -> None:
    serial = installation.issue()
    date = (installation.house.clock.now() - timedelta(minutes=1)).replace(microsecond=0, tzinfo=None).isoformat()
    (row,) = installation.json("revoke", serial, "--reason", "keyCompromise", "--invalidity-date", date)
    assert row["invalidity_date"] == f"{date}+00:00"
    assert isinstance(installation.refusal("revoke", serial, "--invalidity-date", "yesterday"), BadRequest)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_file_is_revoked_row_by_row(installation: Installation, tmp_path: Path, *, dry_run: bool) -> None:
    first, second, third = (installation.issue() for _ in range(3))
    file = tmp_path / "list.csv"
    rows = [
        "Serial,reason,invalidity_date",
        f"{first},keycompromise,",
        f"{second},,",
        "abc,,",
        f"{third},boredom,",
        f"{third},,2999-01-01",
    ]
    file.write_text("\ufeff" + "\n".join([*rows, ""]), encoding="utf-8")
    options = ["--csv", str(file), "--reason", "superseded", *(["--dry-run"] if dry_run else [])]
    outcomes = installation.json("revoke", *options, exit_code=1)
    assert [(row["line"], row["outcome"], row["reason"]) for row in outcomes] == [
        (2, "revoked", "keyCompromise"),
        (3, "revoked", "superseded"),
        (4, "refused", None),
        (5, "refused", None),
        (6, "refused", None),
    ]
    assert "boredom" in outcomes[3]["problem"]
    states = [installation.json("show", serial)["status"] for serial in (first, second, third)]
    assert states == (["good"] * 3 if dry_run else ["revoked", "revoked", "good"])


def test_a_reason_is_named_as_in_rfc_5280(installation: Installation) -> None:
    serial = installation.issue()
    refusal = str(installation.refusal("revoke", serial, "--reason", "boredom"))
    assert "keyCompromise" in refusal
    assert "removeFromCRL" not in refusal
    assert installation.json("revoke", serial, "--reason", "KEYCOMPROMISE")[0]["reason"] == "keyCompromise"


def test_a_profile_that_does_not_exist_is_not_searched_for(installation: Installation) -> None:
    assert "no certificate profile 'idenity'" in str(installation.refusal("list", "--profile", "idenity"))


@pytest.mark.parametrize("content", ["", "number\n1\n", "serial,colour\nab,red\n", "serial\n\xff"])
def test_a_file_that_is_no_list_is_refused(installation: Installation, tmp_path: Path, content: str) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(content.encode("latin-1"))
    assert isinstance(installation.refusal("revoke", "--csv", str(file)), BadRequest)


def test_crl_show_says_number_dates_and_when_the_next_is_due(installation: Installation) -> None:
    shown = {row["ca"]: row for row in installation.crl("show")}
    assert set(shown) == {"root", "issuing"}
    assert (shown["issuing"]["number"], shown["issuing"]["entries"]) == (1, 0)
    assert shown["issuing"]["due_at"] < shown["issuing"]["next_update"]


@pytest.mark.usefixtures("installation")
def test_crl_issue_says_why_it_cannot(home: Path) -> None:
    for key in (home / "keys").glob("*"):
        key.rename(key.with_suffix(".away"))
    result = CliRunner().invoke(crl.app, ["issue", "root"])
    assert result.exit_code == 1
    assert "root" in str(result.exception)
