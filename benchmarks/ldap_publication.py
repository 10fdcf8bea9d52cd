"""Publication to OpenLDAP while others enrol: both rates beside each alone, and beside ``ldapmodify`` fed the same changes.

    python -m benchmarks.ldap_publication [--persons N] [--enrolments M] [--connections C]

All in one run, on the same processors, because only the ratios mean anything:

1. M persons enrol over SCEP in a service that knows no directory;
2. N persons have been certified while the service was down; it starts and publishes them and the M, and nobody enrols;
3. another N likewise, and M more enrol from the moment the service is ready;
4. the changes of step 3 as LDIF, by one ``ldapmodify``, to another slapd with the same entries.

The certificates of the N are made by the functions of an enrolment, without SCEP. The store is SQLite and slapd's
database mdb, both waiting for the disk as by default; connections are StartTLS on loopback. ``ldapmodify`` writes what it is
told; the service searches each entry before, and keeps its own books. Step 3 publishes the M as well.
"""

import argparse
import base64
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import col, func, select

from benchmarks import crowd, load
from benchmarks.running import free_port, signetry_environment, started, wait_for
from benchmarks.scep_requests import Requests
from ca.authorisation import CaName, PersonId
from ca.records import Certificate
from ldap_publish.records import OwedEntry
from signetry.house import House
from tests.daemons.directories.directory import Site
from tests.daemons.directories.openldap import running_openldap
from tests.daemons.directories.tls import TestAuthority

_POLL_SECONDS = 0.05
_DIRECTORY = "main"


@dataclass(frozen=True, slots=True)
class Together:
    """Step 3: enrolments a second, and entries a second while they went on and over all."""

    enrolments: float
    failed: int
    entries_meanwhile: float
    entries: float


class Installation:
    """A ``signetry`` in ``home`` that is started and stopped between the steps."""

    def __init__(self, home: Path) -> None:
        self._home = home
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self._environment = signetry_environment(home, public_port=port)
        self._requests = Requests()
        command = ["signetry", "init", "--ca-key", "p256", "--public-url", self._url]
        subprocess.run(command, env=self._environment, check=True, capture_output=True)

    def configure(self, section: str) -> None:
        """Append to the settings."""
        with (self._home / "signetry.toml").open("a") as file:
            file.write(section)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve while the block runs; yield where to enrol."""
        with started(["signetry", "serve"], self._environment) as process:
            wait_for(f"{self._url}/readyz", process)
            yield f"{self._url}/scep/default"

    def house(self) -> AbstractContextManager[House]:
        """Open the installation beside the service, if that runs."""
        return crowd.opened_house(self._home)

    def requests(self, house: House, persons: Mapping[str, PersonId]) -> list[bytes]:
        """Return a valid request for each person."""
        ra = house.authorities.endpoint_keys(CaName("issuing")).ra[0].certificate
        return self._requests.make(ra, crowd.challenges(house, persons.values()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=10_000, help="N: persons published alone, and as many while others enrol")
    parser.add_argument("--enrolments", type=int, default=1_000, help="M: enrolments alone, and as many during publication")
    parser.add_argument("--connections", type=int, default=8, help="of the load generator")
    arguments = parser.parse_args()
    numbers = range(arguments.persons)
    enrolling = range(arguments.enrolments)
    alone = [f"alone-{number}" for number in numbers]
    together = [f"together-{number}" for number in numbers]
    newcomers = [f"newcomer-{number}" for number in enrolling]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = TestAuthority(folder / "tls")
        installation = Installation(folder / "home")

        early = _people(installation, [f"early-{number}" for number in enrolling])
        with installation.house() as house:
            requests = installation.requests(house, early)
        with installation.serving() as url:
            enrolled = load.run(url, requests, arguments.connections)

        site = stack.enter_context(_directory(folder / "directory", authority, [*early, *alone, *together, *newcomers]))
        installation.configure(site.settings(_DIRECTORY))
        _people(installation, alone, certified=True)
        published = _publish(installation)

        persons = _people(installation, together, certified=True)
        late = _people(installation, newcomers)
        both = _publish_while(installation, late, arguments.connections)

        changes = _as_ldif(installation, site, persons)
        other = stack.enter_context(_directory(folder / "other", authority, together))
        fed = arguments.persons / _ldapmodify(other, changes)
        missing = sum(
            len(site.certificates(name)) != 1 for name in (alone[0], alone[-1], together[0], together[-1], newcomers[-1])
        )

    print(f"{arguments.persons} persons, {arguments.enrolments} enrolments over {arguments.connections} connections")
    print(
        f"enrolments/s    without a directory {enrolled.rate:.0f}, during publication {both.enrolments:.0f}"
        f" ({both.enrolments / enrolled.rate:.2f}); failed {enrolled.failed} and {both.failed}"
    )
    print(
        f"entries/s       alone {published:.0f}, while others enrol {both.entries_meanwhile:.0f}"
        f" ({both.entries_meanwhile / published:.2f}), over all of it {both.entries:.0f}"
    )
    print(f"ldapmodify/s    {fed:.0f}; publication alone is {published / fed:.2f} of it")
    if missing:
        raise SystemExit("entries without their certificate: nothing of the above counts")


def _people(installation: Installation, names: Sequence[str], *, certified: bool = False) -> dict[str, PersonId]:
    with installation.house() as house:
        persons = crowd.add_persons(house, names)
        if certified:
            crowd.certify(house, persons)
    return persons


def _publish(installation: Installation) -> float:
    """Return entries a second from the moment the service is ready until nothing is owed any more."""
    with installation.house() as house:
        house.directories.take_note()
        began, left = time.perf_counter(), _owed(house)
        with installation.serving():
            # The worker begins before the web processes are ready. So few that it has done by then are no measurement.
            if waiting := _owed(house):
                began, left = time.perf_counter(), waiting
            while _owed(house):
                time.sleep(_POLL_SECONDS)
            return left / (time.perf_counter() - began)


def _publish_while(installation: Installation, late: Mapping[str, PersonId], connections: int) -> Together:
    with installation.house() as house:
        requests = installation.requests(house, late)
        with installation.serving() as url, ThreadPoolExecutor(1) as executor:
            began, left = time.perf_counter(), _owed(house)
            enrolling = executor.submit(load.run, url, requests, connections)
            while not enrolling.done():
                time.sleep(_POLL_SECONDS)
            # What the newcomers are owed came on top.
            meanwhile = (left + len(requests) - _owed(house)) / (time.perf_counter() - began)
            while _owed(house):
                time.sleep(_POLL_SECONDS)
            overall = (left + len(requests)) / (time.perf_counter() - began)
    return Together(enrolling.result().rate, enrolling.result().failed, meanwhile, overall)


def _owed(house: House) -> int:
    """Return how many entries something is owed to."""
    with house.transactions.reading() as session:
        return session.exec(select(func.count()).select_from(OwedEntry).where(col(OwedEntry.owed_since).is_not(None))).one()


@contextmanager
def _directory(folder: Path, authority: TestAuthority, names: Sequence[str]) -> Iterator[Site]:
    """Run a slapd that has an entry for each name."""
    folder.mkdir()
    tls = authority.issue(folder.name, "127.0.0.1")
    with running_openldap(folder, tls, durable=True, audited=False) as server:
        site = server.site("benchmark")
        entries = "\n".join(f"dn: {site.dn(name)}\n{server.person_ldif(name, f'{name}@{crowd.DOMAIN}')}" for name in names)
        server.stop()
        subprocess.run(["slapadd", "-q", "-f", folder / "slapd.conf"], input=entries.encode(), check=True, capture_output=True)
        server.start()
        yield site


def _as_ldif(installation: Installation, site: Site, persons: Mapping[str, PersonId]) -> bytes:
    """Return the additions that publishing ``persons`` comes to."""
    with installation.house() as house, house.transactions.reading() as session:
        columns = select(col(Certificate.person_id), col(Certificate.der))
        certificates = dict(session.exec(columns.where(col(Certificate.person_id).is_not(None))).all())
    records = [
        f"dn: {site.dn(name)}\nchangetype: modify\nadd: userCertificate;binary\n"
        f"userCertificate;binary:: {base64.b64encode(certificates[number]).decode()}\n"
        for name, number in persons.items()
    ]
    return "\n".join(records).encode()


def _ldapmodify(site: Site, changes: bytes) -> float:
    """Return the seconds that ``ldapmodify`` takes, over StartTLS as the service does."""
    server = site.directory
    command = ["ldapmodify", "-x", "-ZZ", "-H", server.url, "-D", server.writer.dn, "-y", str(server.password_file)]
    began = time.perf_counter()
    subprocess.run(
        command, input=changes, check=True, capture_output=True, env={**os.environ, "LDAPTLS_CACERT": str(server.tls.ca)}
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
