"""OpenTelemetry's spans of runs, steps and waits, with and without Celery's instrumentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from celery_defer import (
    RetryAfter,
    defer,
    deferred,
    deferring,
    send_event,
    step,
)
from celery_defer.model import Call, Options
from celery_defer.opentelemetry import CeleryDeferInstrumentor
from celery_defer.run.tracing import TRACE, TraceHeader
from celery_defer.testing import Simulation
from tests.support.inside import Worker
from tests.support.spans import Spans, id_of, links, parent_of, trace_of, traced

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["alone", "beside-celerys"])
def spans(request: pytest.FixtureRequest) -> Iterator[Spans]:
    with traced(beside_celerys=request.param == "beside-celerys") as spans:
        yield spans


@pytest.fixture
def own() -> Iterator[Spans]:
    """Spans without Celery's instrumentation."""
    with traced() as spans:
        yield spans


@pytest.fixture
def tasks(app: Celery) -> Any:
    return Tasks(app)


class Tasks:
    def __init__(self, app: Celery) -> None:
        @deferred
        @app.task(name="receipt")
        def receipt(order_id: int) -> int:
            return order_id

        @app.task(name="order")
        def order() -> None:
            defer("the-receipt", receipt, order_id=7)

        @deferred
        @app.task(name="follow")
        def follow() -> Any:
            step.run("look", lambda: 1)
            return step.wait_for_event("bought", "purchase", timeout="7d") and "bought"

        @app.task(name="shop")
        def shop() -> None:
            defer("the-follow-up", follow)

        self.receipt, self.order, self.follow, self.shop = receipt, order, follow, shop


# -- runs ----------------------------------------------------------------------------------


def test_a_deferred_run_links_to_the_span_in_which_it_was_deferred(
    tasks: Tasks, sim: Simulation, spans: Spans
) -> None:
    sim.run(tasks.order)
    sim.drain()

    parent, child = spans["run/order"], spans["run/receipt"]
    assert links(child) == {"defer": id_of(parent)}
    assert trace_of(child) == trace_of(parent)
    assert (parent.kind, child.kind) == (SpanKind.CONSUMER, SpanKind.CONSUMER)


def test_a_deferred_runs_span_says_how_it_was_deferred(
    tasks: Tasks, sim: Simulation, spans: Spans
) -> None:
    parent = sim.run(tasks.order)
    sim.drain()

    attributes = dict(spans["run/receipt"].attributes or {})
    assert {name: value for name, value in attributes.items() if "defer" in name} == {
        "celery_defer.defer_id": "the-receipt",
        "celery_defer.when": "success",
        "celery_defer.deferred_at": sim.now.isoformat(),
        "celery_defer.parent.id": parent.id,
        "celery_defer.parent.task": "order",
        "celery_defer.depth": 1,
    }


def test_without_celerys_instrumentation_a_run_has_a_span_of_our_own(
    tasks: Tasks, sim: Simulation, own: Spans
) -> None:
    run = sim.run(tasks.order)
    sim.drain()

    parent, child = own["run/order"], own["run/receipt"]
    assert (parent_of(parent), parent_of(child)) == (None, id_of(parent))
    attributes = dict(parent.attributes or {})
    assert attributes.pop("messaging.destination.name") == sim.app.conf.task_default_queue
    assert attributes == {
        "celery.action": "run",
        "celery.task_name": "order",
        "messaging.system": "celery",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.message.id": run.id,
        "messaging.message.conversation_id": run.id,
    }


def test_the_link_names_the_span_of_the_very_call(
    app: Celery, tasks: Tasks, sim: Simulation, spans: Spans
) -> None:
    @app.task
    def careful() -> None:
        with spans.tracer.start_as_current_span("inner"):
            defer("the-receipt", tasks.receipt, order_id=7)

    sim.run(careful)
    sim.drain()

    assert links(spans["run/receipt"]) == {"defer": id_of(spans["inner"])}


def test_a_run_that_is_published_in_no_trace_is_in_that_of_its_call(
    tasks: Tasks, sim: Simulation, spans: Spans
) -> None:
    with spans.tracer.start_as_current_span("view"):
        block = deferring()
        with block:
            defer("the-receipt", tasks.receipt, order_id=7)
            # As in a relay's process, or on a commit after the view.
            outside = context.attach(context.Context())
        context.detach(outside)
    sim.drain()

    run = spans["run/receipt"]
    assert links(run) == {"defer": id_of(spans["view"])}
    assert (trace_of(run), parent_of(run)) == (trace_of(spans["view"]), id_of(spans["view"]))


def test_a_call_in_no_span_carries_nothing(tasks: Tasks, sim: Simulation, own: Spans) -> None:
    with deferring() as parent:
        defer("the-receipt", tasks.receipt, order_id=7)
    sim.drain()

    run = own["run/receipt"]
    assert (links(run), parent_of(run)) == ({}, None)
    assert dict(run.attributes or {})["celery_defer.parent.id"] == parent.id


def test_baggage_reaches_the_deferred_run(
    app: Celery, tasks: Tasks, sim: Simulation, spans: Spans
) -> None:
    seen = []

    @deferred
    @app.task
    def look() -> None:
        seen.append(baggage.get_baggage("tenant"))

    token = context.attach(baggage.set_baggage("tenant", "7"))
    with deferring():
        defer("look", look)
    context.detach(token)
    sim.drain()

    assert seen == ["7"]


def test_eager_runs_are_spans_inside_each_other(app: Celery, tasks: Tasks, spans: Spans) -> None:
    app.conf.task_always_eager = True

    tasks.order.delay()

    parent, child = spans["run/order"], spans["run/receipt"]
    assert (links(child), parent_of(child)) == ({"defer": id_of(parent)}, id_of(parent))


def test_a_span_of_our_own_shows_a_failure(app: Celery, sim: Simulation, own: Spans) -> None:
    @app.task(name="fails")
    def fails() -> None:
        raise ValueError("no")

    _ = sim.run(fails).state

    span = own["run/fails"]
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "ValueError: no",
    )
    assert [event.name for event in span.events] == ["exception"]


def test_a_failure_that_the_task_expects_is_no_error(
    app: Celery, sim: Simulation, own: Spans
) -> None:
    @app.task(name="fails", throws=(KeyError,))
    def fails() -> None:
        raise KeyError

    _ = sim.run(fails).state

    assert own["run/fails"].status.status_code is StatusCode.UNSET


def test_each_attempt_of_a_run_has_the_link(app: Celery, sim: Simulation, spans: Spans) -> None:
    @deferred
    @app.task(name="flaky", bind=True)
    def flaky(self: Any) -> None:
        if not self.request.retries:
            raise self.retry(countdown=60, exc=OSError("busy"))

    @app.task(name="parent")
    def parent() -> None:
        defer("flaky", flaky)

    sim.run(parent)
    sim.advance("1h")

    first, second = spans.all("run/flaky")
    assert links(first) == links(second) == {"defer": id_of(spans["run/parent"])}
    assert trace_of(first) == trace_of(second)
    assert dict(first.attributes or {})["celery.retry.reason"].endswith("('busy')")


def test_no_context_is_left_behind(tasks: Tasks, sim: Simulation, spans: Spans) -> None:
    before = context.get_current()

    sim.run(tasks.shop)
    sim.advance("8d")

    assert context.get_current() == before


# -- steps and waits -----------------------------------------------------------------------


def test_a_step_is_a_span_inside_the_run(tasks: Tasks, sim: Simulation, spans: Spans) -> None:
    sim.run(tasks.shop)
    sim.drain()

    assert parent_of(spans["step look"]) == id_of(spans["run/follow"])
    assert dict(spans["step look"].attributes or {}) == {
        "celery_defer.step.id": "look",
        "celery_defer.step.kind": "run",
        "celery_defer.step.try": 1,
    }


def test_a_run_that_is_woken_days_later_goes_on_in_its_trace(
    tasks: Tasks, sim: Simulation, spans: Spans
) -> None:
    sim.run(tasks.shop)
    sim.drain()
    parked = sim.now
    sim.advance("3d")
    with spans.tracer.start_as_current_span("view"):
        send_event("purchase", {"order_id": 7})
    sim.drain()

    first, second = spans.all("run/follow")
    parent = spans["run/shop"]
    assert trace_of(first) == trace_of(second) == trace_of(parent)
    assert parent_of(second) == id_of(first)
    assert links(second) == {"defer": id_of(parent), "wake": id_of(spans["view"])}
    assert dict(second.attributes or {})["celery_defer.defer_id"] == "the-follow-up"
    assert dict(second.attributes or {})["celery_defer.turn"] == 1
    wait = spans["wait bought"]
    assert (parent_of(wait), trace_of(wait)) == (id_of(first), trace_of(first))
    assert dict(wait.attributes or {}) == {
        "celery_defer.step.id": "bought",
        "celery_defer.step.kind": "wait_for_event",
        "celery_defer.wait.for": "event",
        "celery_defer.wait.event": "purchase",
    }
    assert _seconds(wait) == pytest.approx(timedelta(days=3).total_seconds(), abs=1)
    assert (wait.start_time or 0) == pytest.approx(parked.timestamp() * 1e9, abs=1e9)
    assert len(spans.all("step look")) == 1


def test_a_relay_wakes_a_run_in_its_trace(app: Celery, sim: Simulation, spans: Spans) -> None:
    @app.task(name="naps")
    def naps() -> None:
        step.sleep("nap", "2d")
        step.sleep("again", "1d")

    sim.run(naps)
    sim.advance("3d")

    first, second, third = spans.all("run/naps")
    assert trace_of(first) == trace_of(second) == trace_of(third)
    assert parent_of(second) == parent_of(third) == id_of(first)
    assert [links(turn) for turn in (first, second, third)] == [{}, {}, {}]
    assert _seconds(spans["wait nap"]) == pytest.approx(2 * 86_400, abs=1)
    assert _seconds(spans["wait again"]) == pytest.approx(86_400, abs=1)


def test_who_has_woken_a_run_is_linked_in_that_turn_alone(
    app: Celery, sim: Simulation, spans: Spans
) -> None:
    @app.task(name="waits")
    def waits() -> None:
        step.wait_for_event("bought", "purchase", timeout="7d")
        step.sleep("nap", 60)

    sim.run(waits)
    with spans.tracer.start_as_current_span("view"):
        send_event("purchase", {})
    sim.advance("1h")

    assert [links(turn).keys() for turn in spans.all("run/waits")] == [set(), {"wake"}, set()]


def test_each_try_of_a_step_is_a_span_and_the_wait_between_them(
    app: Celery, sim: Simulation, spans: Spans
) -> None:
    tries = []

    def charge() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise RetryAfter(3600)

    @app.task(name="pays")
    def pays() -> None:
        step.run("charge", charge, retries=1)

    sim.run(pays)
    sim.advance("1h")

    first, second = spans.all("step charge")
    assert [dict(span.attributes or {})["celery_defer.step.try"] for span in (first, second)] == [
        1,
        2,
    ]
    assert (first.status.status_code, second.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    assert dict(spans["wait charge"].attributes or {})["celery_defer.wait.for"] == "retry"


def test_a_retry_of_a_run_that_has_waited_does_not_repeat_its_wait(
    app: Celery, sim: Simulation, spans: Spans
) -> None:
    @app.task(name="flaky", bind=True)
    def flaky(self: Any) -> None:
        step.sleep("nap", 60)
        if not self.request.retries:
            raise self.retry(countdown=60)
        step.sleep("again", 60)

    run = sim.run(flaky)
    sim.advance("1h")

    assert (run.state, len(spans.all("run/flaky"))) == ("SUCCESS", 4)
    assert [name for name in spans.names if "wait" in name] == ["wait nap", "wait again"]


def test_an_invoked_run_links_to_its_invoker_and_wakes_it(
    app: Celery, tasks: Tasks, sim: Simulation, spans: Spans
) -> None:
    @app.task(name="asks")
    def asks() -> int:
        return step.invoke("ask", tasks.receipt, order_id=7)

    asking = sim.run(asks)
    sim.drain()

    first, second = spans.all("run/asks")
    invoked = spans["run/receipt"]
    assert asking.result == 7
    assert links(invoked) == {"defer": id_of(first)}
    assert links(second) == {"wake": id_of(invoked)}
    assert dict(spans["wait ask"].attributes or {})["celery_defer.wait.task"] == "receipt"


def test_a_step_that_fails_shows_its_error(app: Celery, sim: Simulation, own: Spans) -> None:
    @app.task
    def pays() -> None:
        def charge() -> None:
            raise ValueError("no card")

        with pytest.raises(ValueError, match="no card"):
            step.run("charge", charge)

    _ = sim.run(pays).result

    span = own["step charge"]
    assert (span.status.description, len(span.events)) == ("ValueError: no card", 1)


# -- what must not change ------------------------------------------------------------------


class Broken(SpanProcessor):
    """Raises whenever a span begins or ends."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("the tracer is broken")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("the exporter is broken")


class BrokenAtEnd(Broken):
    def on_start(self, span: Any, parent_context: Any = None) -> None: ...


@pytest.mark.parametrize("broken", [Broken, BrokenAtEnd])
def test_a_tracer_that_raises_does_not_disturb_a_run(
    tasks: Tasks, sim: Simulation, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with traced(broken()):
        parent = sim.run(tasks.shop)
        sim.drain()
        send_event("purchase", {})
        sim.drain()

    follow_up = parent.deferred["the-follow-up"].run
    assert (parent.state, follow_up.result, follow_up.steps) == ("SUCCESS", "bought", {"look": 1})
    assert "OpenTelemetry has failed" in caplog.text
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_without_it_no_message_and_no_record_carries_more(tasks: Tasks, worker: Worker) -> None:
    worker.perform(tasks.order)
    [message] = worker.published()
    call = Call("id", "task", b"[]", 0.0, Options())

    assert TRACE not in message.headers
    assert call.as_json().keys() == {"id", "task", "payload", "at", "options"}


def test_a_message_carries_the_context_in_a_header_of_its_own(
    tasks: Tasks, worker: Worker, own: Spans
) -> None:
    with traced():
        worker.perform(tasks.order)
    [message] = worker.published()

    assert message.headers[TRACE].keys() == {"call"}
    assert message.headers[TRACE]["call"].keys() == {"traceparent"}


@pytest.mark.parametrize("header", [None, 7, "x", {"call": 7}, {"wait": [], "run": None}])
def test_a_header_of_others_is_none(header: Any) -> None:
    assert TraceHeader.of({TRACE: header}) == TraceHeader()


def test_a_strange_header_does_not_disturb_a_run(
    tasks: Tasks, worker: Worker, own: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    strange = {TRACE: {"call": {"traceparent": 7}, "wait": {"retries": 0}, "run": {"x": []}}}

    result = worker.run(tasks.receipt, 7, headers=strange)

    assert result.get() == 7


def test_nothing_of_another_trace_is_left_in_the_context(
    tasks: Tasks, worker: Worker, own: Spans
) -> None:
    call = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    others = {"traceparent": f"00-{'c' * 32}-{'d' * 16}-01", "tracestate": "vendor=1"}

    worker.run(tasks.receipt, 7, headers={TRACE: {"call": call}, **others})

    span = own["run/receipt"]
    assert (parent_of(span), trace_of(span)) == (int("b" * 16, 16), int("a" * 32, 16))
    assert not span.get_span_context().trace_state


def test_without_the_extra_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import celery_defer.opentelemetry"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "pip install 'celery-defer[opentelemetry]'" in done.stderr


def test_opentelemetrys_own_command_switches_it_on(tmp_path: Path) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    [entry] = re.findall(
        r"^\[project\.(entry-points\.opentelemetry_\w+)\]\n(.+) = (.+)", project, re.M
    )
    installed = tmp_path / "celery_defer-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: celery-defer\nVersion: 0.1.0")
    group, name, value = entry[0].partition(".")[2], entry[1], entry[2].strip('"')
    (installed / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}")
    code = "from celery_defer.run import tracing; print(type(tracing()).__name__)"
    command = Path(sys.executable).with_name("opentelemetry-instrument")

    done = subprocess.run(
        [command, "--traces_exporter=none", "--metrics_exporter=none", sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == "Telemetry", done.stderr


def test_it_is_switched_off_again(tasks: Tasks, sim: Simulation) -> None:
    with traced() as spans:
        CeleryDeferInstrumentor().instrument()  # a second time: no effect
    sim.run(tasks.order)
    sim.drain()

    assert not CeleryDeferInstrumentor().is_instrumented_by_opentelemetry
    assert spans.names == []


def _seconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e9
