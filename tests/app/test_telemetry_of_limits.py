"""Spans of the waits of runs that limits hold back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from celery_defer import Throttle, defer, deferred, step
from celery_defer.testing import Simulation
from tests.support.spans import Spans, id_of, links, parent_of, trace_of, traced


@pytest.fixture(params=["alone", "beside-celerys"])
def spans(request: pytest.FixtureRequest) -> Iterator[Spans]:
    with traced(beside_celerys=request.param == "beside-celerys") as spans:
        yield spans


@pytest.fixture
def order(app: Celery) -> Any:
    """A task that defers two runs, of which one a minute may start; each sleeps for an hour."""

    @deferred(app, name="sync", throttle=Throttle(1, "1m"))
    def sync() -> None:
        step.sleep("nap", "1h")

    @app.task(name="order")
    def order() -> None:
        defer("one", sync)
        defer("two", sync)

    return order


def seconds(span: Any) -> float:
    return float(span.end_time - span.start_time) / 1e9


def test_the_wait_of_a_held_run_is_a_span_in_the_trace_of_its_call(
    order: Any, sim: Simulation, spans: Spans
) -> None:
    sim.run(order)
    sim.drain()
    assert spans.all("wait for throttle") == []
    sim.advance("2m")

    wait, parent = spans["wait for throttle"], spans["run/order"]
    first, second = spans.all("run/sync")
    assert dict(wait.attributes or {}) == {"celery_defer.wait.limit": "throttle"}
    assert seconds(wait) == pytest.approx(60, abs=2)
    assert {trace_of(span) for span in (wait, first, second)} == {trace_of(parent)}
    assert links(second)["defer"] == id_of(parent)


def test_after_its_start_a_held_run_goes_on_in_its_own_span(
    order: Any, sim: Simulation, spans: Spans
) -> None:
    sim.run(order)
    sim.drain()
    sim.advance("3h")

    _, second, *turns = spans.all("run/sync")
    naps = spans.all("wait nap")
    assert [seconds(nap) for nap in naps] == pytest.approx([3_600, 3_600], abs=2)
    assert parent_of(naps[1]) == id_of(second)
    assert parent_of(turns[1]) == id_of(second)
