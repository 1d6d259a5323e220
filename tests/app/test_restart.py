"""A run that has failed goes on, from where it ended or from one of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Celery
from celery.worker import state

from celery_defer import (
    IdError,
    RestartError,
    RunState,
    StoreError,
    abort,
    cancel,
    current_run,
    defer,
    deferred,
    record,
    restart,
    send_event,
    step,
)
from celery_defer.app.revoked import Revoked
from celery_defer.ids import RunId, run_id
from celery_defer.store import Fact
from tests.support.inside import WatchedStore, Worker, parent_of

pytestmark = pytest.mark.usefixtures("store")


class Shop:
    """What the steps of an order have done, and what is broken."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[str] = set()

    def do(self, what: str) -> str:
        if what in self.broken:
            raise ConnectionError(f"{what} is broken")
        self.done.append(what)
        return what


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def order(app: Celery, worker: Worker, shop: Shop) -> Callable[[], str]:
    """Runs an order of three steps as a deferred run; returns its id."""

    @deferred(app)
    def ship(order_id: int) -> list[Any]:
        charged = step.run("charge", shop.do, "charge")
        packed = step.run("pack", shop.do, "pack")
        sent = step.run("send", shop.do, "send")
        parent = current_run().parent
        return [order_id, charged, packed, sent, parent and parent.defer_id]

    @app.task
    def parent() -> None:
        defer("ship", ship, order_id=7)

    def run() -> str:
        result = worker.run(parent)
        worker.drain()
        return run_id(result.id, "ship")

    return run


def go_on(worker: Worker) -> None:
    worker.wake(0)


def test_a_run_goes_on_where_it_failed(app: Celery, worker: Worker, shop: Shop, order: Any) -> None:
    shop.broken = {"pack"}
    id = order()
    assert app.AsyncResult(id).state == "FAILURE"
    shop.broken = set()

    assert restart(id) == []
    go_on(worker)

    assert app.AsyncResult(id).get() == [7, "charge", "pack", "send", "ship"]
    assert shop.done == ["charge", "pack", "send"]


def test_a_run_goes_on_from_a_step(app: Celery, worker: Worker, shop: Shop, order: Any) -> None:
    shop.broken = {"send"}
    id = order()
    shop.broken = set()

    assert restart(id, from_step="pack") == ["pack"]
    go_on(worker)

    assert app.AsyncResult(id).state == "SUCCESS"
    assert shop.done == ["charge", "pack", "pack", "send"]


def test_a_run_may_fail_and_be_restarted_again(
    app: Celery, worker: Worker, shop: Shop, order: Any
) -> None:
    shop.broken = {"pack"}
    id = order()
    restart(id)
    go_on(worker)
    assert app.AsyncResult(id).state == "FAILURE"
    shop.broken = set()

    restart(id)
    go_on(worker)

    assert app.AsyncResult(id).state == "SUCCESS"
    assert shop.done == ["charge", "pack", "send"]


def test_a_step_that_has_failed_for_good_is_tried_again(app: Celery, worker: Worker) -> None:
    tries: list[int] = []

    def fail_twice() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return "done"

    @deferred(app)
    def work() -> str:
        return step.run("call", fail_twice, retries=1)

    id = _run(app, worker, work)
    worker.wake(60)
    assert app.AsyncResult(id).state == "FAILURE"

    assert restart(id) == ["call"]
    go_on(worker)

    assert app.AsyncResult(id).get() == "done"


def test_a_failure_that_the_body_caught_is_tried_again(
    app: Celery, worker: Worker, shop: Shop
) -> None:
    @deferred(app)
    def work() -> None:
        with suppress(ConnectionError):
            step.run("optional", shop.do, "optional")
        step.run("charge", shop.do, "charge")
        shop.do("work")

    shop.broken = {"optional", "work"}
    id = _run(app, worker, work)
    shop.broken = set()

    restart(id)
    go_on(worker)

    assert shop.done == ["charge", "optional", "work"]


def test_a_sleep_is_slept_again(app: Celery, worker: Worker, shop: Shop) -> None:
    @deferred(app)
    def work() -> str:
        step.sleep("nap", 60)
        return shop.do("work")

    shop.broken = {"work"}
    id = _run(app, worker, work)
    worker.wake(60)
    shop.broken = set()

    assert restart(id, from_step="nap") == ["nap"]
    go_on(worker)
    assert app.AsyncResult(id).state == "WAITING"
    worker.wake(60)

    assert app.AsyncResult(id).get() == "work"


def test_an_event_counts_again_for_a_wait_that_is_repeated(
    app: Celery, worker: Worker, shop: Shop
) -> None:
    @deferred(app)
    def work() -> list[Any]:
        event = step.wait_for_event("paid", "order/paid", timeout=60)
        return [event and event.data, shop.do("work")]

    shop.broken = {"work"}
    id = _run(app, worker, work)
    worker.now += 5
    send_event("order/paid", 7)
    worker.drain()
    shop.broken = set()

    restart(id, from_step="paid")
    go_on(worker)

    assert app.AsyncResult(id).get() == [7, "work"]


def test_a_run_that_was_cancelled_in_a_wait_waits_again(app: Celery, worker: Worker) -> None:
    @deferred(app)
    def work() -> str:
        step.sleep("nap", 60)
        return "done"

    id = _run(app, worker, work)
    cancel(id)
    assert app.AsyncResult(id).state == "REVOKED"

    assert restart(id) == ["nap"]
    go_on(worker)
    assert app.AsyncResult(id).state == "WAITING"
    worker.wake(60)

    assert app.AsyncResult(id).get() == "done"


@pytest.mark.parametrize("is_in_body", [True, False])
@pytest.mark.parametrize("are_recorded", [True, False])
def test_a_call_that_was_withdrawn_stays_withdrawn(
    app: Celery, worker: Worker, shop: Shop, is_in_body: bool, are_recorded: bool
) -> None:
    app.conf.defer_record = are_recorded

    @deferred(app)
    def work(order_id: int) -> None:
        shop.do(f"work {order_id}")

    @app.task
    def parent() -> None:
        handle = defer("work", work, order_id=7)
        if is_in_body:
            handle.abort()

    result = worker.run(parent)
    if not is_in_body:
        assert abort(result.id, "work")

    with pytest.raises(RestartError, match="was withdrawn before it started, which is final"):
        restart(run_id(result.id, "work"))
    worker.drain()
    assert shop.done == []


def test_a_parked_run_that_was_aborted_goes_on(app: Celery, worker: Worker, shop: Shop) -> None:
    @deferred(app)
    def work() -> None:
        step.sleep("nap", 60)
        shop.do("work")

    @app.task
    def parent() -> None:
        defer("work", work)

    result = worker.run(parent)
    worker.drain()
    assert abort(result.id, "work")

    assert restart(run_id(result.id, "work")) == ["nap"]
    go_on(worker)
    worker.wake(60)

    assert shop.done == ["work"]


def test_the_record_of_a_restarted_run_says_that_it_waits(
    worker: Worker, shop: Shop, order: Any
) -> None:
    shop.broken = {"pack"}
    id = order()
    restart(id, from_step="charge")

    known = record(id)
    assert known.run.state is RunState.WAITING
    assert known.waits_for is not None
    assert (known.waits_for.kind, known.waits_for.step) == ("restart", "charge")
    go_on(worker)
    assert record(id).run.state is RunState.FAILED


def test_a_run_without_steps_runs_again(app: Celery, worker: Worker, shop: Shop) -> None:
    @deferred(app)
    def work(order_id: int) -> list[Any]:
        return [order_id, shop.do("work")]

    shop.broken = {"work"}
    id = _run(app, worker, work, order_id=7)
    shop.broken = set()

    restart(id)
    go_on(worker)

    assert app.AsyncResult(id).get() == [7, "work"]


def test_what_it_defers_is_published_once(app: Celery, worker: Worker, shop: Shop) -> None:
    @deferred(app)
    def receipt() -> None:
        shop.do("receipt")

    @deferred(app)
    def work() -> None:
        defer("receipt", receipt)
        defer("always", receipt)
        shop.do("work")

    shop.broken = {"work"}
    id = _run(app, worker, work)
    shop.broken = set()
    restart(id)
    go_on(worker)

    assert shop.done == ["work", "receipt", "receipt"]


def test_a_late_message_of_the_run_does_nothing(app: Celery, worker: Worker, shop: Shop) -> None:
    @deferred(app)
    def work() -> None:
        shop.do("work")

    @app.task
    def parent() -> None:
        defer("work", work)

    shop.broken = {"work"}
    id = run_id(worker.run(parent).id, "work")
    [message] = worker.published()
    worker.trace(message)
    shop.broken = set()
    restart(id)

    worker.trace(message)
    assert shop.done == []
    go_on(worker)
    assert shop.done == ["work"]


def test_a_plain_run_goes_on_with_the_arguments_of_its_result(
    app: Celery, worker: Worker, shop: Shop
) -> None:
    app.conf.result_extended = True

    @app.task
    def work(order_id: int) -> list[Any]:
        return [order_id, step.run("charge", shop.do, "charge"), shop.do("work")]

    shop.broken = {"work"}
    result = worker.run(work, 7)
    shop.broken = set()

    restart(result.id)
    go_on(worker)

    assert app.AsyncResult(result.id).get() == [7, "charge", "work"]
    assert shop.done == ["charge", "work"]


# -- refused ----------------------------------------------------------------------------


def test_a_run_whose_arguments_nobody_knows_is_refused(
    app: Celery, worker: Worker, shop: Shop
) -> None:
    @app.task
    def work(order_id: int) -> None:
        step.run("charge", shop.do, "charge")

    shop.broken = {"charge"}
    result = worker.run(work, 7)

    with pytest.raises(RestartError, match="because nobody knows its arguments"):
        restart(result.id)


@pytest.mark.parametrize("payloads", [False, lambda task, payload: [[], {"order_id": 8}]])
def test_hidden_or_masked_arguments_are_not_used(
    app: Celery, worker: Worker, shop: Shop, payloads: Any
) -> None:
    app.conf.defer_record_payloads = payloads

    @deferred(app)
    def work(order_id: int) -> None:
        shop.do("work")

    shop.broken = {"work"}
    id = _run(app, worker, work, order_id=7)

    with pytest.raises(RestartError, match="because nobody knows its arguments"):
        restart(id)


def test_a_run_that_has_succeeded_is_refused(order: Any, shop: Shop) -> None:
    id = order()

    with pytest.raises(RestartError, match="has succeeded"):
        restart(id)


def test_a_run_that_has_succeeded_is_refused_whether_or_not_its_arguments_are_known(
    app: Celery, worker: Worker
) -> None:
    @app.task
    def plain(n: int) -> int:
        return n

    with pytest.raises(RestartError, match="has succeeded, and its result stays"):
        restart(worker.run(plain, 7).id)


def test_a_call_that_was_skipped_is_refused(app: Celery, worker: Worker, ship: Any) -> None:
    parent = worker.run(parent_of(app, lambda: defer("bad", ship, n="x") and None))

    with pytest.raises(RestartError, match="was skipped, so there is nothing to restart"):
        restart(run_id(parent.id, "bad"))


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (RunState.REPLACED, "was replaced by a later call"),
        (RunState.BATCHED, "has no run of its own: restart the run of its batch"),
        (RunState.HELD, "has not ended: it is held; cancel it first"),
    ],
)
def test_a_run_that_a_limit_has_taken_elsewhere_is_refused_with_the_fix(
    store: WatchedStore, state: RunState, text: str
) -> None:
    store.note([Fact(RunId("run"), "ship", state, 60, b"{}")])

    with pytest.raises(RestartError, match=text):
        restart("run")


@pytest.fixture
def sleeper(app: Celery, worker: Worker) -> Iterator[RunId]:
    """A deferred run that waits; its id."""

    @deferred(app)
    def sleeper() -> str:
        step.sleep("nap", 60)
        return "awake"

    yield _run(app, worker, sleeper)
    state.revoked.clear()


def test_a_run_that_celery_has_revoked_is_refused_while_workers_remember_that(
    app: Celery, worker: Worker, store: WatchedStore, sleeper: RunId
) -> None:
    state.revoked.add(sleeper)
    Revoked(app, store, 60).look()
    assert app.AsyncResult(sleeper).state == "REVOKED"

    with pytest.raises(RestartError, match="that remember that discard its messages: restart it"):
        restart(sleeper)
    worker.now += 3 * 3_600 + 1
    restart(sleeper)

    worker.wake(0)
    worker.wake(60)
    assert app.AsyncResult(sleeper).get() == "awake"


def test_a_run_that_was_cancelled_twice_may_be_restarted(
    app: Celery, worker: Worker, sleeper: RunId
) -> None:
    """The second time it has ended, and Celery is not asked to revoke it."""
    assert cancel(sleeper)
    assert not cancel(sleeper)

    restart(sleeper)

    assert cancel(sleeper)
    restart(sleeper)
    worker.wake(0)
    worker.wake(60)
    assert app.AsyncResult(sleeper).get() == "awake"


def test_a_run_that_is_revoked_after_a_restart_is_refused(
    app: Celery, store: WatchedStore, sleeper: RunId
) -> None:
    cancel(sleeper)
    restart(sleeper)
    state.revoked.add(sleeper)
    Revoked(app, store, 60).look()

    with pytest.raises(RestartError, match="was revoked"):
        restart(sleeper)


def test_a_run_that_waits_is_refused(app: Celery, worker: Worker) -> None:
    @deferred(app)
    def work() -> None:
        step.sleep("nap", 60)

    id = _run(app, worker, work)

    with pytest.raises(RestartError, match="has not ended: it is waiting; cancel it first"):
        restart(id)


def test_a_run_is_restarted_once(worker: Worker, shop: Shop, order: Any) -> None:
    shop.broken = {"pack"}
    id = order()
    restart(id)

    with pytest.raises(RestartError):
        restart(id)


def test_a_step_that_the_run_does_not_have_is_refused(shop: Shop, order: Any) -> None:
    shop.broken = {"send"}
    id = order()

    with pytest.raises(RestartError, match="no step 'chrage'; its steps are: 'charge', 'pack'"):
        restart(id, from_step="chrage")


def test_a_run_that_nobody_knows_is_refused() -> None:
    with pytest.raises(RestartError, match="run unknown is not known: its message is"):
        restart("unknown")
    with pytest.raises(IdError):
        restart("")


def test_it_is_said_that_the_store_is_away(shop: Shop, order: Any, store: WatchedStore) -> None:
    shop.broken = {"pack"}
    id = order()
    store.away = {"restart"}

    with pytest.raises(StoreError, match="is perhaps not restarted"):
        restart(id)


def _run(app: Celery, worker: Worker, task: Any, **arguments: Any) -> RunId:
    """Defer a task from a parent, run it, and return its id."""

    @app.task
    def parent() -> None:
        defer("work", task, **arguments)

    result = worker.run(parent)
    worker.drain()
    return run_id(result.id, "work")
