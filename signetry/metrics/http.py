"""``/metrics`` on the administrative listener, for Prometheus: numbers, and names from the configuration.

It answers without a token: Prometheus asks every few seconds, and what it learns is no secret to those who reach this listener.
In the text format, or in OpenMetrics where the request accepts that.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from signetry.house import House
from signetry.metrics.state import StateCollector


class _Recorded(Collector):
    """What the processes have recorded."""

    def __init__(self, house: House) -> None:
        self._recorded = house.instruments.recorded

    def collect(self) -> Iterable[Metric]:
        """Return it."""
        return self._recorded()


def metrics_routes(house: House) -> Sequence[BaseRoute]:
    """Return the route of ``/metrics``."""
    registry = CollectorRegistry()
    registry.register(_Recorded(house))
    registry.register(StateCollector(house))

    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # As a header, not a media type: Starlette would add a second charset.
        return Response(encode(registry), headers={"content-type": content_type})

    return [Route("/metrics", metrics, methods=["GET"])]
