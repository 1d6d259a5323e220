"""Rule 5.1: which calls go in one transaction with the result, and what becomes of the others."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.signals import after_task_publish, before_task_publish
from kombu.serialization import loads, register, unregister

from celery_defer import defer, deferred, run_id, step
from celery_defer.model import When
from tests.support.inside import Worker, ids_of, parent_of, ship_of
from tests.support.one_redis import (
    ONE_TRANSACTION,
    app_on,
    asked_of,
    is_one_script,
    lengths,
    perform_watched,
    staged,
)
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION


@pytest.fixture
def app(server: Server) -> Celery:
    return app_on(server)


@pytest.fixture
def parent(app: Celery, ship: Any) -> Any:
    """A task that defers one call, and returns 7."""

    def body() -> int:
        defer("ship", ship, 1)
        return 7

    return parent_of(app, body)


def test_defer_commit_signal_forces_the_general_way(server: Server) -> None:
    app = app_on(server, defer_commit="signal")
    ship = ship_of(app)
    result, asked = perform_watched(
        server, app, parent_of(app, lambda: defer("ship", ship, 1) and 7)
    )

    verbs = [each.verb for each in asked if not each.in_script]
    assert verbs == ["EVALSHA", "EVALSHA", "LPUSH", "EVALSHA"]
    assert (result.get(), len(result.children)) == (7, 1)
    assert lengths(server) == [2]
    assert staged(app) == 0


@pytest.mark.parametrize("when", ["failure", "always"])
def test_what_may_wait_for_a_failure_is_staged_before_the_result(
    server: Server, app: Celery, when: When
) -> None:
    ship = ship_of(app)

    def body() -> None:
        defer("other", ship, 1)
        defer("ship", ship.with_options(when=when), 2)

    _, asked = perform_watched(server, app, parent_of(app, body))

    assert "ZADD" in [each.verb for each in asked]
    assert lengths(server) == [4 if when == "always" else 2]
    assert staged(app) == 0


def test_what_has_been_sent_at_once_holds_up_no_other(
    server: Server, app: Celery, ship: Any
) -> None:
    def body() -> None:
        defer("now", ship.with_options(when="now"), 1)
        defer("ship", ship, 2)

    result, asked = perform_watched(server, app, parent_of(app, body))

    assert [each.verb for each in asked if not each.in_script] == ["LPUSH", "EVALSHA"]
    assert len(result.children) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"countdown": 60},
        {"eta": datetime(2040, 1, 1, tzinfo=timezone.utc)},
        {"expires": 60},
        {"headers": {"tenant": "acme"}},
        {"queue": "mail"},
        {"priority": 3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_calls_of_any_options_go_with_the_result_as_celery_writes_them(
    server: Server, app: Celery, worker: Worker, options: Any
) -> None:
    ship = ship_of(app)
    parent = parent_of(app, lambda: defer("ship", ship.with_options(**options), 1) and None)
    result, asked = perform_watched(server, app, parent)
    assert is_one_script(asked)
    assert_written_as_celery_does(worker, ship, result, options)


@pytest.mark.parametrize(
    "options",
    [
        {"serializer": "pickle"},
        {"compression": "zlib"},
        {"time_limit": 5, "soft_time_limit": 4, "ignore_result": True},
        {"expires": 60},
    ],
    ids=lambda options: next(iter(options)),
)
def test_calls_of_a_task_of_any_options_go_with_the_result_as_celery_writes_them(
    server: Server, app: Celery, worker: Worker, options: Any
) -> None:
    @deferred
    @app.task(name="ship", shared=False, **options)
    def ship(n: int) -> None: ...

    parent = parent_of(app, lambda: defer("ship", ship, 1) and None)
    result, asked = perform_watched(server, app, parent)
    assert is_one_script(asked)
    assert_written_as_celery_does(worker, ship, result, {})


def assert_written_as_celery_does(worker: Worker, ship: Any, result: Any, options: Any) -> None:
    theirs = ship.apply_async((1,), task_id=run_id(result.id, "ship"), **options)
    *_, ours, sent = worker._received(options.get("queue"))
    assert _body_of(ours) == _body_of(sent)
    own = {"celery_defer", "id", "eta", "expires", "parent_id", "root_id"}
    assert {k: v for k, v in ours.headers.items() if k not in own} == {
        k: v for k, v in sent.headers.items() if k not in own
    }
    assert ours.headers["id"] == theirs.id
    assert [bool(ours.headers[k]) for k in ("eta", "expires")] == [
        bool(sent.headers[k]) for k in ("eta", "expires")
    ]
    assert ours.properties["priority"] == sent.properties["priority"]


def _body_of(message: Any) -> Any:
    return loads(message.body, message.content_type, message.content_encoding, force=True)


def test_a_parents_stamps_go_with_its_calls(app: Celery, worker: Worker, parent: Any) -> None:
    worker.run(parent, stamped_headers=["tenant"], tenant="acme")

    [message] = worker.published()
    assert message.headers["stamps"] == {"tenant": "acme"}


def test_calls_of_several_priorities_and_queues_go_into_their_lists(server: Server) -> None:
    app = app_on(
        server,
        broker_transport_options={"priority_steps": [0, 3, 6], "sep": ":"},
        task_queue_max_priority=9,
    )
    ship = ship_of(app)

    def body() -> None:
        for priority in (0, 3, 6):
            defer(f"p-{priority}", ship.with_options(priority=priority), 1)
        defer("mail", ship.with_options(queue="mail"), 1)

    _, asked = perform_watched(server, app, parent_of(app, body))

    assert is_one_script(asked)
    assert lengths(server, "celery", "celery:3", "celery:6", "mail") == [2, 2, 2, 2]


def test_events_of_sent_tasks_go_with_the_result(server: Server) -> None:
    app = app_on(server, task_send_sent_event=True)
    ship, listener = ship_of(app), server.client().pubsub(ignore_subscribe_messages=True)
    parent = parent_of(app, lambda: defer("ship", ship, 1) and None)
    _, asked = perform_watched(server, app, parent)

    assert is_one_script(asked)
    events = [each.key for each in asked if each.verb == "PUBLISH" and "celeryev" in each.key]
    assert events == ["/3.celeryev/task.sent"]
    listener.close()


def test_celerys_publish_signals_are_sent_and_heeded(app: Celery, worker: Worker) -> None:
    seen: list[str] = []

    def before(headers: Any, **_: Any) -> None:
        headers["traced"] = True
        seen.append("before")

    def after(**_: Any) -> None:
        seen.append("after")

    ship = ship_of(app)
    before_task_publish.connect(before, sender="ship")
    after_task_publish.connect(after, sender="ship")
    worker.perform(parent_of(app, lambda: defer("ship", ship, 1) and None))

    [message] = worker.published()
    assert message.headers["traced"]
    assert seen == ["before", "after"]


@pytest.mark.parametrize(("calls", "size"), [(1_001, 1), (2, 131_073)])
def test_calls_that_are_too_many_or_too_large_hold_up_no_result(
    server: Server, app: Celery, calls: int, size: int
) -> None:
    @deferred
    @app.task(name="big", shared=False)
    def big(text: str) -> None: ...

    parent = parent_of(
        app, lambda: [defer(f"call-{n}", big, "x" * size) for n in range(calls)] and 7
    )
    result = Worker(app).perform(parent)
    with asked_of(server) as asked:
        Worker(app).perform(parent)

    verbs = [each.verb for each in asked if not each.in_script]
    # Stage, result, settle; the facts about more than 500 calls go in parts.
    assert verbs.count("EVALSHA") == (7 if calls > 500 else 3)
    assert verbs.count("LPUSH") == calls or "MULTI" in verbs
    assert lengths(server) == [2 * calls]
    assert result.get() == 7
    assert staged(app) == 0


def test_a_call_whose_task_is_not_known_waits_alone(app: Celery, worker: Worker, ship: Any) -> None:
    @deferred
    @app.task(name="elsewhere", shared=False)
    def elsewhere(n: int) -> None: ...

    def body() -> int:
        defer("other", elsewhere, 1)
        defer("ship", ship, 2)
        del app.tasks["elsewhere"]
        return 7

    result = worker.run(parent_of(app, body))

    assert result.get() == 7
    assert ids_of(worker.published()) == ["ship"]
    assert staged(app) == 1


def test_a_message_that_cannot_be_made_holds_back_no_other(
    app: Celery, worker: Worker, ship: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def encode(value: Any) -> str:
        raise KeyError("broken")

    name = f"broken-{uuid4()}"
    register(name, encode, str, f"application/{name}")

    @deferred
    @app.task(name="broken", shared=False, serializer=name)
    def broken(n: int) -> None: ...

    def body() -> int:
        defer("one", ship, 1)
        defer("broken", broken, 2)
        defer("three", ship, 3)
        return 7

    result = worker.run(parent_of(app, body))
    unregister(name)

    assert (result.get(), len(result.children)) == (7, 3)
    assert ids_of(worker.published()) == ["one", "three"]
    assert "cannot be published" in caplog.text
    [entry] = app._celery_defer.store.quarantined()
    assert b"broken" in entry.body


def test_a_run_with_steps_asks_for_nothing_more_at_its_end(server: Server) -> None:
    app = app_on(server)
    app.conf.result_expires = 100_000
    ship = ship_of(app)
    task = parent_of(app, lambda: step.run("charge", int) or (defer("ship", ship, 1) and 7))

    result, asked = perform_watched(server, app, task)

    verbs = [each.verb for each in asked if not each.in_script]
    assert verbs == ["EVALSHA"] * 3  # the steps are read, one is written, and the commit
    key = f"celery-defer:{{{result.id}}}:run"
    assert 99_000 < server.client(db=4).ttl(key) <= 100_000
    assert result.get() == 7


def test_a_run_with_steps_and_its_store_elsewhere_forgets_them_too(server: Server) -> None:
    app = app_on(server, defer_store_url=f"{server.url}/5")
    app.conf.result_expires = 100_000
    ship = ship_of(app)
    task = parent_of(app, lambda: step.run("charge", int) or (defer("ship", ship, 1) and 7))

    result, _ = perform_watched(server, app, task)

    key = f"celery-defer:{{{result.id}}}:run"
    assert 99_000 < server.client(db=5).ttl(key) <= 100_000
    assert result.get() == 7
