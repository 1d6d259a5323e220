"""The app of workers whose functions have limits: ``celery -A tests.worker.limited worker``.

The environment says the rest, as for tests.worker.stepping.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery, current_task

from celery_defer import Concurrency, Debounce, Defer, LeaseLostError, defer, deferred, step
from tests.support import commit

app = Celery("limited", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ.get("DEFER_TEST_QUEUE", "celery"),
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    **{
        "defer_lease": 2,
        **commit.settings(),
        **json.loads(os.environ.get("DEFER_TEST_CONFIG", "{}")),
    },
)
Defer(app)


def redis() -> Any:
    return app.backend.client


def witness(key: str) -> None:
    """Be counted, with others of the key, until the test says go; note the most there were."""
    run = current_task.request.id
    now = redis().incr(f"in:{key}")
    redis().rpush(f"seen:{key}", now)
    redis().rpush(f"order:{key}", run)
    try:
        redis().blpop(f"go:{run}", timeout=20)
    finally:
        redis().decr(f"in:{key}")


@deferred(app, name="limited.work", concurrency=Concurrency(1, key="key"))
def work(key: str, act: str = "hold") -> str:
    redis().incr(f"begun:{current_task.request.id}")
    if act == "nap":
        step.sleep("nap", 0.5)
    elif act == "hold":
        witness(key)
    elif act == "die-once" and not redis().getset(f"died:{key}", 1):
        os.kill(os.getpid(), 9)
    elif act == "spin":
        redis().set(f"pid:{key}", os.getpid())
        while not redis().exists(f"stop:{key}"):
            time.sleep(0.01)
    return key


@deferred(app, name="limited.slow", concurrency=Concurrency(1, key="key"), time_limit=1)
def slow(key: str, act: str) -> str:
    if act == "sleep":
        time.sleep(60)
    return key


@deferred(
    app,
    name="limited.again",
    concurrency=Concurrency(1, key="key"),
    autoretry_for=(LeaseLostError,),
    retry_backoff=False,
    default_retry_delay=0,
)
def again(key: str) -> int:
    tries = int(redis().incr(f"tries:{key}"))
    redis().set(f"pid:{key}", os.getpid())
    while tries == 1 and not redis().exists(f"stop:{key}"):
        time.sleep(0.01)
    return tries


@deferred(app, name="limited.shared", concurrency=(Concurrency(2, key="key"), Concurrency(1)))
def shared(key: str, line: str) -> str:
    witness(line)
    return key


@deferred(app, name="limited.whoever", concurrency=Concurrency(1, key="key"), limits="all")
def whoever(key: str) -> str:
    witness(key)
    return key


# A pool of gevent takes new messages up to two seconds after the last ones.
@deferred(app, name="limited.last", debounce=Debounce(4, key="key"))
def last(key: str, n: int) -> int:
    return n


@app.task(name="limited.parent")
def parent(calls: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    for id, name, payload in calls:
        defer(id, app.tasks[name], **payload)


@app.task(name="limited.invoker")
def invoker(key: str) -> str:
    return step.invoke("work", work, key=key, act="return")


@app.task(name="parents.fence")
def fence() -> None: ...
