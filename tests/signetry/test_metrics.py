"""What ``/metrics`` says: right in both formats, documented, on the dashboard, and under no label that somebody can make up."""

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from prometheus_client import Metric, values
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from sqlalchemy import event
from sqlmodel import Session
from starlette.testclient import TestClient

from ca.authorisation import ProfileName
from ca.keys import KeyAlgorithm
from ca.records import Certificate
from crl import publication
from foundation.tables import table_of
from ldap_publish.records import DirectoryState, OwedEntry
from scep.errors import FailInfo
from scep.observation import Ending, Outcome
from signetry import assembly
from signetry.app import admin_app
from signetry.database import Database
from signetry.house import House
from signetry.jobs import JobRun
from signetry.metrics import files
from signetry.metrics.recording import Recorder
from signetry.metrics.state import StateCollector
from signetry.server import METRICS_VARIABLE, share_metrics
from signetry.settings import load_settings
from signetry.timed_keys import TimedKeyStore
from signetry.writer import DatabaseUnavailable
from tests.ca.keystores import MemoryKeyStore
from tests.clocks import ManualClock
from tests.signetry.installation import clock_of_today, opened

DOCS = Path(__file__).parents[2] / "docs"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def today() -> ManualClock:
    """The house's clock."""
    return clock_of_today()


@pytest.fixture
def recorder(installed_home: Path) -> Recorder:
    """The counters of this process alone."""
    assert installed_home.exists()
    return Recorder(load_settings(), "web-0")


@pytest.fixture
def house(recorder: Recorder, today: ManualClock) -> Iterator[House]:
    """A house that counts."""
    with opened(today) as found:
        yield replace(found, instruments=recorder.instruments)


@pytest.fixture
def client(house: House) -> Iterator[TestClient]:
    """The administrative listener."""
    parts = assembly.web_parts(house)
    yield TestClient(admin_app(parts))
    parts.stop()


def families_of(text: str) -> list[Metric]:
    return list(parse_openmetrics(text))  # type: ignore[no-untyped-call]


def scraped(client: TestClient) -> dict[str, Metric]:
    answer = client.get("/metrics", headers={"accept": OPENMETRICS})
    assert answer.status_code == 200
    return {family.name: family for family in families_of(answer.text)}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float:
    (found,) = [
        found.value for family in families.values() for found in family.samples if found.name == sample and found.labels == labels
    ]
    return float(found)


def owe_crls(house: House) -> None:
    def act(session: Session) -> None:
        for name in ("root", "issuing"):
            publication.owe(session, house.authority(name).id, house.clock.now())

    house.transactions.write(act)


def state(house: House) -> dict[str, Metric]:
    return {family.name: family for family in StateCollector(house).collect()}


def test_it_answers_without_a_token_in_the_format_that_is_asked_for(client: TestClient) -> None:
    plain = client.get("/metrics")
    assert plain.status_code == 200
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "signetry_build" in {family.name.removesuffix("_info") for family in parse_text(plain.text)}
    modern = client.get("/metrics", headers={"accept": OPENMETRICS})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert modern.text.endswith("# EOF\n")
    assert {family.name for family in families_of(modern.text)} >= {"signetry_build", "signetry_enrolments"}
    assert client.post("/metrics").status_code == 405


def test_enrolments_are_counted_by_endpoint_profile_and_outcome(client: TestClient, recorder: Recorder) -> None:
    scep = recorder.instruments.scep
    identity = ProfileName("identity")
    for _ in range(3):
        scep.requested("default", "PKIOperation")
        scep.ended("default", Ending(Outcome.ISSUED, profile=identity), 0.004)
    scep.ended("default", Ending(Outcome.REPLAYED, profile=identity), 0.002)
    scep.ended("default", Ending(Outcome.REFUSED, fail_info=FailInfo.BAD_ALG), 0.001)
    scep.ended("default", Ending(Outcome.FAILED), 11)
    families = scraped(client)

    def count(outcome: str, profile: str = "", fail_info: str = "") -> float:
        labels = {"endpoint": "default", "outcome": outcome, "profile": profile, "fail_info": fail_info}
        return value(families, "signetry_enrolments_total", **labels)

    assert count("issued", "identity") == 3
    assert count("replayed", "identity") == 1
    assert count("refused", fail_info="badAlg") == 1
    # Named from the start: what has not happened yet is 0, so that its first time is an increase.
    assert count("refused", fail_info="badCertId") == 0
    assert count("unavailable") == 0
    assert value(families, "signetry_scep_requests_total", endpoint="default", operation="PKIOperation") == 3
    assert value(families, "signetry_enrolment_seconds_count", endpoint="default", outcome="issued") == 3
    assert value(families, "signetry_enrolment_seconds_sum", endpoint="default", outcome="issued") == pytest.approx(0.012)
    assert value(families, "signetry_enrolment_seconds_bucket", endpoint="default", outcome="failed", le="10.0") == 0


def test_requests_count_by_listener_and_status_and_those_to_the_api_by_role(client: TestClient) -> None:
    client.get("/healthz")
    client.get("/no/such/page")
    client.get("/api/v1/persons")
    client.get("/api/v1/persons", headers={"authorization": "Bearer sgt_1_nobody"})
    families = scraped(client)
    assert value(families, "signetry_http_requests_total", listener="admin", status="2xx") == 1
    assert value(families, "signetry_http_requests_total", listener="admin", status="4xx") == 3
    assert value(families, "signetry_http_requests_total", listener="public", status="5xx") == 0
    assert value(families, "signetry_api_requests_total", role="none", status="4xx") == 2


def test_what_a_peer_sends_becomes_no_label(client: TestClient, house: House) -> None:
    before = {(name, tuple(sample.labels.items())) for name, family in scraped(client).items() for sample in family.samples}
    parts = assembly.web_parts(house)
    routes = TestClient(admin_app(replace(parts, admin_routes=parts.public_routes)))
    for number in range(20):
        routes.get(f"/scep/made-up-{number}", params={"operation": "GetCACert"})
        routes.get("/scep/default", params={"operation": f"MadeUp{number}"})
    after = {(name, tuple(sample.labels.items())) for name, family in scraped(client).items() for sample in family.samples}
    assert after - before == set()


def test_jobs_are_counted(client: TestClient, recorder: Recorder) -> None:
    for succeeded in (True, True, False):
        recorder.instruments.job(JobRun("crl", 0.2, succeeded))
    families = scraped(client)
    assert value(families, "signetry_job_runs_total", job="crl", outcome="succeeded") == 2
    assert value(families, "signetry_job_runs_total", job="crl", outcome="failed") == 1
    assert value(families, "signetry_job_seconds_count", job="crl") == 3
    assert value(families, "signetry_job_last_success_timestamp_seconds", job="crl") > 1_700_000_000


def test_the_keys_of_an_endpoint_are_timed_by_what_they_do(house: House, client: TestClient) -> None:
    keys = house.authorities.endpoint_keys(house.endpoint("default").issuing_ca)
    ra = keys.ra[0].private_key
    assert isinstance(ra, rsa.RSAPrivateKey)
    ra.sign(b"x", padding.PKCS1v15(), hashes.SHA256())
    sealed = ra.public_key().encrypt(b"x", padding.PKCS1v15())
    assert ra.decrypt(sealed, padding.PKCS1v15()) == b"x"
    owe_crls(house)
    house.publish_crls()
    families = scraped(client)
    for operation in ("ra-sign", "ra-decrypt"):
        assert value(families, "signetry_private_key_operation_seconds_count", operation=operation) == 1
    # The empty CRL and the one with entries, of the root and of the issuing CA.
    assert value(families, "signetry_private_key_operation_seconds_count", operation="ca-sign") == 4


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.RSA2048, KeyAlgorithm.P256, KeyAlgorithm.ED25519])
def test_a_timed_key_is_a_key_like_any_other(algorithm: KeyAlgorithm) -> None:
    told: list[str] = []
    keystore = TimedKeyStore(MemoryKeyStore(), "ca", lambda operation, _seconds: told.append(operation))
    assert not keystore.exists("a-key")
    made = keystore.generate("a-key", algorithm)
    key = keystore.load("a-key")
    assert keystore.exists("a-key")
    assert key.public_key() == made.public_key()
    assert key.private_bytes_raw() if isinstance(key, ed25519.Ed25519PrivateKey) else key.private_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        assert key.key_size == 2048
        key.public_key().verify(key.sign(b"x", padding.PKCS1v15(), hashes.SHA256()), b"x", padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        assert (key.curve.name, key.key_size) == ("secp256r1", 256)
        assert key.exchange(ec.ECDH(), key.public_key())
        key.public_key().verify(key.sign(b"x", ec.ECDSA(hashes.SHA256())), b"x", ec.ECDSA(hashes.SHA256()))
    else:
        key.public_key().verify(key.sign(b"x"), b"x")
    assert told == ["ca-sign"]


def test_the_crls_age_margin_and_lateness_are_told(house: House, today: ManualClock) -> None:
    before = value(state(house), "signetry_crl_number", authority="issuing")
    owe_crls(house)
    house.publish_crls()
    assert value(state(house), "signetry_crl_overdue_seconds", authority="issuing") == 0
    today.advance(hours=23)
    found = state(house)
    assert value(found, "signetry_crl_age_seconds", authority="issuing") == pytest.approx(23 * 3600, abs=2)
    assert value(found, "signetry_crl_margin_seconds", authority="issuing") == pytest.approx(3300, abs=2)
    assert value(found, "signetry_crl_overdue_seconds", authority="issuing") == pytest.approx(22 * 3600, abs=2)
    assert value(found, "signetry_crl_number", authority="issuing") == before + 1
    assert value(found, "signetry_crl_entries", authority="issuing") == 0
    assert value(found, "signetry_crl_failed_builds", authority="issuing") == 0
    today.advance(hours=2)
    assert value(state(house), "signetry_crl_margin_seconds", authority="issuing") < 0


def test_expiring_certificates_are_counted_by_profile_while_they_are_good(house: House, today: ManualClock) -> None:
    now = today.now()
    issuing = house.authority("issuing")

    def add(session: Session, *, number: int, days: float, revoked: bool) -> None:
        session.execute(
            table_of(Certificate)
            .insert()
            .values(
                authority_id=issuing.id,
                serial=f"{number:032x}",
                profile="smime-dual",
                subject="CN=x",
                spki_sha256="0" * 64,
                not_before=now,
                not_after=now + timedelta(days=days),
                issued_at=now,
                der=b"",
                revoked_at=now if revoked else None,
            )
        )

    for number, (days, revoked) in enumerate(
        [(-1, False), (1, False), (6.9, False), (1, True), (8, False), (29, False), (31, False)]
    ):
        house.transactions.write(partial(add, number=number, days=days, revoked=revoked))
    found = state(house)
    assert value(found, "signetry_expiring_certificates", profile="smime-dual", within="7d") == 2
    assert value(found, "signetry_expiring_certificates", profile="smime-dual", within="30d") == 4
    assert value(found, "signetry_expiring_certificates", profile="identity", within="30d") == 0


def test_expiring_certificates_are_counted_in_an_index(house: House) -> None:
    """A million certificates are a gigabyte; what is asked every few seconds must not read them."""
    statements: list[tuple[str, Any]] = []
    engine = house.database.engine
    with house.transactions.reading() as session:
        reader = session.connection().engine
    event.listen(reader, "before_cursor_execute", lambda _c, _u, text, bound, *_: statements.append((text, bound)))
    state(house)
    (counting,) = [item for item in statements if "GROUP BY certificate.profile" in item[0]]
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {counting[0]}", counting[1]).all()
    assert "COVERING INDEX ix_certificate_good_until (not_after>? AND not_after<?)" in str(plan)


def test_what_directories_are_owed_is_told_of_those_configured(house: House, store: Database, today: ManualClock) -> None:
    """On both databases, and with it everything else that is read."""
    house = replace(house, database=store)
    now = today.now()

    def owe(session: Session) -> None:
        for number in range(3):
            since = now - timedelta(minutes=number)
            session.add(OwedEntry(directory="corp", kind="person", subject_id=number, owed_since=since, due_at=now))
        session.add(OwedEntry(directory="corp", kind="person", subject_id=7, due_at=now + timedelta(days=9)))
        session.add(OwedEntry(directory="corp", kind="person", subject_id=8, owed_since=now, failures=2, error="no", due_at=now))
        session.add(
            OwedEntry(directory="corp", kind="person", subject_id=9, owed_since=now, failures=1, waiting=True, due_at=now)
        )
        session.add(OwedEntry(directory="former", kind="person", subject_id=1, owed_since=now, due_at=now))
        session.add(DirectoryState(name="corp", fingerprint="0", failures=3, failing_since=now, error="no route"))

    house.transactions.write(owe)
    settings = house.settings.model_copy(update={"directories": {"corp": object(), "new": object()}})
    found = state(replace(house, settings=settings))
    told = {name: value(found, f"signetry_directory_{name}", directory="corp") for name in (
        "pending_entries", "oldest_pending_seconds", "failed_entries", "waiting_entries", "up"
    )}  # fmt: skip
    assert told == {"pending_entries": 5, "oldest_pending_seconds": 120, "failed_entries": 1, "waiting_entries": 1, "up": 0}
    assert value(found, "signetry_directory_up", directory="new") == 1
    assert value(found, "signetry_directory_pending_entries", directory="new") == 0
    assert "former" not in str(found)
    assert value(found, "signetry_database_up") == 1
    assert value(found, "signetry_expiring_certificates", profile="identity", within="7d") == 0


def test_the_ends_of_the_services_own_certificates_are_told(house: House) -> None:
    found = state(house)
    name = "signetry_certificate_not_after_timestamp_seconds"
    for authority in ("root", "issuing"):
        end = house.authority(authority).certificate.not_valid_after_utc
        assert value(found, name, kind="authority", name=authority) == end.timestamp()
    (ra,) = house.authorities.endpoint_keys(house.endpoint("default").issuing_ca).ra
    assert value(found, name, kind="ra", name="issuing") == ra.certificate.not_valid_after_utc.timestamp()
    served = ssl.create_default_context(cafile=house.settings.home / "tls" / "root.pem")
    assert served.cert_store_stats()["x509"] == 1
    assert value(found, name, kind="tls", name="listeners") > house.clock.now().timestamp()


@pytest.mark.parametrize("content", [b"not a certificate", None], ids=["damaged", "of another key"])
def test_a_tls_pair_that_cannot_be_served_is_left_out(house: House, content: bytes | None) -> None:
    # The listeners keep the one before, and the alert is the want of a number.
    folder = house.settings.home / "tls"
    (folder / "server.pem").write_bytes(content or (folder / "root.pem").read_bytes())
    found = state(house)["signetry_certificate_not_after_timestamp_seconds"]
    assert {sample.labels["kind"] for sample in found.samples} == {"authority", "ra"}


def test_without_the_database_the_counters_are_still_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise DatabaseUnavailable

    assert value(state(house), "signetry_database_up") == 1
    monkeypatch.setattr("signetry.metrics.state.publication.current", down)
    found = state(house)
    assert value(found, "signetry_database_up") == 0
    assert set(found) == {"signetry_build", "signetry_database_up"}


def test_who_asks_often_does_not_keep_the_database_busy(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = publication.current

    def counting(session: Session, authority_id: int) -> object:
        asked.append(authority_id)
        return real(session, authority_id)

    monkeypatch.setattr("signetry.metrics.state.publication.current", counting)
    collector = StateCollector(house)
    for _ in range(50):
        collector.collect()
    assert len(asked) == 2


# --- the files that processes share ---


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed_home: Path) -> Iterator[Path]:
    """A directory such as ``serve`` names its children."""
    assert installed_home.exists()
    directory = tmp_path / "metrics"
    directory.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(directory))
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    yield directory
    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]


def responses(recorder: Recorder) -> float:
    families = {family.name: family for family in recorder.collect()}
    return value(families, "signetry_http_requests_total", listener="public", status="2xx")


def test_processes_are_added_up_and_a_successor_goes_on_where_a_killed_one_stopped(shared: Path) -> None:
    settings = load_settings()
    first, second = Recorder(settings, "web-0"), Recorder(settings, "web-1")
    for number in range(10):
        (first, second)[number % 2].instruments.response("public", 200)
    assert responses(first) == responses(second) == 10
    successor = Recorder(settings, "web-0")
    assert responses(successor) == 10
    successor.instruments.response("public", 204)
    assert responses(second) == 11
    assert sorted(path.name for path in shared.iterdir()) == sorted(
        f"{kind}_{name}.db" for kind in ("counter", "gauge_mostrecent", "histogram") for name in ("web-0", "web-1")
    )


def test_files_are_on_the_disk_before_they_are_written(shared: Path) -> None:
    Recorder(load_settings(), "web-0")
    for path in shared.iterdir():
        status = path.stat()
        assert status.st_blocks * 512 >= status.st_size >= 1 << 18
        assert status.st_mode & 0o077 == 0


def test_a_damaged_file_is_begun_anew(shared: Path) -> None:
    damaged = shared / "counter_web-0.db"
    damaged.write_bytes(b"\xff\xff\x00\x00 torn")
    recorder = Recorder(load_settings(), "web-0")
    recorder.instruments.response("public", 200)
    assert responses(recorder) == 1


def test_a_directory_that_cannot_be_used_is_done_without(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(shared / "absent"))
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    assert files.share("web-0", {"PROMETHEUS_MULTIPROC_DIR": str(shared / "absent")}) is None
    recorder = Recorder(load_settings(), "web-0")
    recorder.instruments.response("public", 200)
    assert responses(recorder) == 1


def test_a_service_begins_with_no_counts_of_its_predecessor(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(METRICS_VARIABLE, raising=False)
    directory = house.settings.home / "run" / "metrics"
    directory.mkdir(parents=True)
    (directory / "counter_web-7.db").write_bytes(b"left")
    share_metrics(house.settings)
    assert os.environ[METRICS_VARIABLE] == str(directory)
    assert list(directory.iterdir()) == []


def test_a_service_that_cannot_have_the_directory_serves_without(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METRICS_VARIABLE, "/somebody/elses")
    (house.settings.home / "run").mkdir()
    (house.settings.home / "run" / "metrics").write_text("in the way")
    share_metrics(house.settings)
    assert METRICS_VARIABLE not in os.environ


def test_a_command_does_not_wait_for_the_library() -> None:
    look = "import sys, signetry.cli.main; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- what is written about them ---


def told_of(client: TestClient, recorder: Recorder) -> set[str]:
    """Return the name of every metric there is, counters and all with their suffix."""
    recorder.instruments.job(JobRun("crl", 0.1, succeeded=True))
    recorder.instruments.api_request("admin", 200)
    suffixes = {"counter": "_total", "info": "_info"}
    return {name + suffixes.get(family.type, "") for name, family in scraped(client).items()}


def named_in(text: str) -> set[str]:
    """Return the metrics that a text names, without what a histogram's samples add."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bsignetry_[a-z_]+\b", text)}


def test_every_metric_is_documented_and_nothing_else(client: TestClient, recorder: Recorder) -> None:
    assert named_in((DOCS / "monitoring.md").read_text()) == told_of(client, recorder)


def dashboard() -> Any:  # noqa: ANN401 - a document of Grafana's
    return json.loads((DOCS / "grafana" / "signetry.json").read_text())


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def test_every_metric_is_on_the_dashboard_and_nothing_else(client: TestClient, recorder: Recorder) -> None:
    assert named_in(" ".join(expressions())) == told_of(client, recorder)


def test_every_alert_names_a_metric_there_is(client: TestClient, recorder: Recorder) -> None:
    rules = (DOCS / "grafana" / "alerts.yml").read_text()
    assert named_in(rules) <= told_of(client, recorder)
    assert len(re.findall(r"^ +- alert: ", rules, re.MULTILINE)) == rules.count("summary:") == rules.count("severity:")


def test_metrics_are_named_as_prometheus_asks(client: TestClient) -> None:
    for name, family in scraped(client).items():
        assert re.fullmatch(r"signetry(_[a-z]+)+", name)
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert name.endswith("_seconds")


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    document = dashboard()
    assert document["id"] is None
    assert (document["uid"], document["title"]) == ("signetry", "Signetry")
    assert document["schemaVersion"] >= 39
    assert {item["name"]: item["type"] for item in document["templating"]["list"]}["datasource"] == "datasource"
    panels = document["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for panel in panels for target in panel.get("targets", ())]
    assert all(re.fullmatch("[A-Z]", reference) for reference in references)


def test_the_parentheses_of_every_expression_close() -> None:
    for expression in expressions():
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression
