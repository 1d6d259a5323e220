"""The app of workers whose runs wait: ``celery -A tests.worker.stepping worker``.

The environment says the rest, as for tests.worker.tasks: CELERY_BROKER_URL,
CELERY_RESULT_BACKEND, DEFER_TEST_QUEUE, DEFER_COMMIT, and DEFER_TEST_CONFIG with further settings
as JSON.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery, Task, current_task

from celery_defer import Defer, cancel, defer, deferred, send_event, step
from tests.support import commit

app = Celery("stepping", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ.get("DEFER_TEST_QUEUE", "celery"),
    broker_connection_retry_on_startup=True,
    **{**commit.settings(), **json.loads(os.environ.get("DEFER_TEST_CONFIG", "{}"))},
)
Defer(app)

Script = Sequence[Sequence[Any]]


def mark(name: str) -> int:
    """Count, where a test can read it, that *name* happened to this run."""
    return int(app.backend.client.incr(f"{name}:{current_task.request.id}"))


# -- what a script may do -----------------------------------------------------------------


def _do(name: str) -> str:
    """Be done once: the body of a step."""
    step.run(name, mark, f"step-{name}")
    return name


def _sleep(seconds: float) -> None:
    step.sleep("nap", seconds)


def _wait(event: str, timeout: float, match: Mapping[str, Any] | None = None) -> Any:
    received = step.wait_for_event("news", event, timeout=timeout, match=match)
    return received and received.data


def _hold() -> None:
    """Stay in the worker until the test says go; not so in a replay."""
    if mark("held") == 1:
        app.backend.client.blpop(f"go:{current_task.request.id}", timeout=20)


def _fail() -> None:
    raise ValueError("the script fails")


def _retry(countdown: float) -> None:
    """Have Celery retry the first attempt."""
    if current_task.request.retries == 0:
        mark("tried")
        raise current_task.retry(countdown=countdown)


def _invoke(script: Script) -> Any:
    return step.invoke("invoked", invoked, script=script)


def _defer() -> None:
    defer("follow-up", follow_up, n=1)


ACTIONS: dict[str, Callable[..., Any]] = {
    "do": _do,
    "sleep": _sleep,
    "wait": _wait,
    "hold": _hold,
    "burn": time.sleep,
    "fail": _fail,
    "retry": _retry,
    "invoke": _invoke,
    "defer": _defer,
}


def perform(script: Script) -> dict[str, Any]:
    """Do as the script says; answer what came of it, and what the last pass knew of itself."""
    mark("pass")
    got = [ACTIONS[action](*args) for action, *args in script]
    mark("end")
    request = current_task.request
    delivery = request.delivery_info or {}
    return {
        "got": got,
        "id": request.id,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "queue": delivery.get("routing_key"),
        "priority": delivery.get("priority"),
        "headers": request.headers,
        "stamps": request.stamps,
        "timelimit": request.timelimit,
        "finished": time.time(),
    }


# -- tasks ------------------------------------------------------------------------------------


@app.task(name="steps.plain")
def plain(script: Script) -> dict[str, Any]:
    return perform(script)


@app.task(name="steps.late", acks_late=True)
def late(script: Script) -> dict[str, Any]:
    return perform(script)


@app.task(name="steps.tracked", track_started=True)
def tracked(script: Script) -> dict[str, Any]:
    return perform(script)


@app.task(name="steps.ignored", ignore_result=True)
def ignored(script: Script) -> dict[str, Any]:
    return perform(script)


@app.task(name="steps.link_of_chain")
def after(before: Mapping[str, Any], script: Script) -> dict[str, Any]:
    """Come after another one in a chain."""
    return {**perform(script), "before": before["id"]}


@app.task(name="steps.total", bind=True)
def total(self: Task, parts: Sequence[Mapping[str, Any]]) -> list[str]:
    mark("total")
    return [part["id"] for part in parts]


@app.task(name="steps.note")
def note(*_: Any, of: str) -> None:
    app.backend.client.incr(f"noted:{of}")


@app.task(name="steps.tell")
def tell(event: str, data: Any = None, id: str | None = None) -> int:
    return send_event(event, data, id=id)


@app.task(name="steps.cancel")
def cancelling(run: str) -> bool:
    return cancel(run)


@deferred
@app.task(name="steps.invoked")
def invoked(script: list[list[Any]]) -> str:
    return str(perform(script)["id"])


@deferred
@app.task(name="steps.follow_up")
def follow_up(n: int) -> None:
    mark("follow-up")


@app.task(name="steps.fence")
def fence() -> None:
    """Ends after all that a worker with one process was given before."""
