"""What the processes count as they work.

Names and labels are those of docs/monitoring.md. No label takes what a peer has sent: endpoints, listeners, roles and jobs are
known names, and a request for anything else counts under none.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from scep.errors import FailInfo
from scep.observation import Ending, Outcome
from signetry.instruments import Instruments
from signetry.jobs import JobRun
from signetry.metrics import files
from signetry.settings import Settings

_SCEP_OPERATIONS = ("GetCACaps", "GetCACert", "GetNextCACert", "PKIOperation")
_FAIL_INFO = {
    FailInfo.BAD_ALG: "badAlg",
    FailInfo.BAD_MESSAGE_CHECK: "badMessageCheck",
    FailInfo.BAD_REQUEST: "badRequest",
    FailInfo.BAD_TIME: "badTime",
    FailInfo.BAD_CERT_ID: "badCertId",
    None: "",
}
_KEY_OPERATIONS = ("ca-sign", "ra-decrypt", "ra-sign")
_LISTENERS = ("public", "device", "admin")
_STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")

# An enrolment takes milliseconds, and seconds when the disk or the machine is busy.
_ENROLMENT_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A signature with an elliptic curve takes tens of microseconds, one with a long RSA key milliseconds, in an HSM tens of them.
_KEY_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
# From a batch that finds nothing to a directory that does not answer.
_JOB_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Recorder:
    """The counters of one process.

    Args:
        settings: of which the endpoints' names are taken.
        process: the child's name, under which its counters outlive it while the service runs.
    """

    def __init__(self, settings: Settings, process: str) -> None:
        self._directory = files.share(process, os.environ)
        self._registry = CollectorRegistry()
        self._scep = _ScepRecorder(self._registry, settings)
        self._jobs = _JobRecorder(self._registry)
        self._keys = Histogram(
            "signetry_private_key_operation_seconds",
            "Time that one use of a private key takes; ca-sign certificates and CRLs, ra-decrypt and ra-sign SCEP messages.",
            ["operation"],
            registry=self._registry,
            buckets=_KEY_BUCKETS,
        )
        self._key_operations = {name: self._keys.labels(name) for name in _KEY_OPERATIONS}
        self._responses = Counter(
            "signetry_http_requests_total",
            "HTTP requests, by listener and class of the status; none where no response was sent.",
            ["listener", "status"],
            registry=self._registry,
        )
        self._api = Counter(
            "signetry_api_requests_total",
            "Requests to the API, by the role of the token, none where there was no good one, and the class of the status.",
            ["role", "status"],
            registry=self._registry,
        )
        for listener in _LISTENERS:
            for status in _STATUS_CLASSES:
                self._responses.labels(listener, status)

    @property
    def instruments(self) -> Instruments:
        """What to hand to those who work."""
        return Instruments(
            scep=self._scep,
            key_operation=lambda operation, seconds: self._key_operations[operation].observe(seconds),
            response=lambda listener, status: self._responses.labels(listener, _class_of(status)).inc(),
            api_request=lambda role, status: self._api.labels(role, _class_of(status)).inc(),
            job=self._jobs,
            recorded=self.collect,
        )

    def collect(self) -> Iterable[Metric]:
        """Return what was recorded: by all processes of the service, or by this one where there is no service."""
        if self._directory is None:
            return self._registry.collect()
        return _of_all(self._directory)


class _ScepRecorder:
    """``scep.observation.ScepObserver``, counting."""

    def __init__(self, registry: CollectorRegistry, settings: Settings) -> None:
        requests = Counter(
            "signetry_scep_requests_total",
            "SCEP requests to the configured endpoints, by operation.",
            ["endpoint", "operation"],
            registry=registry,
        )
        self._enrolments = Counter(
            "signetry_enrolments_total",
            "PKIOperation requests, by what became of them; profile is the issued certificate's, fail_info a refusal's.",
            ["endpoint", "outcome", "profile", "fail_info"],
            registry=registry,
        )
        self._seconds = Histogram(
            "signetry_enrolment_seconds",
            "Time from a whole PKIOperation request to its answer.",
            ["endpoint", "outcome"],
            registry=registry,
            buckets=_ENROLMENT_BUCKETS,
        )
        # Made once, by what they are for: finding a child by its labels costs more than counting.
        self._requests = {
            (endpoint, operation): requests.labels(endpoint, operation)
            for endpoint in settings.endpoints
            for operation in _SCEP_OPERATIONS
        }
        self._children: dict[tuple[str, Ending], tuple[Counter, Histogram]] = {}
        for endpoint, configured in settings.endpoints.items():
            for outcome in Outcome:
                self._seconds.labels(endpoint, outcome.value)
            for profile in configured.profiles:
                self._enrolments.labels(endpoint, Outcome.ISSUED.value, profile, "")
            for fail_info in filter(None, _FAIL_INFO.values()):
                self._enrolments.labels(endpoint, Outcome.REFUSED.value, "", fail_info)
            self._enrolments.labels(endpoint, Outcome.LIMITED.value, "", _FAIL_INFO[FailInfo.BAD_REQUEST])
            for outcome in (Outcome.ANSWERED, Outcome.PENDING, Outcome.LIMITED, Outcome.UNAVAILABLE, Outcome.FAILED):
                self._enrolments.labels(endpoint, outcome.value, "", "")

    def requested(self, endpoint: str, operation: str) -> None:
        """Count an operation."""
        self._requests[endpoint, operation].inc()

    def ended(self, endpoint: str, ending: Ending, seconds: float) -> None:
        """Count an ending."""
        children = self._children.get((endpoint, ending))
        if children is None:
            children = self._children[endpoint, ending] = self._children_of(endpoint, ending)
        counter, histogram = children
        counter.inc()
        histogram.observe(seconds)

    def _children_of(self, endpoint: str, ending: Ending) -> tuple[Counter, Histogram]:
        outcome, fail_info = ending.outcome.value, _FAIL_INFO[ending.fail_info]
        counter = self._enrolments.labels(endpoint, outcome, ending.profile or "", fail_info)
        return counter, self._seconds.labels(endpoint, outcome)


class _JobRecorder:
    """``signetry.jobs.JobObserver``, counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "signetry_job_runs_total", "Batches that the worker's jobs have run.", ["job", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "signetry_job_seconds", "Time that a batch of a job takes.", ["job"], registry=registry, buckets=_JOB_BUCKETS
        )
        self._last_success = Gauge(
            "signetry_job_last_success_timestamp_seconds",
            "When a batch of a job last came to its end without a failure, in seconds since 1970.",
            ["job"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def __call__(self, run: JobRun) -> None:
        self._runs.labels(run.job, "succeeded" if run.succeeded else "failed").inc()
        self._seconds.labels(run.job).observe(run.seconds)
        if run.succeeded:
            self._last_success.labels(run.job).set_to_current_time()


def _class_of(status: int) -> str:
    return f"{status // 100}xx" if status else "none"


def _of_all(directory: Path) -> Iterable[Metric]:
    collector = MultiProcessCollector(None, str(directory))  # type: ignore[no-untyped-call]
    collected: Iterable[Metric] = collector.collect()  # type: ignore[no-untyped-call]
    return collected
