"""The events of OpenTelemetry that tell of scores, by its conventions for generative AI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from celery_defer import current_run, defer, deferred, score, step
from celery_defer.opentelemetry import CeleryDeferInstrumentor
from tests.support.inside import WatchedStore, Worker, parent_of
from tests.support.spans import Spans, id_of


class Emitted:
    def __init__(self) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider()
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.traces = TracerProvider()
        self.spans = Spans(self.traces)

    @property
    def all(self) -> list[Any]:
        return [data.log_record for data in self.exporter.get_finished_logs()]


@pytest.fixture
def emitted() -> Iterator[Emitted]:
    emitted, ours = Emitted(), CeleryDeferInstrumentor()
    ours.instrument(tracer_provider=emitted.traces, logger_provider=emitted.provider)
    yield emitted
    ours.uninstrument()
    emitted.provider.shutdown()
    emitted.traces.shutdown()


def test_a_score_is_the_result_of_an_evaluation(
    app: Celery, worker: Worker, store: WatchedStore, emitted: Emitted
) -> None:
    def body() -> None:
        step.run("draft", lambda: score("tone", 0.5, comment="dry", source="judge-2"))

    task = parent_of(app, body)
    run = worker.perform(task)

    [event] = emitted.all
    assert event.event_name == "gen_ai.evaluation.result"
    assert dict(event.attributes) == {
        "gen_ai.evaluation.name": "tone",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.explanation": "dry",
        "messaging.message.id": run.id,
        "celery.task_name": task.name,
        "celery_defer.step.id": "draft",
        "celery_defer.score.source": "judge-2",
    }
    assert event.span_id == id_of(emitted.spans["step draft"])


def test_a_boolean_has_a_label(app: Celery, store: WatchedStore, emitted: Emitted) -> None:
    score("thumb", True, run_id="elsewhere")

    [event] = emitted.all
    assert dict(event.attributes) == {
        "gen_ai.evaluation.name": "thumb",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "true",
        "messaging.message.id": "elsewhere",
    }


def test_a_score_of_the_parent_is_an_event_of_the_span_that_deferred(
    app: Celery, worker: Worker, store: WatchedStore, emitted: Emitted
) -> None:
    @deferred
    @app.task(name="judge", shared=False)
    def judge() -> None:
        parent = current_run().parent
        assert parent is not None
        score("tone", 1, run_id=parent.id)

    def body() -> None:
        defer("judge", judge)

    task = parent_of(app, body)
    worker.perform(task)
    worker.drain()

    [event] = emitted.all
    assert event.span_id == id_of(emitted.spans[f"run/{task.name}"])


def test_an_exporter_that_fails_does_not_fail_a_score(
    app: Celery, store: WatchedStore, emitted: Emitted, caplog: pytest.LogCaptureFixture
) -> None:
    emitted.provider.add_log_record_processor(_Broken())
    score("thumb", True, run_id="elsewhere")

    assert "OpenTelemetry has failed" in caplog.text


class _Broken(SimpleLogRecordProcessor):
    def __init__(self) -> None:
        super().__init__(InMemoryLogRecordExporter())

    def on_emit(self, log_record: Any) -> None:
        raise RuntimeError("no collector")
