"""Sentry's and OpenTelemetry's Celery integrations, writing what they see to a file.

DEFER_TEST_TRACER is ``sentry-first``, ``sentry-last``, ``otel-first`` or ``otel-last``: before
or after ``Defer(app)``. DEFER_TEST_TRACE names the file; each line of it is one span as JSON:
``name``, ``trace``, ``id``, ``parent``; of OpenTelemetry also ``links``, ``attributes``,
``seconds``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

__all__ = ["set_provider", "start_tracer"]


def start_tracer() -> None:
    """Start the tracer that the environment names."""
    kind = os.environ["DEFER_TEST_TRACER"].partition("-")[0]
    {"sentry": _sentry, "otel": _otel}[kind]()


def _sentry() -> None:
    import sentry_sdk  # noqa: PLC0415
    from sentry_sdk.integrations.celery import CeleryIntegration  # noqa: PLC0415
    from sentry_sdk.transport import Transport  # noqa: PLC0415

    class FileTransport(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            transaction = envelope.get_transaction_event()
            if transaction is None:
                return
            for span in (
                {**transaction["contexts"]["trace"], "description": transaction["transaction"]},
                *({**span, "description": span["op"]} for span in transaction["spans"]),
            ):
                _write(
                    name=span["description"],
                    trace=span["trace_id"],
                    id=span["span_id"],
                    parent=span.get("parent_span_id"),
                )

    sentry_sdk.init(
        dsn="http://key@localhost/1",
        transport=FileTransport,
        traces_sample_rate=1.0,
        integrations=[CeleryIntegration()],
    )


def _otel() -> None:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor  # noqa: PLC0415

    set_provider()
    CeleryInstrumentor().instrument()


def set_provider() -> None:
    """Have OpenTelemetry's spans written to the file."""
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        SimpleSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class FileExporter(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            for span in spans:
                own: Any = span.get_span_context()
                _write(
                    name=span.name,
                    trace=f"{own.trace_id:032x}",
                    id=f"{own.span_id:016x}",
                    parent=f"{span.parent.span_id:016x}" if span.parent else None,
                    links=[
                        [dict(link.attributes or {}), f"{link.context.span_id:016x}"]
                        for link in span.links
                    ],
                    attributes=dict(span.attributes or {}),
                    seconds=((span.end_time or 0) - (span.start_time or 0)) / 1e9,
                )
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
    trace.set_tracer_provider(provider)


def _write(**span: Any) -> None:
    with open(os.environ["DEFER_TEST_TRACE"], "a") as file:
        file.write(json.dumps(span) + "\n")
