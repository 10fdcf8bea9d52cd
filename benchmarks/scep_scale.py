"""What a store that is full costs an enrolment: rates beside an empty one, on SQLite and on PostgreSQL.

    python -m benchmarks.scep_scale [--certificates 1000000] [--requests N] [--rounds 3] [--databases sqlite,postgresql]

The full store holds that many certificates with everything an enrolment leaves behind: its answer for retries, its spent
challenge, its audit event; ten certificates to a person. Both installations are served one after the other in each round, the
other way round in every second one.
"""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from urllib.parse import quote

from sqlalchemy import Connection, Table, func, select, text

from audit.records import AuditEvent
from benchmarks import load
from benchmarks.crowd import opened_house
from benchmarks.scep_requests import Requests
from benchmarks.scep_servers import initialised, serving
from ca.records import Certificate
from foundation.tables import table_of
from scep.records import Challenge, Enrolment
from tests.postgresql import running_cluster

_CERTIFICATE, _ENROLMENT, _CHALLENGE, _AUDIT_EVENT = (
    table_of(Certificate),
    table_of(Enrolment),
    table_of(Challenge),
    table_of(AuditEvent),
)
_CONNECTIONS = 16
# Whatever must be different in every row.
_RANDOM = {
    "sqlite": "lower(hex(randomblob({bytes})))",
    "postgresql": "substr(md5(random()::text) || md5(random()::text), 1, 2 * {bytes})",
}
_SERIES = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i FROM n) AS n",
    "postgresql": "generate_series(1, :count) AS n(i)",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificates", type=int, default=1_000_000, help="certificates in the full store")
    parser.add_argument("--requests", type=int, default=2000, help="requests in each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs with each store; the median counts")
    parser.add_argument("--databases", default="sqlite,postgresql", help="which databases to measure with")
    arguments = parser.parse_args()
    requests = Requests()
    print("database     certificates   rate/s  of empty  failed")
    for database in arguments.databases.split(","):
        with (
            _databases(database) as (empty_url, full_url),
            initialised("rsa2048", empty_url) as empty,
            initialised("rsa2048", full_url) as full,
        ):
            # What is copied a million times is the record of a real enrolment.
            for environment in (empty, full):
                _rate(environment, requests, 1)
            with opened_house(Path(full["SIGNETRY_HOME"]), full_url) as house, house.database.engine.begin() as connection:
                fill(connection, arguments.certificates)
            runs: dict[int, list[load.Outcome]] = {0: [], arguments.certificates: []}
            for number in range(arguments.rounds):
                order = [(0, empty), (arguments.certificates, full)]
                for certificates, environment in order if number % 2 == 0 else reversed(order):
                    runs[certificates].append(_rate(environment, requests, arguments.requests))
        of_empty = median(outcome.rate for outcome in runs[0])
        for certificates, outcomes in runs.items():
            rate = median(outcome.rate for outcome in outcomes)
            failed = sum(outcome.failed for outcome in outcomes)
            print(f"{database:<12} {certificates:>12} {rate:>8.0f} {rate / of_empty:>9.2f} {failed:>7}", flush=True)


def fill(connection: Connection, count: int) -> None:
    """Copy the newest enrolment ``count`` times over, with other serial numbers, keys and persons, in one transaction."""
    random = {size: _RANDOM[connection.dialect.name].format(bytes=size) for size in (16, 32)}
    _copy(connection, _CERTIFICATE, count, serial=random[16], spki_sha256=random[32], person_id="t.id + n.i / 10")
    _copy(connection, _ENROLMENT, count, retry_key=random[32], certificate_id="t.certificate_id + n.i")
    _copy(connection, _CHALLENGE, count, digest=random[32], certificate_id="t.certificate_id + n.i")
    _copy(connection, _AUDIT_EVENT, count)
    if connection.dialect.name == "postgresql":
        for table in (_CERTIFICATE, _ENROLMENT, _CHALLENGE, _AUDIT_EVENT):
            highest = select(func.max(table.c.id)).scalar_subquery()
            connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), highest)))
    # PostgreSQL's autovacuum would do that sooner or later, in the middle of a run.
    connection.execute(text("ANALYZE"))


def _copy(connection: Connection, table: Table, count: int, **different: str) -> None:
    columns = [column.name for column in table.columns]
    different.setdefault("id", "t.id + n.i")
    values = ", ".join(different.get(name, f"t.{name}") for name in columns)
    statement = (
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {values} "  # noqa: S608 - nothing of it is given from outside
        f"FROM {table.name} AS t CROSS JOIN {_SERIES[connection.dialect.name]} "
        f"WHERE t.id = (SELECT max(id) FROM {table.name})"
    )
    connection.execute(text(statement), {"count": count})


def _rate(environment: dict[str, str], requests: Requests, count: int) -> load.Outcome:
    with serving(environment) as served:
        return load.run(served.url, served.requests(requests, count), _CONNECTIONS)


@contextlib.contextmanager
def _databases(kind: str) -> Iterator[tuple[str, str]]:
    """Yield the URLs of two databases, empty ones for the installation's own SQLite."""
    if kind == "sqlite":
        yield "", ""
        return
    with running_cluster(careful=True) as cluster:
        yield _written(cluster.create("empty").render_as_string()), _written(cluster.create("full").render_as_string())


def _written(url: str) -> str:
    """Return a URL as an environment variable takes it."""
    return quote(url, safe=":/?=@&%+,")


if __name__ == "__main__":
    main()
