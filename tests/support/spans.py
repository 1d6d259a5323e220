"""The spans that OpenTelemetry has made, as a test reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from celery_defer.opentelemetry import CeleryDeferInstrumentor

__all__ = ["Spans", "id_of", "links", "parent_of", "trace_of", "traced"]


class Spans:
    """Spans that have ended, by name."""

    def __init__(self, provider: TracerProvider) -> None:
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("test")

    def __getitem__(self, name: str) -> ReadableSpan:
        (span,) = self.all(name)
        return span

    def all(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]


@contextmanager
def traced(*processors: SpanProcessor, beside_celerys: bool = False) -> Iterator[Spans]:
    """Trace the runs of this process, with Celery's instrumentation too if so asked."""
    provider, celerys = TracerProvider(), CeleryInstrumentor()
    for processor in processors:
        provider.add_span_processor(processor)
    ours = CeleryDeferInstrumentor()
    ours.instrument(tracer_provider=provider)
    if beside_celerys:
        celerys.instrument(tracer_provider=provider)
    try:
        yield Spans(provider)
    finally:
        if beside_celerys:
            celerys.uninstrument()
        ours.uninstrument()
        provider.shutdown()


def links(span: ReadableSpan) -> dict[Any, int]:
    """Return the ids of the spans that a span links to, by what the link says."""
    return {
        (link.attributes or {})["celery_defer.link"]: link.context.span_id for link in span.links
    }


def id_of(span: ReadableSpan) -> int:
    return int(span.get_span_context().span_id)


def trace_of(span: ReadableSpan) -> int:
    return int(span.get_span_context().trace_id)


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None
