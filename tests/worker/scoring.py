"""The app of workers that score: ``celery -A tests.worker.scoring worker``.

The environment says the rest, as for tests.worker.tasks.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from celery import Celery, current_task

from celery_defer import Defer, Score, current_run, defer, experiment, fixed, scorer, step
from celery_defer.current import extension_of

app: Any = Celery("scoring", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ.get("DEFER_TEST_QUEUE", "celery"),
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    **json.loads(os.environ.get("DEFER_TEST_CONFIG", "{}")),
)
Defer(app)


class _Store:
    """A store after whose ``score`` or ``assign`` the process dies once, if the test says so."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return _dying(name, method) if name in ("score", "assign") else method


def _dying(name: str, method: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        written = method(*args, **kwargs)
        if app.backend.client.delete(f"kill:{name}:{current_task.request.root_id}"):
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    return call


extension_of(app).store = _Store(extension_of(app).store)


@scorer
@app.task(name="scoring.judge")
def judge() -> Score:
    """Score the parent by how often this has begun; wait for the test where it says so."""
    redis, root = app.backend.client, current_run().root_id
    number = redis.incr(f"judged:{root}")
    if redis.exists(f"hold:{root}"):
        redis.blpop([f"go:{root}"], timeout=20)
    return Score("number", number)


@scorer
@app.task(name="scoring.bought")
def bought(timeout: float) -> Score:
    root = current_run().root_id
    event = step.wait_for_event("buy", "bought", timeout=timeout, match={"order": root})
    return Score("converted", event is not None)


@app.task(name="scoring.offer")
def offer(variant: str, timeout: float | None = None) -> str:
    both = {"control": str, "variant": str}
    taken = experiment("flow", both, select=fixed(_first(variant))).variant
    if timeout is None:
        defer("judge", judge)
    else:
        defer("bought", bought, timeout=timeout)
    return taken


def _first(variant: str) -> str:
    """Return another variant in each attempt but the first."""
    tries = app.backend.client.incr(f"offered:{current_task.request.id}")
    return variant if tries == 1 else "variant"
