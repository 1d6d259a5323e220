"""Rule 5.4: a deferred run's body completes once, however many messages of it there are."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app import trace
from celery.concurrency.solo import TaskPool
from celery.worker.request import Request, create_request_cls

from celery_defer import StoreError, abort, current_run, defer, deferred, run_id
from celery_defer.model import HEADER
from tests.support.inside import WatchedStore, Worker


@pytest.fixture
def ran() -> list[int]:
    return []


@pytest.fixture
def ship(app: Celery, ran: list[int]) -> Any:
    @deferred
    @app.task(name="ship", shared=False, bind=True)
    def ship(self: Any, n: int, tries: int = 0) -> int:
        ran.append(n)
        if self.request.retries < tries:
            raise self.retry(countdown=0)
        return n

    return ship


@pytest.fixture
def message(app: Celery, worker: Worker, store: WatchedStore, ship: Any) -> Any:
    """The one message of a deferred run."""
    return published_by(app, worker, ship, n=7)


def published_by(app: Celery, worker: Worker, ship: Any, **payload: Any) -> Any:
    @app.task(name="parent", shared=False)
    def parent() -> None:
        defer("ship", ship, **payload)

    worker.run(parent)
    (message,) = worker.published()
    return message


def with_token(message: Any, token: str | None) -> Any:
    message.headers[HEADER] = {**message.headers[HEADER], "token": token}
    if token is None:
        del message.headers[HEADER]["token"]
    return message


def redelivered(message: Any) -> Any:
    message.delivery_info["redelivered"] = True
    return message


def test_the_first_message_runs(worker: Worker, message: Any, ran: list[int]) -> None:
    worker.trace(message)

    assert ran == [7]


def test_a_publication_after_the_first_does_not_run(
    worker: Worker, message: Any, ran: list[int], caplog: Any
) -> None:
    caplog.set_level("INFO")
    worker.trace(message)

    answer = worker.trace(with_token(message, "another publication"))

    assert ran == [7]
    assert answer.info.state == "IGNORED"
    assert f"run {message.headers['id']} (ship) has been started, or was aborted" in caplog.text


def test_a_redelivery_of_another_publication_does_not_run(
    worker: Worker, message: Any, ran: list[int]
) -> None:
    worker.trace(message)
    worker.trace(redelivered(with_token(message, "another publication")))

    assert ran == [7]


def test_a_retry_of_another_publication_does_not_run(
    worker: Worker, message: Any, ran: list[int]
) -> None:
    worker.trace(message)
    with_token(message, "another publication").headers["retries"] = 1
    worker.trace(message)

    assert ran == [7]


def test_the_same_message_twice_runs_once(worker: Worker, message: Any, ran: list[int]) -> None:
    worker.trace(message)
    worker.trace(message)

    assert ran == [7]


def test_5_5_a_redelivery_of_the_first_message_runs_again(
    worker: Worker, message: Any, ran: list[int]
) -> None:
    worker.trace(message)
    worker.trace(redelivered(message))

    assert ran == [7, 7]


def test_a_redelivered_message_that_never_started_runs(
    worker: Worker, message: Any, ran: list[int]
) -> None:
    worker.trace(redelivered(message))

    assert ran == [7]


def test_5_5_retries_run(app: Celery, worker: Worker, store: Any, ship: Any, ran: Any) -> None:
    message = published_by(app, worker, ship, n=7, tries=2)
    worker.trace(message)
    worker.drain()

    assert ran == [7, 7, 7]
    assert app.AsyncResult(message.headers["id"]).get() == 7


def test_a_second_publication_of_a_run_that_is_between_its_retries_does_not_run(
    app: Celery, worker: Worker, store: Any, ship: Any, ran: Any
) -> None:
    message = published_by(app, worker, ship, n=7, tries=1)
    worker.trace(message)
    (retry,) = worker.published()
    worker.trace(with_token(message, "another publication"))
    worker.trace(retry)

    assert ran == [7, 7]
    assert app.AsyncResult(message.headers["id"]).get() == 7


@pytest.mark.parametrize("token", [None, ""])
def test_a_message_without_a_token_runs_once(
    worker: Worker, message: Any, ran: list[int], token: str | None
) -> None:
    worker.trace(with_token(message, token))
    worker.trace(message)
    worker.trace(with_token(message, "another publication"))

    assert ran == [7]


@pytest.mark.parametrize("header", [{}, {"id": "ship"}, {"at": "never"}, {"at": 1e99}, "text", []])
def test_a_header_that_is_not_ours_does_not_stop_a_run(
    worker: Worker, message: Any, ran: list[int], header: Any
) -> None:
    message.headers[HEADER] = header

    worker.trace(message)

    assert ran == [7]


def test_a_store_that_is_away_lets_the_run_start(
    worker: Worker, store: WatchedStore, message: Any, ran: list[int], caplog: Any
) -> None:
    store.away = {"claim"}

    worker.trace(message)

    assert ran == [7]
    assert f"run {message.headers['id']}: the store is away, so it starts unclaimed" in caplog.text


def test_a_run_that_was_not_deferred_is_not_claimed(
    worker: Worker, store: WatchedStore, ship: Any, ran: list[int]
) -> None:
    worker.run(ship, 3)
    ship.apply((4,))

    assert ran == [3, 4]
    assert store.asked == []


def test_a_message_of_another_task_under_its_id_does_not_stop_a_follow_up(
    app: Celery, worker: Worker, message: Any, ran: list[int]
) -> None:
    @app.task(name="plain", shared=False)
    def plain() -> None: ...

    @deferred
    @app.task(name="other", shared=False)
    def other() -> None: ...

    id, header = message.headers["id"], message.headers[HEADER]
    for task in (plain, other):
        worker.run(task, task_id=id, headers={HEADER: {**header, "token": "forged"}})
    worker.trace(message)

    assert ran == [7]


def test_a_header_of_ours_on_a_task_without_a_contract_is_not_believed(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    seen = []

    @app.task(name="plain", shared=False)
    def plain() -> None:
        seen.append(current_run().parent)

    worker.run(plain, headers={HEADER: {"id": "ship", "parent": "forged", "token": "forged"}})

    assert (seen, store.asked) == ([None], [])


def test_an_eager_deferred_run_is_not_claimed(
    app: Celery, store: WatchedStore, ship: Any, ran: list[int]
) -> None:
    @app.task(shared=False)
    def parent() -> None:
        defer("ship", ship, 7)

    parent.apply()
    parent.apply(task_id="again")
    parent.apply(task_id="again")

    assert ran == [7, 7, 7]
    assert store.asked == []


def test_a_duplicate_leaves_the_stored_state_alone(
    app: Celery, worker: Worker, message: Any, ship: Any
) -> None:
    ship.track_started = True
    worker.trace(message)
    before = app.backend.get(app.backend.get_key_for_task(message.headers["id"]))

    worker.trace(with_token(message, "another publication"))

    assert app.AsyncResult(message.headers["id"]).state == "SUCCESS"
    assert app.backend.get(app.backend.get_key_for_task(message.headers["id"])) == before


def test_a_duplicate_of_a_running_run_does_not_touch_its_state(
    app: Celery, worker: Worker, message: Any, ship: Any
) -> None:
    app.backend.store_result(message.headers["id"], {"at": 3}, "PROGRESS")
    app._celery_defer.store.claim(message.headers["id"], "another publication", 60)
    ship.track_started = True

    worker.trace(message)

    assert app.AsyncResult(message.headers["id"]).state == "PROGRESS"


# -- what Celery's worker makes of a duplicate ------------------------------------------------


class Ends(list):  # type: ignore[type-arg]
    """Says how a message was answered, in the order of the answers."""

    def on_ack(self, logger: Any, errors: Any) -> None:
        self.append("ack")

    def on_reject(self, logger: Any, errors: Any, requeue: bool) -> None:
        self.append("requeue" if requeue else "reject")


class Eventer:
    enabled = True

    def __init__(self, ends: Ends) -> None:
        self._ends = ends

    def send(self, type: str, **_: Any) -> None:
        self._ends.append(type)


@pytest.mark.parametrize("acks_late", [False, True])
@pytest.mark.parametrize("on_lost", [False, True])
def test_a_duplicate_is_acknowledged_by_the_worker(
    app: Celery, worker: Worker, message: Any, ship: Any, acks_late: bool, on_lost: bool
) -> None:
    ship.acks_late, ship.reject_on_worker_lost = acks_late, on_lost
    ship.acks_on_failure_or_timeout = False
    worker.trace(message)
    ends = Ends()

    handle(app, ship, with_token(message, "another publication"), ends)

    assert ends == (["task-started", "ack"] if acks_late else ["ack", "task-started"])
    assert app.AsyncResult(message.headers["id"]).get() == 7


def handle(app: Celery, task: Any, message: Any, ends: Ends) -> None:
    """Do what a worker does with a message that it has received."""
    pool, eventer = TaskPool(1, app=app), Eventer(ends)
    trace.setup_worker_optimizations(app)
    try:
        task.__trace__ = trace.build_tracer(task.name, task, app=app)
        request = create_request_cls(Request, task, pool, "unit@test", eventer, app=app)(
            message,
            app=app,
            task=task,
            on_ack=ends.on_ack,
            on_reject=ends.on_reject,
            hostname="unit@test",
            eventer=eventer,
            connection_errors=(),
        )
        request.execute_using_pool(pool)
    finally:
        trace.reset_worker_optimizations(app)


# -- 3.8: abort --------------------------------------------------------------------------------


@pytest.fixture
def parent_id(message: Any) -> str:
    return str(message.headers["parent_id"])


def test_3_8_a_published_run_that_is_aborted_never_starts(
    app: Celery, worker: Worker, message: Any, parent_id: str, ran: list[int]
) -> None:
    assert abort(parent_id, "ship") is True

    worker.trace(message)
    worker.trace(redelivered(message))

    assert ran == []
    result = app.AsyncResult(run_id(parent_id, "ship"))
    assert (result.state, result.info) == ("ABORTED", {"defer_id": "ship", "reason": None})


def test_abort_answers_the_same_however_often_it_is_asked(
    worker: Worker, message: Any, parent_id: str, ran: list[int]
) -> None:
    assert [abort(parent_id, "ship") for _ in range(3)] == [True, True, True]

    worker.trace(message)

    assert ran == []
    assert abort(parent_id, "ship") is True


def test_abort_of_a_run_that_has_started_is_too_late(
    app: Celery, worker: Worker, message: Any, parent_id: str, ran: list[int]
) -> None:
    worker.trace(message)

    assert [abort(parent_id, "ship") for _ in range(2)] == [False, False]

    assert app.AsyncResult(message.headers["id"]).state == "SUCCESS"
    worker.trace(redelivered(message))
    assert ran == [7, 7]


def test_abort_may_come_before_the_parent(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, ran: list[int]
) -> None:
    @app.task(shared=False)
    def parent() -> str:
        defer("ship", ship, 7)
        return "done"

    assert abort("known", "ship") is True
    result = worker.run(parent, task_id="known")
    worker.drain()

    assert result.get() == "done"
    assert ran == []


def test_abort_aborts_one_call_alone(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, ran: list[int]
) -> None:
    @app.task(shared=False)
    def parent() -> None:
        defer("one", ship, 1)
        defer("two", ship, 2)

    abort("known", "one")
    worker.run(parent, task_id="known")
    worker.drain()

    assert ran == [2]


def test_a_store_that_is_away_is_told_to_who_aborts(
    store: WatchedStore, message: Any, parent_id: str
) -> None:
    store.away = {"claim"}

    with pytest.raises(StoreError, match=f"defer 'ship' of run {parent_id} .* the store is away"):
        abort(parent_id, "ship")
