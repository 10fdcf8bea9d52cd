"""The authorities: their certificates, their keys."""

from collections.abc import Iterator
from datetime import timedelta

from ca import hierarchy
from ca.hierarchy import AuthorityRecord
from ca.lineage import Standing
from foundation.errors import SignetryError
from signetry.doctor.findings import Finding
from signetry.house import House

_EXPIRES_SOON = timedelta(days=90)


def authorities(house: House) -> Iterator[Finding]:
    """Look at every authority: its certificate, and whether its key opens."""
    with house.transactions.reading() as session:
        records = hierarchy.authorities(session)
        due = {record.name: house.is_reissue_due(session, record.name) for record in records}
        awaited = hierarchy.awaiting_certificate(session)
    for name in awaited:
        yield Finding(
            f"authority {name}",
            "error",
            "it has no certificate yet",
            f"have the request of signetry ca csr {name} signed by the authority above, then run signetry ca install FILE",
        )
    if not records and not awaited:
        yield Finding("authorities", "error", "there is no authority yet", "run signetry init, it goes on where it stopped")
    for record in records:
        yield _authority(house, record)
        if due[record.name]:
            yield Finding(
                f"authority {record.name}",
                "warning",
                "its certificate points at an earlier public_url",
                f"restart the service, or run signetry ca reissue {record.name}",
            )


def _authority(house: House, record: AuthorityRecord) -> Finding:
    check = f"authority {record.name}"
    if record.standing in (Standing.FORMER, Standing.RETIRED):
        return Finding(check, "ok", f"{record.standing}: another has taken its place; valid until {record.not_after:%Y-%m-%d}")
    if record.revoked_at is not None:
        return Finding(check, "error", "its certificate is revoked")
    if record.is_ours:
        try:
            house.authority(record.name)
        except SignetryError as error:
            return Finding(check, "error", str(error))
    left = record.not_after - house.clock.now()
    if left <= timedelta(0):
        return Finding(check, "error", f"its certificate expired on {record.not_after:%Y-%m-%d}", _succession(record))
    if left < _EXPIRES_SOON:
        return Finding(check, "warning", f"its certificate expires in {left.days} days", _succession(record))
    key = "key opens" if record.is_ours else "not ours"
    return Finding(check, "ok", f"{record.subject}, {record.key_algorithm}, {key}, valid until {record.not_after:%Y-%m-%d}")


def _succession(record: AuthorityRecord) -> str:
    if not record.is_ours:
        return "ask those whose it is for its successor, and install that"
    if record.issuer is None:
        return "plan a new root: nothing that it has certified outlives it"
    return f"have a successor take over: signetry ca rollover prepare {record.name} (docs/hierarchy.md)"
