"""What Celery's main process is told of a run that has left its worker, or was not to start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from billiard.reduction import ForkingPickler
from celery import Celery
from celery.exceptions import Ignore, Reject, Retry
from celery.worker.request import Request, create_request_cls

from celery_defer import defer, step
from celery_defer.app.ignored import Ignored, _Info
from tests.support.inside import WatchedStore, Worker

pytestmark = pytest.mark.usefixtures("store")


def parking(app: Celery, worker: Worker, ship: Any, **options: Any) -> tuple[Any, Any]:
    """Return a message whose run parks, and what the tracer says of it."""

    @app.task(name="napping", shared=False, **options)
    def napping() -> None:
        step.sleep("nap", 5)

    napping.apply_async()
    (message,) = worker.published()
    return message, worker.trace(message)


def published_twice(app: Celery, worker: Worker, ship: Any, **options: Any) -> tuple[Any, Any]:
    """Return a message whose run has been started by another, and what the tracer says of it."""
    vars(app.tasks["ship"]).update(options)

    @app.task(name="parent", shared=False)
    def parent() -> None:
        defer("ship", ship, 1)

    worker.run(parent)
    (message,) = worker.published()
    message.headers["celery_defer"]["token"] = "another"
    worker.trace(message)
    message.headers["celery_defer"]["token"] = "this"
    return message, worker.trace(message)


LEAVING = [parking, published_twice]


@pytest.mark.parametrize("leave", LEAVING)
def test_no_traceback_is_made_of_a_run_that_leaves(
    app: Celery, worker: Worker, ship: Any, leave: Any
) -> None:
    """It is not if Celery's tracer has stopped calling celery.app.trace.ExceptionInfo."""
    _, traced = leave(app, worker, ship)

    assert type(traced.retval) is _Info
    assert type(traced.retval.exception) is Ignored
    assert traced.info.state == "IGNORED"


@pytest.mark.parametrize("leave", LEAVING)
def test_what_is_told_of_a_run_that_leaves_comes_through_the_pool(
    app: Celery, worker: Worker, ship: Any, leave: Any
) -> None:
    _, traced = leave(app, worker, ship)

    info = ForkingPickler.loads(ForkingPickler.dumps(traced.retval))

    assert type(info) is _Info
    assert (type(info.exception), info.exception.args) == (Ignored, traced.retval.exception.args)
    assert info.exc_info == (Ignored, info.exception, None)
    assert (info.type, info.internal, info.tb, info.traceback) == (Ignored, True, None, "")


class Listening:
    """An event dispatcher that is on."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, kind: str, **_: Any) -> None:
        self.sent.append(kind)


def request_of(app: Celery, message: Any, events: Listening, acknowledged: list[bool]) -> Request:
    task = app.tasks[message.headers["task"]]
    pool = SimpleNamespace(apply_async=None)
    kind = create_request_cls(Request, task, pool, hostname="worker@host", eventer=events)
    return kind(
        message, app=app, task=task, eventer=events, hostname="worker@host",
        on_ack=lambda *_: acknowledged.append(True),
    )  # fmt: skip


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize("acks_late", [True, False])
def test_the_message_of_a_run_that_leaves_is_acknowledged_and_no_more(
    app: Celery, worker: Worker, ship: Any, store: WatchedStore, leave: Any, acks_late: bool
) -> None:
    message, traced = leave(app, worker, ship, acks_late=acks_late)
    before = app.AsyncResult(message.headers["id"]).state
    events, acknowledged = Listening(), list[bool]()
    request = request_of(app, message, events, acknowledged)

    request.on_success((1, traced.retval, traced.runtime))

    assert acknowledged == [True]
    assert events.sent == []
    assert app.AsyncResult(message.headers["id"]).state == before


@pytest.mark.parametrize(
    "error", [ValueError("no"), Ignore("no"), Reject("no"), Retry("no"), KeyError()], ids=repr
)
def test_any_other_exception_keeps_its_traceback(
    app: Celery, worker: Worker, error: Exception
) -> None:
    @app.task(name="failing", shared=False)
    def failing() -> None:
        raise error

    failing.apply_async()
    (message,) = worker.published()
    info = worker.trace(message).retval

    assert type(info) is ExceptionInfo
    assert "in failing" in info.traceback
