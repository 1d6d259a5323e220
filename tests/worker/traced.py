"""The app of workers that are traced by OpenTelemetry.

``celery -A tests.worker.traced worker``: as a reader of docs/how-to/opentelemetry.md sets it up.
DEFER_TEST_TRACE names the file of the spans, see tracing.py; with DEFER_TEST_CELERYS, Celery's
instrumentation is there too.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import Celery, signals
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor

from celery_defer import Defer, defer, deferred, send_event, step
from celery_defer.opentelemetry import CeleryDeferInstrumentor
from tests.worker.tracing import set_provider


@signals.task_success.connect
def _die(sender: Any, **_: Any) -> None:
    """Die before anything is published: this handler is the first."""
    if sender.name == "traced.killed":
        os.kill(os.getpid(), signal.SIGKILL)


app = Celery("traced", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ["DEFER_TEST_QUEUE"],
    broker_connection_retry_on_startup=True,
    defer_commit="signal",
    defer_grace=0.5,
    defer_relay_interval=0.2,
    # So that no other worker's relay does this one's work.
    defer_key_prefix=f"{os.environ['DEFER_TEST_QUEUE']}:",
)
Defer(app)
CeleryDeferInstrumentor().instrument()


@signals.worker_process_init.connect(weak=False)
def _start(**_: Any) -> None:
    set_provider()
    if "DEFER_TEST_CELERYS" in os.environ:
        CeleryInstrumentor().instrument()


@deferred
@app.task(name="traced.receipt")
def receipt(n: int) -> int:
    return n


@deferred
@app.task(name="traced.waiting", acks_late=True)
def waiting(event: str) -> str:
    step.run("look", lambda: 1)
    return "came" if step.wait_for_event("news", event, timeout=60) else "over"


def _defer(event: str) -> str:
    """Defer both in a step; return the id of the step's span."""
    defer("receipt", receipt, n=7)
    defer("waiting", waiting, event=event)
    return f"{trace.get_current_span().get_span_context().span_id:016x}"


@app.task(name="traced.parent")
def parent(event: str) -> str:
    return step.run("defer", _defer, event)


@app.task(name="traced.killed")
def killed(event: str) -> str:
    return step.run("defer", _defer, event)


@app.task(name="traced.tell")
def tell(event: str) -> int:
    return int(send_event(event, {}))
