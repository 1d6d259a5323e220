"""The app of the workers under test.

Started as ``celery -A tests.worker.tasks worker``; the environment says the rest:

- CELERY_BROKER_URL, CELERY_RESULT_BACKEND: Celery's own variables
- DEFER_TEST_QUEUE: the default queue
- DEFER_COMMIT: the setting ``defer_commit``
- DEFER_TEST_CONFIG: further settings, as JSON; they are read with the namespace CELERY
- DEFER_TEST_PLAIN: leave ``Defer(app)`` out
- DEFER_TEST_TRACER: see tracing.py
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from celery import Celery, Task, current_task, shared_task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from pydantic import BaseModel

from celery_defer import Defer, Parent, PayloadError, ResultError, current_run, defer, deferred
from tests.support import commit
from tests.worker.tracing import start_tracer

PLAIN = "DEFER_TEST_PLAIN" in os.environ
AT_ONCE = {"countdown": 0, "max_retries": 3}

if os.environ.get("DEFER_TEST_TRACER", "").endswith("first"):
    start_tracer()

app = Celery("worker_tier", set_as_current=True)
if not PLAIN:
    Defer(app)  # before its configuration, as in `app = Celery(); Defer(app)` of a settings module
app.config_from_object(
    {
        "CELERY_TASK_DEFAULT_QUEUE": os.environ.get("DEFER_TEST_QUEUE", "celery"),
        "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
        "CELERY_DEFER_GRACE": 1,
        "CELERY_DEFER_RELAY_INTERVAL": 0.2,
        **{
            f"CELERY_{name.upper()}": value
            for name, value in {
                **commit.settings(),
                **json.loads(os.environ.get("DEFER_TEST_CONFIG", "{}")),
            }.items()
        },
    },
    namespace="CELERY",
)

if os.environ.get("DEFER_TEST_TRACER", "").endswith("last"):
    start_tracer()


class Order(BaseModel):
    n: int
    at: datetime | None = None
    then: str | None = None


# -- what tests see of a run -------------------------------------------------------------


def mark(name: str, run: str) -> int:
    """Count, where a test can read it, that *name* happened to *run*."""
    return app.backend.client.incr(f"{name}:{run}")


@signals.before_task_publish.connect
def _on_before_publish(headers: Mapping[str, Any], **_: Any) -> None:
    mark("before-publish", headers["id"])


@signals.after_task_publish.connect
def _on_after_publish(headers: Mapping[str, Any], **_: Any) -> None:
    mark("after-publish", headers["id"])


@signals.task_retry.connect
def _on_retry(request: Any, **_: Any) -> None:
    mark("retried", request.id)


@signals.task_prerun.connect
def _on_prerun(task_id: str, **_: Any) -> None:
    mark("began", task_id)
    if current_task.request.delivery_info.get("redelivered"):
        mark("began-again", task_id)


def seen(**more: Any) -> dict[str, Any]:
    """Return what a run knows of itself."""
    request = current_task.request
    delivery = request.delivery_info or {}  # a task called as a function has none
    return {
        **more,
        "run": None if PLAIN else _run(),
        "began": time.time(),
        "queue": delivery.get("routing_key"),
        "priority": delivery.get("priority"),
        "headers": request.headers,
        "stamps": request.stamps,
    }


def _run() -> dict[str, Any]:
    run = current_run()
    parent = run.parent and {
        name: getattr(run.parent, name) for name in ("id", "task", "defer_id", "when", "experiment")
    }
    return {
        "id": run.id,
        "root_id": run.root_id,
        "task": run.task,
        "attempt": run.attempt,
        "parent": parent,
        "parent_result": _parent_result(run.parent),
        "deferred_at": run.deferred_at and run.deferred_at.timestamp(),
    }


def _parent_result(parent: Parent | None) -> Any:
    try:
        result = parent and parent.result()
    except ResultError:
        return "none is kept"
    return repr(result) if isinstance(result, Exception) else result


# -- every kind of task: each is a deferred function, and a parent if `then` names one --------

KINDS: dict[str, Any] = {}


def work(n: int, at: datetime | None, then: str | None) -> dict[str, Any]:
    if then:
        call("next", then, n=n + 1, at=at)
    return seen(n=n, at=type(at).__name__)


def call(id: str, kind: str, options: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    task = KINDS[kind]
    payload = {"order": Order(**fields)} if kind == "pydantic" else fields
    if options and "eta" in options:
        options = {**options, "eta": datetime.fromisoformat(options["eta"])}
    return defer(id, task.with_options(**options) if options else task, **payload)


@deferred
@app.task(name="kinds.plain")
def plain(n: int, at: datetime | None = None, then: str | None = None) -> dict[str, Any]:
    return work(n, at, then)


@deferred
@app.task(name="kinds.bound", bind=True)
def bound(
    self: Task, n: int, at: datetime | None = None, then: str | None = None
) -> dict[str, Any]:
    return {**work(n, at, then), "bound_to": self.name}


@deferred
@shared_task(name="kinds.shared")
def shared(n: int, at: datetime | None = None, then: str | None = None) -> dict[str, Any]:
    return work(n, at, then)


class ClassBased(Task):
    name = "kinds.class_based"

    def run(self, n: int, at: datetime | None = None, then: str | None = None) -> dict[str, Any]:
        return work(n, at, then)


class Base(Task):
    abstract = True
    colour = "green"


class Calling(Task):
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return {**super().__call__(*args, **kwargs), "called": True}


@deferred
@app.task(name="kinds.own_base", base=Base, bind=True)
def own_base(
    self: Base, n: int, at: datetime | None = None, then: str | None = None
) -> dict[str, Any]:
    return {**work(n, at, then), "colour": self.colour}


@deferred
@app.task(name="kinds.own_call", base=Calling)
def own_call(n: int, at: datetime | None = None, then: str | None = None) -> dict[str, Any]:
    return work(n, at, then)


@deferred
@app.task(name="kinds.pydantic", pydantic=True)
def with_pydantic(order: Order) -> dict[str, Any]:
    return work(order.n, order.at, order.then)


@deferred(schema=Order)
@app.task(name="kinds.schema")
def schema(order: Any) -> dict[str, Any]:
    known = Order.model_validate(order)
    return {**work(known.n, known.at, known.then), "got": type(order).__name__}


@deferred(app, name="kinds.made_by_deferred")
def made_by_deferred(n: int, at: datetime | None = None, then: str | None = None) -> dict[str, Any]:
    return work(n, at, then)


@deferred
@app.task(name="kinds.autoretry", bind=True, autoretry_for=(OSError,), retry_kwargs=AT_ONCE)
def autoretry(
    self: Task, n: int, at: datetime | None = None, then: str | None = None
) -> dict[str, Any]:
    answer = work(n, at, then)
    if self.request.retries == 0:
        raise OSError("the first attempt fails")
    return answer


KINDS |= {
    "plain": plain,
    "bound": bound,
    "shared": shared,
    "class_based": deferred(app.register_task(ClassBased())),
    "own_base": own_base,
    "own_call": own_call,
    "pydantic": with_pydantic,
    "schema": schema,
    "made_by_deferred": made_by_deferred,
    "autoretry": autoretry,
}


# -- deferred functions with a fate ------------------------------------------------------


@deferred
@app.task(name="children.nested")
def nested(n: int) -> dict[str, Any]:
    if n:
        defer("deeper", nested, n=n - 1)
    return seen(n=n)


@deferred
@app.task(name="children.retrying", bind=True, max_retries=3)
def retrying_child(self: Task, n: int, at: datetime) -> dict[str, Any]:
    mark(f"payload-{type(at).__name__}", self.request.id)
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return seen(n=n, at=type(at).__name__)


@deferred
@app.task(name="children.failing")
def failing_child(n: int) -> None:
    raise ValueError("the child fails")


@deferred
@app.task(name="children.strict")
def strict(n: int, at: datetime) -> None:
    mark("body", current_task.request.id)


@deferred
@app.task(name="children.strict_retried", autoretry_for=(PayloadError,), retry_kwargs=AT_ONCE)
def strict_retried(n: int, at: datetime) -> None:
    mark("body", current_task.request.id)


KINDS |= {
    "nested": nested,
    "retrying": retrying_child,
    "failing": failing_child,
}


# -- parents --------------------------------------------------------------------------


@app.task(name="parents.scripted", bind=True)
def scripted(self: Task, calls: list[dict[str, Any]], end: str = "return") -> Any:
    for each in calls:
        call(**each)
    return ENDS[end]()


def _fail() -> None:
    raise ValueError("the parent fails")


def _ignore() -> None:
    raise Ignore


def _reject() -> None:
    raise Reject("not wanted", requeue=False)


ENDS: dict[str, Callable[[], Any]] = {
    "return": lambda: "done",
    "fail": _fail,
    "ignore": _ignore,
    "reject": _reject,
    "not-json": object,
}


@app.task(name="parents.many")
def many(count: int, queue: str | None = None) -> int:
    target = plain.with_options(queue=queue) if queue else plain
    for n in range(count):
        defer(f"call-{n}", target, n=n)
    return count


@app.task(name="parents.retrying", bind=True, max_retries=3)
def retrying(self: Task) -> dict[str, Any]:
    attempt = current_run().attempt
    defer(f"only-{attempt}", plain, n=attempt)
    defer("every", plain, n=attempt)
    if attempt == 1:
        raise self.retry(countdown=0)
    return seen()


@app.task(name="parents.retried_out", bind=True, max_retries=1)
def retried_out(self: Task, when: str) -> None:
    """Fail twice: the second time for good."""
    attempt = current_run().attempt
    call(f"only-{attempt}", "plain", {"when": when}, n=attempt)
    call("every", "plain", {"when": when}, n=attempt)
    raise self.retry(exc=ValueError("the parent fails"), countdown=0)


@app.task(name="parents.three_down")
def three_down() -> str:
    return _one_down()


def _one_down() -> str:
    return _two_down()


def _two_down() -> str:
    return defer("deep", plain, n=3).id


@app.task(name="parents.held", bind=True)
def held(self: Task, calls: list[dict[str, Any]]) -> str:
    """Defer, then wait until the test says go."""
    for each in () if PLAIN else calls:
        call(**each)
    mark("waiting", self.request.id)
    app.backend.client.blpop(f"go:{self.request.id}", timeout=20)
    return "done"


@app.task(name="parents.bad_call")
def bad_call() -> str | None:
    return defer("bad", plain, n="not a number").skipped


@app.task(name="parents.aborting")
def aborting() -> None:
    defer("aborted", plain, n=1).abort()
    defer("kept", plain, n=1)


@app.task(name="parents.calling")
def calling() -> dict[str, Any]:
    """Call a task as a function; what it defers is deferred by this run."""
    return plain(n=1, then="plain")


@app.task(name="parents.applying")
def applying() -> str:
    """Run a task here, as a run of its own."""
    inner = plain.apply(kwargs={"n": 1, "then": "plain"})
    defer("own", plain, n=5)
    return str(inner.id)


@app.task(name="parents.fence")
def fence() -> None:
    """Ends after all that a worker with one process was given before."""


# -- what Celery does with a task, with and without the package ---------------------------------


def follow_up() -> None:
    if not PLAIN:
        defer("follow-up", plain, n=1)


@app.task(name="canvas.add")
def add(x: int, y: int) -> int:
    follow_up()
    return x + y


@app.task(name="canvas.total")
def total(numbers: list[int]) -> int:
    follow_up()
    return sum(numbers)


@app.task(name="canvas.fail")
def fail(*_: Any) -> None:
    follow_up()
    raise ValueError("canvas")


@app.task(name="canvas.note")
def note(*_: Any, of: str) -> str:
    """A callback: tell that it was called."""
    mark("noted", of)
    return of


@app.task(name="canvas.late", acks_late=True)
def late(of: str) -> str:
    follow_up()
    mark("late", of)
    return of


@app.task(name="canvas.ignored", ignore_result=True)
def ignored(x: int) -> int:
    follow_up()
    return x


@app.task(name="canvas.replaced", bind=True)
def replaced(self: Task, x: int) -> Any:
    follow_up()
    raise self.replace(add.s(x, x).set(queue=app.conf.task_default_queue))


@app.task(name="canvas.soft_limit", soft_time_limit=0.2)
def soft_limit(caught: bool) -> str:
    follow_up()
    try:
        time.sleep(20)
    except SoftTimeLimitExceeded:
        if not caught:
            raise
    return "in time"


@app.task(name="canvas.hard_limit", time_limit=1)
def hard_limit(when: str = "success") -> None:
    if not PLAIN:
        call("follow-up", "plain", {"when": when}, n=1)
    time.sleep(20)


# -- registered when the app is complete already ------------------------------------------------

app.finalize()


@deferred
@app.task(name="kinds.late")
def registered_late(n: int, at: datetime | None = None, then: str | None = None) -> dict[str, Any]:
    return work(n, at, then)


KINDS["late"] = registered_late
