"""Microsoft Graph against the strict tenant: pages, pauses, outages and refusals."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from intune.calls import Calls
from intune.errors import AccessRefused, GraphRefused, IntuneUnavailable, Throttled
from intune.graph import Graph
from intune.tenant import Tenant
from intune.tokens import Tokens
from intune.transport import Transport
from tests.intune.server import Cloud, Reply
from tests.intune.tenants import PassingTicker

PATH = "servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints"
Opens = Callable[[float], Graph]


@pytest.fixture
def graph(tenant: Tenant, transport: Transport) -> Opens:
    """Return Graph as somebody of this patience sees it."""

    def opened(patience: float) -> Graph:
        calls = Calls(transport, Tokens(tenant, transport))
        return Graph(tenant, calls, transport.ticker, version="v1.0", patience_seconds=patience)

    return opened


def page(values: list[Any], following: object = None) -> Reply:
    link = {} if following is None else {"@odata.nextLink": following}
    return Reply(body=json.dumps({"value": values, **link}).encode())


def refusal(status: int, **error: object) -> Reply:
    return Reply(status, json.dumps({"error": error}).encode())


def test_pages_are_followed_to_the_last(cloud: Cloud, graph: Opens) -> None:
    cloud.answer("discovery", page([{"n": 1}], f"{cloud.url}/v1.0/{PATH}?"))
    listed = list(graph(0).listed(PATH))
    assert listed[0] == {"n": 1}
    assert listed[1:] == cloud.endpoints


@pytest.mark.parametrize("elsewhere", ["https://192.0.2.1/v1.0/x", "http://127.0.0.1/v1.0/x", "/v1.0/x", 7, "{url}/beta/x"])
def test_a_next_page_elsewhere_gets_no_token(cloud: Cloud, graph: Opens, elsewhere: object) -> None:
    link = elsewhere.format(url=cloud.url) if isinstance(elsewhere, str) else elsewhere
    cloud.answer("discovery", page([{"n": 1}], link))
    with pytest.raises(IntuneUnavailable, match="next page"):
        list(graph(0).listed(PATH))


def test_pages_that_lead_back_have_an_end(cloud: Cloud, graph: Opens) -> None:
    cloud.answer("discovery", page([{"n": 1}], f"{cloud.url}/v1.0/{PATH}"))
    with pytest.raises(IntuneUnavailable, match="next page"):
        list(graph(0).listed(PATH))


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"value": {}}', b'{"value": [1]}', b"{"])
def test_what_is_no_list_is_no_answer(cloud: Cloud, graph: Opens, body: bytes) -> None:
    cloud.answer("discovery", Reply(body=body))
    with pytest.raises(IntuneUnavailable):
        list(graph(0).listed(PATH))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"x-ms-retry-after-ms": "30500"}, 30.5),
        ({}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:27:00 GMT"}, 60.0),
    ],
)
def test_a_pause_is_as_long_as_graph_asks_for(
    cloud: Cloud, graph: Opens, ticker: PassingTicker, headers: dict[str, str], seconds: float
) -> None:
    cloud.answer("discovery", Reply(429, headers=headers))
    assert list(graph(600).listed(PATH)) == cloud.endpoints
    assert sum(ticker.waits) == pytest.approx(seconds)


def test_nobody_waits_longer_than_they_are_patient(cloud: Cloud, graph: Opens, ticker: PassingTicker) -> None:
    cloud.answer("discovery", Reply(429, headers={"retry-after": "120"}))
    with pytest.raises(Throttled) as throttled:
        list(graph(100).listed(PATH))
    assert throttled.value.seconds == pytest.approx(120)
    # What was asked for holds for the next one, too.
    with pytest.raises(Throttled):
        list(graph(0).listed(PATH))
    assert ticker.waits == []


def test_an_outage_is_tried_again_a_few_times(cloud: Cloud, graph: Opens, ticker: PassingTicker) -> None:
    cloud.answer("discovery", Reply(500), Reply(502, b"<html>"), Reply(503))
    assert list(graph(600).listed(PATH)) == cloud.endpoints
    assert ticker.waits == [1.0, 4.0, 15.0]
    cloud.answer("discovery", *[Reply(504)] * 4)
    with pytest.raises(IntuneUnavailable, match="504"):
        list(graph(600).listed(PATH))


def test_without_patience_an_outage_is_told_at_once(cloud: Cloud, graph: Opens, ticker: PassingTicker) -> None:
    cloud.answer("discovery", Reply(500))
    with pytest.raises(IntuneUnavailable, match="500"):
        list(graph(0).listed(PATH))
    assert ticker.waits == []


def test_a_token_that_is_refused_is_replaced_once(cloud: Cloud, graph: Opens) -> None:
    opened = graph(0)
    list(opened.listed(PATH))
    cloud.revoke_tokens()
    assert list(opened.listed(PATH)) == cloud.endpoints
    assert len(cloud.logons) == 2


def test_a_missing_permission_is_not_tried_again(cloud: Cloud, graph: Opens, ticker: PassingTicker) -> None:
    cloud.answer("discovery", refusal(403, code="Forbidden", message="no"))
    with pytest.raises(AccessRefused, match="403"):
        list(graph(600).listed(PATH))
    assert ticker.waits == []


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (refusal(400, code="BadRequest", message="the value of x"), r" \(BadRequest\)"),
        (refusal(409, code="Conflict"), r" \(Conflict\)"),
        (refusal(404, code="<script>" * 20), ""),
        (refusal(400, code={"a": 1}), ""),
        (Reply(400, b'{"error": "x"}'), ""),
        (Reply(410, b"<html>"), ""),
        (Reply(400, b"[" * 100_000), ""),
    ],
)
def test_a_refusal_is_final_and_says_its_code_alone(cloud: Cloud, graph: Opens, reply: Reply, code: str) -> None:
    cloud.answer("discovery", reply)
    with pytest.raises(GraphRefused, match=rf"HTTP {reply.status}{code}$") as refused:
        list(graph(600).listed(PATH))
    assert refused.value.status == reply.status
    assert "value of x" not in str(refused.value)


def test_what_is_not_there_is_nothing_to_get_and_nothing_to_delete(cloud: Cloud, graph: Opens) -> None:
    assert graph(0).get("nothing") is None
    assert not graph(0).delete("nothing")
    with pytest.raises(GraphRefused, match="404"):
        graph(0).update("nothing", {})
    assert len(cloud.violations) == 3
    cloud.violations.clear()
