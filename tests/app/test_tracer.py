"""Each thing of Celery's that the package leans on: a Celery which changes it fails here."""

from __future__ import annotations

import inspect
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task
from celery.app import trace
from celery.app.autoretry import add_autoretry_behaviour
from celery.app.base import Celery as CeleryClass
from celery.app.task import Context
from celery.concurrency.solo import TaskPool
from celery.local import PromiseProxy, Proxy
from celery.signals import task_failure, task_received, task_success, worker_ready
from celery.worker.consumer import consumer

import celery_defer
from celery_defer import Defer, defer, deferred, errors
from celery_defer.app.bootstep import RelayStep
from celery_defer.model import HEADER
from celery_defer.run import WAKE
from celery_defer.store import MemoryStore
from tests.support.inside import Worker, ids_of, parent_of, ship_of


@pytest.mark.usefixtures("app")
def test_every_way_to_a_tracer_goes_through_ours() -> None:
    assert trace.build_tracer is consumer.build_tracer
    assert trace.build_tracer._defer_wrapped
    # Task.apply and the prefork pool's process_initializer import it when they run.
    assert "from celery.app.trace import build_tracer" in inspect.getsource(Task.apply)


def test_a_tool_that_has_wrapped_the_hook_does_not_get_a_second_one(
    app: Celery, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each scope claims its run, and the second of one message would be taken for a duplicate."""
    ours = trace.build_tracer

    def build_tracer(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    monkeypatch.setattr(consumer, "build_tracer", ours)
    monkeypatch.setattr(trace, "build_tracer", build_tracer)
    app._celery_defer.store = MemoryStore()
    ship = ship_of(app)

    RelayStep(SimpleNamespace(app=app)).create(None)
    result = worker.run(parent_of(app, lambda: str(defer("ship", ship, 7).id)))
    worker.drain()

    assert hasattr(trace.build_tracer, "_defer_wrapped")
    assert app.AsyncResult(result.get()).get() == 7


class Ready:
    """What Celery's consumer tells when it is ready."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.pool = TaskPool(app=app)


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_worker_whose_pool_runs_tasks_past_the_hook_says_so(
    app: Celery, caplog: pytest.LogCaptureFixture, is_ours: bool
) -> None:
    @app.task
    def parent() -> None: ...

    build = trace.build_tracer if is_ours else inspect.unwrap(trace.build_tracer)
    parent.__trace__ = build(parent.name, parent, app=app)
    worker_ready.send(sender=Ready(app))

    said = [row.getMessage() for row in caplog.records if "a tracer of its own" in row.getMessage()]
    assert len(said) == (not is_ours)
    assert all("celery.concurrency.solo.TaskPool" in line for line in said)


@pytest.mark.usefixtures("app")
def test_celery_has_no_with_options_of_its_own() -> None:
    assert Task.with_options.__module__ == "celery_defer.app.tracer"


def test_both_handlers_are_connected_once() -> None:
    Defer(Celery("one"))
    Defer(Celery("two"))

    for signal in (task_success, task_failure):
        ours = [
            r
            for _, r in signal.receivers
            if getattr(r, "__module__", "") == "celery_defer.app.signals"
        ]
        assert len(ours) == 1


def test_a_task_is_wrapped_once_however_often_it_is_traced(app: Celery) -> None:
    @deferred
    @app.task(autoretry_for=(KeyError,))
    def ship() -> None: ...

    ship.apply()
    before = (ship.run, ship._orig_run)
    ship.apply()

    assert (ship.run, ship._orig_run) == before


def test_autoretry_calls_the_function_that_the_task_keeps(app: Celery) -> None:
    assert "task._orig_run(*args, **kwargs)" in inspect.getsource(add_autoretry_behaviour)


def test_a_success_is_stored_before_its_signal_is_sent(app: Celery, worker: Worker) -> None:
    seen: list[str] = []

    @app.task
    def parent() -> None: ...

    def on_success(sender: Any, **_: Any) -> None:
        seen.append(app.AsyncResult(sender.request.id).state)

    task_success.connect(on_success)
    worker.run(parent)

    assert seen == ["SUCCESS"]


@pytest.mark.parametrize("ends", ["success", "failure"])
def test_how_a_task_of_an_app_without_defer_ends_is_nothing_to_the_run_that_applies_it(
    app: Celery, worker: Worker, ends: str
) -> None:
    """Its signals are sent inside the run's scope; the last is sent when the body is over."""
    other = Celery("other", set_as_current=False, broker="memory://")

    @other.task
    def inner() -> None:
        if ends == "failure":
            raise ValueError

    class Applying(Task):  # type: ignore[misc]
        def on_success(self, *_: Any) -> None:
            inner.apply()
            seen.extend(worker.published())

    @deferred
    @app.task
    def ship() -> None: ...

    @app.task(base=Applying)
    def parent() -> None:
        for when in ("success", "failure"):
            defer(when, ship.with_options(when=when))

    seen: list[Any] = []
    worker.run(parent)

    assert seen == []
    assert ids_of(worker.published()) == ["success"]


def test_an_apps_proxy_answers_its_task(app: Celery) -> None:
    @app.task
    def lazy() -> None: ...

    assert isinstance(lazy._get_current_object(), Task)
    assert issubclass(PromiseProxy, Proxy)
    assert lazy.__wrapped__.__name__ == "lazy"


def test_a_spawned_child_rebuilds_the_extension_with_the_app(app: Celery) -> None:
    rebuilt = pickle.loads(pickle.dumps(app))

    assert isinstance(rebuilt._celery_defer, Defer)


def test_the_functions_that_publishing_repeats_still_take_what_it_gives() -> None:
    message = inspect.signature(CeleryClass("x").amqp.as_task_v2).parameters
    ours = {"reply_to", "create_sent_event", "root_id", "parent_id", "shadow", "argsrepr"}
    assert ours | {"kwargsrepr", "stamped_headers", "time_limit", "ignore_result"} <= message.keys()
    send = inspect.signature(CeleryClass("x").amqp.send_task_message).parameters
    assert {"producer", "name", "message", "headers", "retry", "declare"} <= send.keys()


def test_a_request_keeps_custom_headers_over_a_retry() -> None:
    request = Context({"id": "1", "task": "t", HEADER: {"id": "ship"}})

    assert request.as_execution_options()["headers"][HEADER] == {"id": "ship"}


def test_a_message_is_the_one_celery_would_have_sent(app: Celery, worker: Worker) -> None:
    app.conf.task_inherit_parent_priority = True

    @deferred
    @app.task(time_limit=30, soft_time_limit=20, ignore_result=True)
    def ship(order_id: int, tags: list[str]) -> None: ...

    @app.task
    def parent() -> None:
        defer("ship", ship, order_id=7, tags=["a"])
        ship.delay(order_id=7, tags=["a"])

    stamped = {"stamped_headers": ["tenant"], "tenant": "acme"}
    worker.run(parent, priority=5, **stamped)
    theirs, ours = (vars_of(message) for message in worker.published())

    # Celery does not hand stamps down to a task that a body sends; a deferred run inherits them.
    assert ours["headers"].pop("stamped_headers") == ["tenant"]
    assert ours["headers"].pop("stamps") == {"tenant": "acme"}
    assert ours["headers"].pop(HEADER)["parent"].endswith("parent")
    assert theirs["headers"].pop("stamped_headers") is None
    assert theirs["headers"].pop("stamps") == {}
    assert ours["headers"] == theirs["headers"]
    assert ours == theirs


def vars_of(message: Any) -> dict[str, Any]:
    headers = {key: value for key, value in message.headers.items() if key != "id"}
    own = {"correlation_id", "delivery_tag"}
    properties = {key: value for key, value in message.properties.items() if key not in own}
    return {"headers": headers, "properties": properties, "payload": message.payload}


def test_an_apply_async_of_ones_own_is_used(app: Celery, worker: Worker) -> None:
    calls: list[Any] = []

    class Watched(Task):  # type: ignore[misc]
        abstract = True

        def apply_async(self, *args: Any, **options: Any) -> Any:
            calls.append(options["task_id"])
            return super().apply_async(*args, **options)

    @deferred
    @app.task(base=Watched)
    def ship() -> None: ...

    @app.task
    def parent() -> str:
        return str(defer("ship", ship).id)

    result = worker.run(parent)
    worker.drain()

    assert calls == [result.get()]
    assert len(result.children) == 1


def test_the_public_names_are_those_that_are_listed() -> None:
    public = {name for name in vars(celery_defer) if not name.startswith("_")}
    modules = {name for name in public if inspect.ismodule(getattr(celery_defer, name))}

    assert public - modules == set(celery_defer.__all__)
    assert not modules & set(celery_defer.__all__)


_NO_ERRORS = {"Cancelled", "NonRetriable", "RetryAfter", "Suspended"}


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - _NO_ERRORS))
def test_every_error_has_a_message_and_survives_pickling(name: str) -> None:
    kind = getattr(errors, name)

    assert str(kind()).split() == inspect.getdoc(kind).split()
    again = pickle.loads(pickle.dumps(kind("text")))
    assert (type(again), str(again), again.args) == (kind, "text", kind("text").args)
    assert issubclass(kind, errors.DeferError)


@pytest.mark.parametrize(
    ("headers", "events"),
    [({WAKE: {"turn": 1, "token": "t"}}, [("task-retried", "run")]), ({"id": "run"}, [])],
    ids=["a wake-up", "another message"],
)
def test_the_worker_that_receives_a_wake_up_says_so_before_celerys_own_events(
    headers: dict[str, Any], events: list[tuple[str, str]]
) -> None:
    """By Celery's own dispatcher of events, which sends them where it is to."""
    sent: list[tuple[str, str]] = []

    class Consumer:
        event_dispatcher = SimpleNamespace(send=lambda event, uuid: sent.append((event, uuid)))

    task_received.send(
        sender=Consumer(),
        request=SimpleNamespace(id="run", message=SimpleNamespace(headers=headers)),
    )

    assert sent == events
