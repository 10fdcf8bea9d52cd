"""Nothing that is looked at all the time is read from end to end: what takes no time today would take a second next year.

SQLite is asked how it would go about each statement that the worker's jobs and an enrolment run. Of a table without statistics it
assumes a million rows.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry
from starlette.testclient import TestClient

from scep import client, message
from scep.algorithms import Cipher, Digest, Suite
from scep.cms import read_certificates
from scep.message import MessageType, PkiStatus
from signetry.app import public_app
from signetry.assembly import jobs, web_parts
from signetry.house import House
from tests.signetry.installation import Commands, opened

# Those that hold a row for every certificate, person, event or mail there ever was; the others stay small.
GROWING = {
    "archived_certificate",
    "archived_key",
    "audit_event",
    "certificate",
    "delivered_key",
    "device",
    "imported_file",
    "key_delivery",
    "ldap_owed_entry",
    "ldap_published_value",
    "mail_address",
    "owed_notice",
    "person",
    "pushed_pfx",
    "scep_challenge",
    "scep_enrolment",
}
# Partial indexes: they hold what waits, and nothing that was.
SMALL_INDEXES = {"ix_scep_enrolment_withheld"}
SCAN = re.compile(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?")


def scans(home: Path, statements: list[str]) -> list[str]:
    """Return those of ``statements`` that read a growing table whole, each with how."""
    found = []
    with closing(sqlite3.connect(home / "signetry.db")) as connection:
        for statement in dict.fromkeys(statements):
            if statement.split(maxsplit=1)[0].upper() not in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}:
                continue
            for _, _, _, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
                scan = SCAN.match(step)
                if scan and scan[1] in GROWING and scan[2] not in SMALL_INDEXES:
                    found.append(f"{step}: {statement}")
    return found


def traced(house: House) -> list[str]:
    """Return a list that takes up every statement run from now on."""
    statements: list[str] = []

    def trace(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        connection.set_trace_callback(statements.append)

    for name in ("_reader", "_writer"):
        engine: Engine = getattr(house.database, name)
        engine.dispose()
        event.listen(engine, "connect", trace)
    return statements


def test_a_statement_that_reads_a_growing_table_whole_is_found(installed_home: Path) -> None:
    whole, one = "SELECT id FROM certificate WHERE subject = 'x'", "SELECT subject FROM certificate WHERE id = 1"
    (found,) = scans(installed_home, [whole, one])
    assert found.startswith("SCAN certificate")


def test_the_jobs_of_a_worker_at_rest_read_no_growing_table_whole(installed_home: Path) -> None:
    with opened() as house:
        # The others are done by the hour, whatever happens.
        looking = [job for job in jobs(house) if job.next_due is not None]
        for job in looking:
            job.run()
        statements = traced(house)
        for job in looking:
            assert job.next_due is not None
            with house.database.reading() as session:
                job.next_due(session)
            job.run()
    assert statements
    assert scans(installed_home, statements) == []


def test_an_enrolment_reads_no_growing_table_whole(installed_home: Path, commands: Commands, rsa_key: rsa.RSAPrivateKey) -> None:
    commands.text("person", "add", "--upn", "alice@example.com", "--email", "alice@example.com")
    challenge = commands.text("challenge", "create", "--upn", "alice@example.com").strip()
    signer = client.throwaway_signer(rsa_key, client.named("phone"))
    with opened() as house:
        parts = web_parts(house)
        statements = traced(house)
        with TestClient(public_app(parts)) as http:
            found = http.get("/scep/default?operation=GetCACert").content
            request = message.build_request(
                signer,
                x509.load_der_x509_certificate(read_certificates(found)[0]),
                client.build_csr(rsa_key, "phone", challenge).public_bytes(Encoding.DER),
                message_type=MessageType.PKCS_REQ,
                transaction_id="1",
                sender_nonce=message.new_nonce(),
                suite=Suite(digest=Digest.SHA256, cipher=Cipher.AES128),
            )
            answer = http.post("/scep/default?operation=PKIOperation", content=request)
        parts.stop()
    assert message.parse(answer.content).pki_status == PkiStatus.SUCCESS
    assert any("scep_challenge" in statement for statement in statements)
    assert scans(installed_home, statements) == []
