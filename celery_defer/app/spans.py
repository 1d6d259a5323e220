"""What a span of OpenTelemetry says of a run, and in which trace it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, StatusCode

from celery_defer.run import Scope, TraceHeader, find
from celery_defer.run.tracing import Carrier


def in_its_trace(run: Scope, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request with a context of the run's trace."""
    header = TraceHeader.of(run.request)
    # A run that was held back at its first arrival has not begun.
    own = (header.run or header.call) if run.wake else header.call
    if not own:
        return request
    its, sent = span_of(own), span_of(request)
    # A producer of the same trace may lie between.
    is_in_it = sent.trace_id == its.trace_id and not run.wake
    if sent.is_valid and (is_in_it or not its.is_valid):
        return request
    fields = propagate.get_global_textmap().fields
    return {**{name: value for name, value in request.items() if name not in fields}, **own}


def carrier_of(context: Context | None = None) -> Carrier:
    """Return a context, by default the current one, as a message carries it."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier


def span_of(carrier: Mapping[str, Any]) -> SpanContext:
    """Return which span a context has, or one that is not valid."""
    return trace.get_current_span(propagate.extract(carrier, Context())).get_span_context()


def of_message(run: Scope) -> dict[str, Any]:
    """Return what Celery's instrumentation says of a run, and OpenTelemetry of any message."""
    delivery = run.request.get("delivery_info") or {}
    attributes = {
        "celery.action": "run",
        "celery.task_name": run.task.name,
        "messaging.system": "celery",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.message.id": run.run.id,
        "messaging.message.conversation_id": run.run.root_id,
        "messaging.destination.name": delivery.get("routing_key"),
    }
    return {name: value for name, value in attributes.items() if value is not None}


def of_run(run: Scope) -> dict[str, Any]:
    """Return what is known of a deferred run, and of one that has waited."""
    turn = {"celery_defer.turn": run.turn} if run.wake else {}
    parent, deferred_at = run.run.parent, run.run.deferred_at
    if parent is None or deferred_at is None:
        return turn
    attributes = {
        "celery_defer.defer_id": parent.defer_id,
        "celery_defer.when": parent.when,
        "celery_defer.deferred_at": deferred_at.isoformat(),
        "celery_defer.parent.id": parent.id,
        "celery_defer.parent.task": parent.task,
        "celery_defer.experiment": parent.experiment,
        "celery_defer.depth": run.run.depth,
    }
    return {**turn, **{name: value for name, value in attributes.items() if value is not None}}


def of_score(
    run_id: str, *, task: str | None, name: str, value: float, comment: str | None,
    step: str | None, source: str | None, **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return what the event of a score says, by OpenTelemetry's conventions for generative AI."""
    attributes = {
        "gen_ai.evaluation.name": name,
        "gen_ai.evaluation.score.value": float(value),
        "gen_ai.evaluation.score.label": str(value).lower() if isinstance(value, bool) else None,
        "gen_ai.evaluation.explanation": comment,
        "messaging.message.id": run_id,
        "celery.task_name": task,
        "celery_defer.step.id": step,
        "celery_defer.score.source": source,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def of_step(key: str, kind: str) -> dict[str, Any]:
    """Return what the span of a step, or of its wait, says of it."""
    return {"celery_defer.step.id": key, "celery_defer.step.kind": kind}


def context_of(run_id: str) -> Context | None:
    """Return the context of the parent's call if it is the parent that is scored."""
    run = find()
    if run is None or run.run.parent is None or run.run.parent.id != run_id:
        return None
    carrier = TraceHeader.of(run.request).call
    return propagate.extract(carrier) if carrier else None


def fail(span: Span, error: BaseException) -> None:
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


def retries_of(run: Scope) -> int:
    """Return how often Celery has retried the run."""
    return run.request.get("retries") or 0


def nanoseconds(seconds: float) -> int:
    """Return a time as OpenTelemetry has it."""
    return int(seconds * 1e9)
