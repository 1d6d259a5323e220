"""OpenTelemetry's spans of runs, of their steps and of their waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

from celery.exceptions import TaskPredicate
from celery.signals import task_failure, task_retry
from opentelemetry import _logs, context, propagate, trace
from opentelemetry.trace import Span, SpanKind

from celery_defer import guard
from celery_defer.app.spans import (
    carrier_of,
    context_of,
    fail,
    in_its_trace,
    nanoseconds,
    of_message,
    of_run,
    of_score,
    of_step,
    retries_of,
    span_of,
)
from celery_defer.run import Scope, TraceHeader, Tracing, find, signals
from celery_defer.run.tracing import Carrier

logger = guard.logger(__name__)

# Since opentelemetry-api 1.38.
_HAS_EVENTS = "event_name" in signature(_logs.Logger.emit).parameters
_FAILED = "OpenTelemetry has failed; the run goes on, and a span of it may be missing"

_LIMIT = "celery_defer.wait.limit"
# What is told of a wait: not what an event is to match, nor what an error says.
_OF_WAIT = frozenset({"step", "kind", "for", "event", "run", "task"})


@dataclass(eq=False, slots=True)
class _RunSpan:
    """The span of one delivery of a run: its own, or one that other code has begun for it."""

    #: The span in progress before Celery's tracer has begun.
    outer: Span
    #: The request of which the span's parent is read.
    request: Mapping[str, Any]
    span: Span | None = None
    is_own: bool = False
    token: Any = None


class Telemetry(Tracing):
    """Makes spans with the tracer of *provider*, events with *logs*; an error of it is logged."""

    def __init__(
        self,
        provider: trace.TracerProvider | None = None,
        logs: _logs.LoggerProvider | None = None,
    ) -> None:
        # Without a provider it is the one that is set when the first span begins.
        self._tracer = trace.get_tracer("celery_defer", tracer_provider=provider)
        self._events = _logs.get_logger("celery_defer", logger_provider=logs)

    def connect(self) -> None:
        """Connect the handlers of Celery's signals that tell of a run's end."""
        task_failure.connect(self._on_failure, weak=False)
        task_retry.connect(self._on_retry, weak=False)
        if _HAS_EVENTS:
            signals.score_recorded.connect(self._on_score, weak=False)

    def disconnect(self) -> None:
        """Disconnect them."""
        task_failure.disconnect(self._on_failure)
        task_retry.disconnect(self._on_retry)
        signals.score_recorded.disconnect(self._on_score)

    # -- the context of a call ---------------------------------------------------------------

    def carrier(self) -> Carrier:
        with guard.logged(logger, _FAILED):
            return carrier_of()
        return {}

    # -- the span of a run -------------------------------------------------------------------

    def received(self, run: Scope, request: Any) -> Any:
        """Return the request with the context that the run's span is to have as its parent.

        It is one of the trace in which `defer` was called, or the run has begun. A relay and a
        sender of events publish in no trace, or in one of their own.
        """
        with guard.logged(logger, _FAILED):
            run.span = _RunSpan(trace.get_current_span(), request or {})
            if request and not run.is_eager:
                run.span.request = request = in_its_trace(run, request)
        return request

    def began(self, run: Scope) -> None:
        """Begin the run's span, unless a handler of task_prerun has: Celery's instrumentation."""
        with guard.logged(logger, _FAILED):
            its: _RunSpan | None = run.span
            if its is None or its.span is not None:
                return
            its.span = trace.get_current_span()
            if its.span is its.outer:
                self._begin(run, its)
            header = TraceHeader.of(run.request)
            for cause, carrier in (("defer", header.call), ("wake", header.waker)):
                if (linked := span_of(carrier)).is_valid:
                    its.span.add_link(linked, {"celery_defer.link": cause})
            its.span.set_attributes(of_run(run))
            self._end_wait(run, header)

    def left(self, run: Scope) -> None:
        """End the run's span, if it is its own."""
        its: _RunSpan | None = run.span
        if its is None or its.span is None or not its.is_own:
            return
        with guard.logged(logger, _FAILED):
            if trace.get_current_span() is its.span:  # not if a pool has changed the context
                context.detach(its.token)
            its.span.end()

    def _begin(self, run: Scope, its: _RunSpan) -> None:
        parent = propagate.extract(its.request, context.get_current())
        its.span = self._tracer.start_span(
            f"run/{run.task.name}", parent, SpanKind.CONSUMER, of_message(run)
        )
        its.is_own = True
        its.token = context.attach(trace.set_span_in_context(its.span, parent))

    def _on_failure(self, sender: Any, exception: Any, **_: Any) -> None:
        span = _own_span(sender)
        if span is not None and not isinstance(exception, tuple(sender.throws)):
            fail(span, exception)

    def _on_score(self, run_id: str, **score: Any) -> None:
        """Emit what OpenTelemetry's conventions call the result of an evaluation."""
        with guard.logged(logger, _FAILED):
            self._events.emit(
                event_name="gen_ai.evaluation.result",
                context=context_of(run_id),
                attributes=of_score(run_id, **score),
            )

    def _on_retry(self, sender: Any, reason: Any, **_: Any) -> None:
        span = _own_span(sender)
        if span is not None:
            span.set_attribute("celery.retry.reason", str(reason))

    # -- the spans of steps and waits ----------------------------------------------------------

    @contextmanager
    def step(self, key: str, kind: str, tries: int) -> Iterator[None]:
        span = token = None
        with guard.logged(logger, _FAILED):
            attributes = of_step(key, kind) | {"celery_defer.step.try": tries + 1}
            span = self._tracer.start_span(f"step {key}", attributes=attributes)
            token = context.attach(trace.set_span_in_context(span))
        try:
            yield
        except Exception as error:
            if span is not None and not isinstance(error, TaskPredicate):
                with guard.logged(logger, _FAILED):
                    fail(span, error)
            raise
        finally:
            with guard.logged(logger, _FAILED):
                if token is not None:
                    context.detach(token)
                if span is not None:
                    span.end()

    def parked(self, run: Scope, wait: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the header from which the turn that ends the wait makes its span."""
        with guard.logged(logger, _FAILED):
            header = TraceHeader.of(run.request)
            note = {name: value for name, value in wait.items() if name in _OF_WAIT}
            note |= {"at": run.now(), "retries": retries_of(run)}
            return replace(header, run=header.run or _first_turn(run), waker={}, wait=note).pack()
        return {}

    def held(self, run: Scope, limit: str) -> Mapping[str, Any]:
        """Return the header from which the turn that gets a place makes the span of the wait.

        A run that is held back again waits since the first time; after a wait at a step, the span
        of that is made now.
        """
        with guard.logged(logger, _FAILED):
            header = TraceHeader.of(run.request)
            is_first = "limit" not in header.wait
            if is_first and header.wait:
                self._end_wait(run, header)
            at = run.now() if is_first else header.wait["at"]
            note = {"limit": limit, "at": at, "retries": retries_of(run)}
            return replace(header, waker={}, wait=note).pack()
        return {}

    def _end_wait(self, run: Scope, header: TraceHeader) -> None:
        """Make the span of the wait that this turn ends, unless an earlier attempt of it has."""
        wait = header.wait
        if run.wake is None or run.is_redelivered or wait.get("retries") != retries_of(run):
            return
        if "limit" in wait:
            self._waited(run, header, f"wait for {wait['limit']}", {_LIMIT: wait["limit"]})
            return
        about = {name: wait[name] for name in _OF_WAIT - {"step", "kind"} if name in wait}
        attributes = {
            **of_step(wait["step"], wait["kind"]),
            **{f"celery_defer.wait.{name}": value for name, value in about.items()},
        }
        self._waited(run, header, f"wait {wait['step']}", attributes)

    def _waited(
        self, run: Scope, header: TraceHeader, name: str, attributes: Mapping[str, Any]
    ) -> None:
        at = header.wait["at"]
        span = self._tracer.start_span(
            name,
            propagate.extract(header.run or header.call),
            start_time=nanoseconds(at),
            attributes=attributes,
        )
        span.end(nanoseconds(max(run.now(), at)))


# -- private ---------------------------------------------------------------------------------


def _first_turn(run: Scope) -> Carrier:
    """Return the context of the run's span, the first time that the run parks."""
    its: _RunSpan | None = run.span
    return carrier_of(trace.set_span_in_context(its.span)) if its and its.span else {}


def _own_span(task: Any) -> Span | None:
    """Return the span of the run in progress, if it is of *task*, and was begun here."""
    run = find()
    its: _RunSpan | None = run.span if run is not None and run.task is task else None
    return its.span if its is not None and its.is_own else None
