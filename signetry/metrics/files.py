"""The files through which the processes of one service share what they count: ``run/metrics`` in the state directory.

Each child has its own, named after its place (``web-0``, ``worker``) and not after its process id: the successor of a child that
was killed goes on counting where that one stopped, no counter goes backwards, and no files pile up. They are emptied when the
service starts.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import structlog
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from signetry.server import METRICS_VARIABLE

_KINDS = ("counter", "histogram", "gauge_mostrecent")
# Written in advance, some ten times what is ever used: a process that maps a file with holes is killed when the disk is full.
_BYTES = 1 << 18

_log = structlog.get_logger("signetry.metrics")


def share(process: str, environment: Mapping[str, str]) -> Path | None:
    """Let every metric made from now on count in the files of the child ``process``; return their directory.

    None where the service has named no directory, or it cannot be used: then this process counts for itself.
    """
    named = environment.get(METRICS_VARIABLE)
    if not named:
        return None
    directory = Path(named)
    try:
        for kind in _KINDS:
            _prepare(directory / f"{kind}_{process}.db")
    except OSError as error:
        _log.warning("this process is left out of the metrics", process=process, reason=str(error))
        return None
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]
    return directory


def _prepare(path: Path) -> None:
    """See to it that a file is there, all of it on the disk, and can be read."""
    try:
        list(MmapedDict.read_all_values_from_file(str(path)))  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever a broken file looks like
        _log.warning("a file of metrics was damaged, its counters begin anew", file=path.name, reason=repr(error))
        path.unlink()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _BYTES)
    finally:
        os.close(descriptor)
