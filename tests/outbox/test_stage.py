"""Rules 5.1 and 5.3: what a run defers is in the store before its success is, and gone after."""

from __future__ import annotations

from time import monotonic, time
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject

from celery_defer import Defer, defer
from celery_defer.model import Outcome
from tests.support.inside import WatchedStore, Worker, ids_of, ship_of


@pytest.fixture
def parent(app: Celery, ship: Any) -> Any:
    @app.task(name="parent", shared=False)
    def parent() -> str:
        defer("ship", ship, 1)
        return "done"

    return parent


def spied(app: Celery, look: Any) -> None:
    """Let *look* see each result before it is stored: app.backend is the test's own."""
    store_result = app.backend.store_result

    def looked(id: str, result: Any, state: str, **options: Any) -> Any:
        look(id, state)
        return store_result(id, result, state, **options)

    app.backend.store_result = looked


# -- the order of things ------------------------------------------------------------------


def test_5_1_the_record_is_there_before_success_is_stored(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any
) -> None:
    seen: list[Any] = []
    spied(app, lambda run, state: seen.append((run, state, [r.parent for r in store.records()])))

    result = worker.run(parent)

    assert seen == [(result.id, "SUCCESS", [result.id])]


def test_the_record_is_gone_once_the_calls_are_published(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any
) -> None:
    worker.run(parent)

    assert ids_of(worker.published()) == ["ship"]
    assert store.asked == ["stage", "settle"]
    assert store.records() == []


def test_nothing_is_published_before_success_is_stored(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any
) -> None:
    seen: list[Any] = []
    spied(app, lambda _, state: seen.append((state, worker.published())))

    worker.run(parent)

    assert seen == [("SUCCESS", [])]


def test_the_relay_first_looks_after_the_grace_period(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any
) -> None:
    app.conf.defer_grace = 60
    store.away = {"settle"}
    began = time()
    worker.run(parent)

    assert store.take(began + 59, began + 99, 9) == []
    assert len(store.take(time() + 60, time() + 99, 9)) == 1


def test_the_record_says_what_is_needed_to_publish(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any
) -> None:
    store.away = {"settle"}
    result = worker.run(parent, root_id="root", priority=3)

    (kept,) = store.records()
    assert (kept.parent, kept.root, kept.task) == (result.id, "root", "parent")
    assert kept.verdict is None
    assert [(call.id, call.task) for call in kept.calls] == [("ship", "ship")]


# -- once an attempt, and only where there is something to keep ---------------------------------


def test_an_attempt_that_is_tried_again_stages_nothing(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task(bind=True)
    def parent(self: Any) -> None:
        defer(f"attempt-{self.request.retries}", ship, 1)
        if self.request.retries < 2:
            raise self.retry(countdown=0)

    worker.run(parent)
    assert store.asked == []
    worker.drain()

    assert store.asked.count("stage") == 1


@pytest.mark.parametrize(
    ("first_succeeded", "kept"),
    [
        (False, "call-2"),  # a crash has left its record
        (True, "call-1"),  # Celery keeps a stored SUCCESS, and so its calls count
    ],
)
def test_a_redelivered_parents_record_takes_the_place_of_one_that_has_no_success(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, first_succeeded: bool, kept: str
) -> None:
    attempts: list[str] = []

    @app.task(name="parent")
    def parent() -> None:
        attempts.append("attempt")
        defer(f"call-{len(attempts)}", ship, 1)

    store.away = {"settle"}
    parent.apply_async()
    (message,) = worker.published()
    worker.trace(message)
    if not first_succeeded:
        app.AsyncResult(message.headers["id"]).forget()
    worker.trace(message)

    (record,) = store.records()
    assert [call.id for call in record.calls] == [kept]


@pytest.mark.parametrize(
    ("again", "first_succeeded", "kept"),
    [
        ("defers nothing", False, 0),
        ("fails", False, 0),
        ("fails", True, 1),  # Celery keeps a stored SUCCESS, and so its calls count
        ("retries", False, 1),  # a later attempt decides
    ],
)
def test_a_redelivered_parent_takes_back_what_a_killed_attempt_has_staged(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    ship: Any,
    again: str,
    first_succeeded: bool,
    kept: int,
) -> None:
    attempts: list[str] = []

    @app.task(name="parent", bind=True)
    def parent(self: Any) -> None:
        attempts.append("attempt")
        if len(attempts) == 1:
            defer("ship", ship, 1)
        elif again == "fails":
            raise ValueError
        elif again == "retries":
            raise self.retry(countdown=0)

    store.away = {"settle"}
    parent.apply_async()
    (message,) = worker.published()
    worker.trace(message)
    worker.published()
    assert len(store.records()) == 1
    store.away = set()
    if not first_succeeded:
        app.AsyncResult(message.headers["id"]).forget()
    message.delivery_info["redelivered"] = True
    worker.trace(message)

    assert len(store.records()) == kept


def test_a_redelivered_parent_that_returns_early_takes_back_no_call_of_a_run_without_result(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    orders: list[str] = []

    @app.task(name="parent", ignore_result=True)
    def parent() -> None:
        if not orders:
            orders.append("order")
            defer("ship", ship, 1)

    store.away = {"settle"}  # as if it had been killed
    parent.apply_async()
    (message,) = worker.published()
    worker.trace(message)
    worker.published()
    store.away = set()
    message.delivery_info["redelivered"] = True
    worker.trace(message)

    assert ids_of(worker.later(60)) == ["ship"]


def test_a_parent_that_defers_nothing_asks_the_store_nothing(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @app.task
    def parent() -> str:
        return "done"

    assert worker.run(parent).get() == "done"
    assert store.asked == []


def test_a_parent_all_of_whose_calls_are_skipped_only_says_so_in_its_record(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        defer("bad", ship, "no number")
        defer("aborted", ship, 1).abort()

    worker.run(parent)

    assert store.asked == ["note"]


def test_a_failed_parent_asks_the_store_nothing(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        defer("ship", ship, 1)
        raise ValueError

    worker.run(parent)

    assert store.asked == []
    assert worker.published() == []


@pytest.mark.parametrize("start", ["task_always_eager", "apply"])
def test_in_eager_mode_the_store_is_asked_nothing(
    app: Celery, store: WatchedStore, parent: Any, ship: Any, start: str
) -> None:
    app.conf.task_always_eager = start == "task_always_eager"
    result = parent.apply() if start == "apply" else parent.delay()

    assert result.get() == "done"
    assert store.asked == []


def test_5_7_an_app_without_a_store_publishes_from_memory(
    app: Celery, worker: Worker, parent: Any
) -> None:
    assert app._celery_defer.store is None

    worker.run(parent)

    assert ids_of(worker.published()) == ["ship"]


# -- 5.3: the store is away ---------------------------------------------------------------------


def test_a_store_that_is_away_does_not_touch_the_parent(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any, caplog: Any
) -> None:
    store.away = {"stage"}

    result = worker.run(parent)

    assert (result.state, result.get()) == ("SUCCESS", "done")
    assert len(result.children) == 1
    assert ids_of(worker.published()) == ["ship"]
    assert f"run {result.id} (parent): what it deferred is not staged" in caplog.text
    assert store.asked == ["stage"]


def test_a_store_that_is_away_at_the_end_leaves_the_record_to_the_relay(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any, caplog: Any
) -> None:
    store.away = {"settle"}

    result = worker.run(parent)

    assert result.get() == "done"
    assert ids_of(worker.published()) == ["ship"]
    assert f"run {result.id}: its record cannot be settled" in caplog.text
    assert store.waiting() == 1


def test_a_record_that_json_cannot_hold_is_published_from_memory(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any
) -> None:
    parent.apply_async()
    (message,) = worker.published()
    message.headers.update(stamped_headers=["odd"], stamps={"odd": object()})

    worker.trace(message)

    assert app.AsyncResult(message.headers["id"]).get() == "done"
    assert store.waiting() == 0


@pytest.fixture
def failing(nowhere: Celery) -> Any:
    """A parent without a broker; it ends as it is told."""
    ship = nowhere.tasks["ship"]

    @nowhere.task(name="parent", shared=False, bind=True)
    def parent(self: Any) -> str:
        for when in ("success", "failure", "now"):
            defer(when, ship.with_options(when=when), 1)
        if nowhere.main == "failing":
            raise ValueError
        return "done"

    return parent


@pytest.mark.parametrize(("name", "outcome"), [("fine", "SUCCESS"), ("failing", "FAILURE")])
def test_5_3_a_broker_that_is_away_leaves_the_calls_and_the_verdict_in_the_store(
    app: Celery, nowhere: Celery, failing: Any, name: str, outcome: str
) -> None:
    nowhere.main = name
    store = nowhere._celery_defer.store

    result = Worker(nowhere).perform(failing)

    assert result.state == outcome
    alone, kept = store.records()
    assert [call.id for call in alone.calls] == ["now"]
    assert [call.id for call in kept.calls] == [outcome.lower()]
    assert kept.verdict == outcome


def test_4_4_a_parent_without_broker_and_store_ends_as_ever(
    app: Celery, nowhere: Celery, failing: Any, caplog: Any
) -> None:
    nowhere._celery_defer.store.away = {"stage", "settle", "postpone", "quarantine", "claim"}

    result = Worker(nowhere).perform(failing)

    assert (result.state, result.result) == ("SUCCESS", "done")
    for defer_id in ("success", "now"):
        assert f"defer '{defer_id}' of run {result.id} (parent) is lost" in caplog.text


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_is_away_is_tried_for_as_long_as_celery_tries(scheme: str) -> None:
    app = Celery(f"nowhere-{scheme}", broker=f"{scheme}://127.0.0.1:1", backend="cache+memory://")
    Defer(app)
    app._celery_defer.store = WatchedStore()
    ship = ship_of(app)

    @app.task(name="parent", shared=False)
    def parent() -> None:
        defer("ship", ship, 1)

    began = monotonic()
    Worker(app).perform(parent)

    # task_publish_retry_policy: three more tries, after 0, 0.2 and 0.4 seconds.
    assert monotonic() - began < 3


# -- whose record decides alone ------------------------------------------------------------


def test_5_1_a_parent_that_ignores_its_result_is_judged_by_its_record(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task(ignore_result=True)
    def parent() -> None:
        defer("ship", ship, 1)

    store.away = {"settle"}
    worker.run(parent)

    assert [kept.verdict for kept in store.records()] == [Outcome.SUCCESS]


@pytest.mark.parametrize(("ignores", "verdict"), [(True, Outcome.SUCCESS), (False, None)])
def test_a_call_of_the_parent_may_ignore_its_result(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, ignores: bool, verdict: Any
) -> None:
    @app.task(ignore_result=not ignores)
    def parent() -> None:
        defer("ship", ship, 1)

    store.away = {"settle"}
    worker.run(parent, ignore_result=ignores)

    assert [kept.verdict for kept in store.records()] == [verdict]


@pytest.mark.parametrize("backend", [None, "rpc://"])
def test_a_parent_without_a_backend_to_read_is_judged_by_its_record(
    app: Celery, backend: str | None
) -> None:
    silent = Celery(f"silent-{backend}", broker="memory://", backend=backend)
    Defer(silent)
    silent._celery_defer.store = store = WatchedStore()
    store.away = {"settle"}
    ship = ship_of(silent)

    @silent.task(name="parent", shared=False)
    def parent() -> None:
        defer("ship", ship, 1)

    worker = Worker(silent)
    worker.perform(parent)
    worker.published()

    assert [kept.verdict for kept in store.records()] == [Outcome.SUCCESS]


# -- 4.2: when ------------------------------------------------------------------------------


def succeeds(task: Any) -> str:
    return "done"


def fails(task: Any) -> None:
    raise ValueError("no")


def answers_no_json(task: Any) -> object:
    return object()


def tries_again(task: Any) -> None:
    raise task.retry(countdown=0)


def gives_up(task: Any) -> None:
    raise task.retry(exc=ValueError("no"), max_retries=0)


def ignores(task: Any) -> None:
    raise Ignore


def rejects(task: Any) -> None:
    raise Reject(requeue=False)


@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize(
    ("end", "published"),
    [
        (succeeds, ["now", "success", "always"]),
        (fails, ["now", "failure", "always"]),
        (answers_no_json, ["now", "failure", "always"]),
        (gives_up, ["now", "failure", "always"]),
        (tries_again, ["now"]),
        (ignores, ["now"]),
        (rejects, ["now"]),
    ],
)
def test_4_2_a_call_starts_when_it_says(
    app: Celery, worker: Worker, ship: Any, end: Any, published: list[str], has_store: bool
) -> None:
    store = WatchedStore()
    app._celery_defer.store = store if has_store else None

    @app.task(bind=True, name="parent")
    def parent(self: Any) -> Any:
        for when in ("now", "success", "failure", "always"):
            defer(when, ship.with_options(when=when), 1)
        return end(self)

    worker.run(parent)

    ours = [m for m in worker.published() if m.headers["task"] == "ship"]
    assert ids_of(ours) == published
    assert store.waiting() == 0


def test_calls_for_a_failure_are_in_the_store_before_the_failure_is(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    seen: list[Any] = []
    spied(app, lambda _, state: seen.append((state, [len(r.calls) for r in store.records()])))

    @app.task
    def parent() -> None:
        defer("ship", ship.with_options(when="failure"), 1)
        raise ValueError

    worker.run(parent)

    assert seen == [("FAILURE", [1])]


def test_a_parent_that_succeeds_keeps_its_calls_for_a_failure_from_starting(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        defer("ship", ship.with_options(when="failure"), 1)

    result = worker.run(parent)

    assert worker.published() == []
    assert result.children == []
    assert store.waiting() == 0


def test_4_2_now_is_published_inside_the_body_and_linked(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    seen: list[Any] = []

    @app.task
    def parent() -> str:
        handle = defer("ship", ship.with_options(when="now"), 1)
        seen.extend(worker.published())
        return handle.id

    result = worker.run(parent)

    assert ids_of(seen) == ["ship"]
    assert [child.id for child in result.children] == [result.get()]
    assert store.asked == []


def test_now_goes_out_once_for_an_id(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        defer("ship", ship.with_options(when="now"), 1)
        defer("ship", ship.with_options(when="now"), 2)

    worker.run(parent)

    assert ids_of(worker.published()) == ["ship"]


def test_links_of_a_parent_whose_answer_is_no_json_are_taken_back(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task
    def parent() -> object:
        defer("ship", ship, 1)
        return object()

    result = worker.run(parent)

    assert result.state == "FAILURE"
    assert not result.children
    assert worker.published() == []
    assert store.waiting() == 0
