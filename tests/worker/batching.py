"""The app of workers that run batches: ``celery -A tests.worker.batching worker``.

A key ``kill:<point>`` in the result backend's Redis names a point at which the whole worker dies.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from celery import Celery, signals
from pydantic import BaseModel

from celery_defer import Batch, Defer, current_run, defer, deferred
from celery_defer.current import extension_of
from celery_defer.outbox import gather, relay

#: The worker's main process: what a pool forks inherits it.
MAIN = os.getpid()

app: Any = Celery("batching", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ.get("DEFER_TEST_QUEUE", "celery"),
    broker_connection_retry_on_startup=True,
    defer_grace=1,
    defer_relay_interval=0.2,
    **json.loads(os.environ.get("DEFER_TEST_CONFIG", "{}")),
)
relay.LEASE = gather.LEASE = 0.5


def reach(point: str) -> None:
    """Die here, if the test says so."""
    if app.backend.client.delete(f"kill:{point}"):
        os.kill(MAIN, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


@signals.task_success.connect(weak=False)
def _on_stored(sender: Any, **_: Any) -> None:
    if sender.name == view.name:
        reach("stored")


Defer(app)


class _Store:
    """A store before and after whose ``gather`` the worker may die."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def gather(self, *args: Any, **kwargs: Any) -> Any:
        reach("gathering")
        full = self._store.gather(*args, **kwargs)
        reach("gathered")
        return full


extension_of(app).store = _Store(extension_of(app).store)


@signals.before_task_publish.connect(weak=False)
def _on_publishing(sender: str, **_: Any) -> None:
    if sender == write.name:
        reach("publishing")


@signals.after_task_publish.connect(weak=False)
def _on_published(sender: str, **_: Any) -> None:
    if sender == write.name:
        reach("published")


class Visit(BaseModel):
    page: str


@deferred(app, name="batching.write", schema=Visit, batch=Batch(10, "2s"))
def write(visits: list[Visit]) -> int:
    """Count each page, where the test can read it."""
    parents = current_run().parents
    with app.backend.client.pipeline() as pipeline:
        for visit, parent in zip(visits, parents, strict=True):
            pipeline.hincrby(f"ran:{parent.id}", visit.page, 1)
        pipeline.execute()
    return len(visits)


@app.task(name="batching.view")
def view(count: int) -> None:
    for number in range(count):
        defer(f"visit-{number}", write, page=f"{number}")
