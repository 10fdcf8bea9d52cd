"""The worker process: does what is due until it is told to stop. Started by the supervisor, never by hand."""

import argparse
import signal

import structlog

from audit.log import Actor
from signetry import assembly, logging
from signetry.child import die_with_parent
from signetry.house import open_house
from signetry.jobs import Worker
from signetry.metrics.recording import Recorder
from signetry.settings import load_settings

_log = structlog.get_logger("signetry.worker")


def _wait_for_stop(seconds: float) -> bool:
    """Wait so long; return whether SIGTERM or SIGINT came. Both are blocked, so none is lost and none interrupts a job."""
    return signal.sigtimedwait((signal.SIGTERM, signal.SIGINT), seconds) is not None


def main() -> None:
    """Run the worker."""
    parser = argparse.ArgumentParser(prog="signetry.worker")
    parser.add_argument("--parent", type=int, required=True)
    die_with_parent(parser.parse_args().parent)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    settings = load_settings()
    logging.configure(settings.log_level, settings.log_format)
    # The jobs' threads hand their writes to one that commits, instead of waiting for SQLite's lock beside each other.
    instruments = Recorder(settings, "worker").instruments
    house = open_house(settings, actor=Actor("worker"), grouped=True, instruments=instruments)
    try:
        _log.info("worker ready")
        Worker(assembly.jobs(house), house.database, house.clock, observer=instruments.job).run(_wait_for_stop)
    finally:
        house.close()


if __name__ == "__main__":
    main()
