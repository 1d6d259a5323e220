"""Rule 4.4: publishing does not touch the parent; one bad message holds back no other."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.signals import after_task_publish, before_task_publish
from kombu.serialization import register, unregister

from celery_defer import Defer, ResultError, current_run, defer, deferred, run_id
from celery_defer.outbox.links import MAX_LINKS
from tests.support.inside import WatchedStore, Worker, ids_of


def parent_of(app: Celery, *calls: Any) -> Any:
    @app.task(name="parent")
    def parent() -> str:
        for number, (function, *args) in enumerate(calls):
            defer(f"call-{number}", function, *args)
        return "done"

    return parent


def test_a_message_that_cannot_be_encoded_holds_back_no_other(
    app: Celery, worker: Worker, ship: Any, caplog: Any
) -> None:
    def encode(value: Any) -> str:
        raise KeyError("broken")

    register("broken", encode, str, "application/broken")

    @deferred
    @app.task(serializer="broken")
    def broken(n: int) -> None: ...

    result = worker.run(parent_of(app, (ship, 1), (broken, 2), (ship, 3)))
    unregister("broken")

    assert (result.state, result.get()) == ("SUCCESS", "done")
    assert [ran.get() for ran in worker.drain()] == [1, 3]
    assert f"defer 'call-1' of run {result.id} (parent) is lost" in caplog.text


def test_a_broker_that_is_away_does_not_touch_the_parent(caplog: Any, app: Celery) -> None:
    nowhere = Celery("nowhere", broker="redis://127.0.0.1:1/0", backend="cache+memory://")
    Defer(nowhere)

    @deferred
    @nowhere.task(name="ship")
    def ship(n: int) -> None: ...

    result = Worker(nowhere).perform(parent_of(nowhere, (ship, 1), (ship, 2)))

    assert (result.state, result.get()) == ("SUCCESS", "done")
    assert "the broker is away" in caplog.text
    for n in (0, 1):
        assert f"defer 'call-{n}' of run {result.id} (parent) is lost" in caplog.text


def test_a_function_of_another_app_is_skipped_alone(
    app: Celery, worker: Worker, ship: Any, caplog: Any
) -> None:
    other = Celery("other", set_as_current=False)

    @deferred
    @other.task(name="elsewhere", shared=False)
    def elsewhere(n: int) -> None: ...

    worker.run(parent_of(app, (elsewhere, 1), (ship, 2)))

    assert [ran.get() for ran in worker.drain()] == [2]
    assert "elsewhere belongs to another app than the run" in caplog.text


def test_a_backend_that_is_away_loses_no_call(
    app: Celery, worker: Worker, ship: Any, caplog: Any
) -> None:
    @app.task(name="parent", ignore_result=True)
    def parent() -> None:
        defer("bad", ship, "no number")
        defer("good", ship, 1)
        app.backend.store_result = away

    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionRefusedError("no backend")

    worker.run(parent)

    assert len(worker.published()) == 1
    assert "what it skipped or aborted could not be recorded" in caplog.text


def test_celerys_publish_signals_are_sent_for_each(app: Celery, worker: Worker, ship: Any) -> None:
    seen: list[Any] = []

    def before(headers: Any, body: Any, **_: Any) -> None:
        headers["traced"] = True
        seen.append(("before", headers["id"], body[0]))

    def after(headers: Any, **_: Any) -> None:
        seen.append(("after", headers["id"]))

    before_task_publish.connect(before, sender="ship")
    after_task_publish.connect(after, sender="ship")
    result = worker.run(parent_of(app, (ship, 1), (ship, 2)))
    ids = [run_id(result.id, f"call-{n}") for n in (0, 1)]

    assert seen == [
        ("before", ids[0], (1,)),
        ("after", ids[0]),
        ("before", ids[1], (2,)),
        ("after", ids[1]),
    ]
    assert all(message.headers["traced"] for message in worker.published())


def test_routes_hold(app: Celery, worker: Worker, ship: Any) -> None:
    def by_argument(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return {"queue": f"ships-{args[0]}"} if name == "ship" else None

    app.conf.task_routes = (by_argument,)
    worker.run(parent_of(app, (ship, 1), (ship, 2)))

    for n in (1, 2):
        (message,) = worker._received(f"ships-{n}")
        assert message.payload[0] == [n]


def test_6_1_the_first_thousand_are_listed(app: Celery, worker: Worker, ship: Any) -> None:
    result = worker.run(parent_of(app, *[(ship, n) for n in range(MAX_LINKS + 1)]))
    children = [child.id for child in result.children]

    assert children == [run_id(result.id, f"call-{n}") for n in range(MAX_LINKS)]
    assert len(worker.published()) == MAX_LINKS + 1


def test_a_task_without_a_trail_lists_nothing(app: Celery, worker: Worker, ship: Any) -> None:
    @app.task(trail=False)
    def parent() -> None:
        defer("ship", ship, 1)

    assert worker.run(parent).children == []


def test_a_parent_without_a_stored_result_says_so(app: Celery, worker: Worker) -> None:
    problems: list[str] = []

    @deferred
    @app.task
    def score() -> None:
        run = current_run()
        assert run.parent
        try:
            run.parent.result()
        except ResultError as problem:
            problems.append(str(problem))

    @app.task(ignore_result=True)
    def parent() -> None:
        defer("score", score)

    worker.run(parent)
    worker.drain()

    assert "has no stored result: it ignores its result" in problems[0]


def test_an_app_without_a_backend_says_so(app: Celery) -> None:
    silent = Celery("silent", broker="memory://")
    Defer(silent)
    problems: list[str] = []

    @deferred
    @silent.task
    def score() -> None:
        run = current_run()
        assert run.parent
        try:
            run.parent.result()
        except ResultError as problem:
            problems.append(str(problem))

    @silent.task
    def parent() -> None:
        defer("score", score)

    worker = Worker(silent)
    worker.perform(parent)
    worker.drain()

    assert "the app has no result_backend" in problems[0]


def test_calls_are_published_though_committing_them_failed(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    ship: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @app.task(name="parent", shared=False)
    def parent() -> None:
        defer("ship", ship, 1)

    def broken(_: object) -> None:
        raise ValueError("a backend that cannot be made")

    monkeypatch.setattr("celery_defer.app.receive.commit", broken)
    worker.run(parent)

    assert ids_of(worker.published()) == ["ship"]
    assert store.records() == []
    assert "its calls are not committed" in caplog.text
