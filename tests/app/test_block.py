"""Section 13: a block of ``deferring()`` is a parent, outside any task."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    Defer,
    NoRunError,
    OptionError,
    PayloadError,
    StoreError,
    abort,
    current_run,
    defer,
    deferred,
    deferring,
    run_id,
    step,
)
from tests.support.blocks import Published, failing
from tests.support.inside import WatchedStore, Worker

# -- the end of a block ------------------------------------------------------------------


def test_13_1_the_calls_of_a_block_are_published_at_its_end(
    ship: Any, published: Published
) -> None:
    with deferring():
        defer("first", ship, n=1)
        defer("second", ship, n=2)
        before = published()

    assert before == []
    assert published() == ["first", "second"]


def test_13_1_a_block_that_raises_publishes_nothing(ship: Any, published: Published) -> None:
    with pytest.raises(ValueError, match="the user's"):
        failing(lambda: defer("first", ship, n=1))

    assert published() == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_block_that_is_left_for_good_publishes_nothing(
    ship: Any, published: Published, end: type[BaseException]
) -> None:
    with pytest.raises(end):
        failing(lambda: defer("alarm", ship.with_options(when="failure"), n=1), error=end())

    assert published() == []


def test_13_1_the_calls_are_one_record_written_once(ship: Any, store: WatchedStore) -> None:
    with deferring():
        defer("first", ship, n=1)
        defer("second", ship, n=2)

    assert store.asked == ["stage", "settle"]


def test_a_block_without_calls_asks_nothing_of_anybody(
    store: WatchedStore, nowhere: Celery
) -> None:
    with deferring(nowhere):
        pass

    assert nowhere._celery_defer.store.asked == []


def test_13_3_the_id_of_the_parent_is_known_at_once(app: Celery, ship: Any, worker: Worker) -> None:
    with deferring() as parent:
        handle = defer("first", ship, n=1)

    (message,) = worker.published()
    assert message.headers["parent_id"] == message.headers["root_id"] == parent.id
    assert message.headers["id"] == handle.id == run_id(parent.id, "first")


def test_13_3_the_stored_result_of_a_block_has_its_links(app: Celery, ship: Any) -> None:
    with deferring() as parent:
        handle = defer("first", ship, n=1)

    result = app.AsyncResult(parent.id)
    assert (result.state, result.get()) == ("SUCCESS", None)
    assert [child.id for child in result.children] == [handle.id]


def test_an_app_that_ignores_results_stores_none_of_its_blocks(app: Celery, ship: Any) -> None:
    app.conf.task_ignore_result = True

    with deferring() as parent:
        defer("first", ship, n=1)

    assert app.AsyncResult(parent.id).state == "PENDING"


def test_a_deferred_run_reads_of_its_block(app: Celery, worker: Worker) -> None:
    seen: list[Any] = []

    @deferred(app)
    def look() -> None:
        parent = current_run().parent
        assert parent
        seen.append((parent.id, parent.task, parent.defer_id, parent.result(), current_run().depth))

    with deferring() as parent:
        defer("look", look)
    worker.drain()

    assert seen == [(parent.id, "celery_defer.deferring", "look", None, 1)]


def test_13_3_a_call_of_a_block_can_be_aborted(
    ship: Any, store: WatchedStore, worker: Worker
) -> None:
    with deferring() as parent:
        handle = defer("in the block", ship, n=1)
        defer("after it", ship, n=2)
        handle.abort()

    assert abort(parent.id, "after it")
    assert [result.state for result in worker.drain()] == ["ABORTED"]


def test_a_bad_call_is_skipped_and_recorded(app: Celery, ship: Any, published: Published) -> None:
    with deferring():
        handle = defer("bad", ship, n="one")
        defer("good", ship, n=1)

    assert published() == ["good"]
    assert app.AsyncResult(handle.id).state == "SKIPPED"


def test_a_block_with_bad_calls_alone_records_them(app: Celery, ship: Any) -> None:
    with deferring():
        handle = defer("bad", ship, n="one")

    assert app.AsyncResult(handle.id).state == "SKIPPED"


def test_a_bad_call_is_recorded_of_a_block_that_raises_too(app: Celery, ship: Any) -> None:
    handles: list[Any] = []

    with pytest.raises(ValueError, match="the user's"):
        failing(lambda: handles.append(defer("bad", ship, n="one")))

    assert app.AsyncResult(handles[0].id).state == "SKIPPED"


def test_defer_strict_raises_in_the_block(app: Celery, ship: Any, published: Published) -> None:
    app.conf.defer_strict = True

    with pytest.raises(PayloadError):
        failing(lambda: defer("good", ship, n=1), lambda: defer("bad", ship, n="one"))

    assert published() == []


def test_the_limits_are_those_of_a_run(app: Celery, ship: Any, published: Published) -> None:
    app.conf.defer_max_per_run = 1

    with deferring():
        defer("first", ship, n=1)
        defer("second", ship, n=2)

    assert published() == ["first"]


def test_steps_are_refused_in_a_block(app: Celery, store: WatchedStore) -> None:
    with deferring(), pytest.raises(NoRunError, match="'charge' is in a block of deferring"):
        step.run("charge", int)


def test_after_the_block_there_is_no_run(ship: Any) -> None:
    with deferring():
        pass

    with pytest.raises(NoRunError, match=r"with deferring\(\)"):
        defer("late", ship, n=1)


# -- what a call waits for ---------------------------------------------------------------


def _all_kinds(ship: Any) -> None:
    for when in ("success", "failure", "always", "now"):
        defer(when, ship.with_options(when=when), n=1)


def test_the_end_of_a_block_is_a_success(ship: Any, published: Published) -> None:
    with deferring():
        _all_kinds(ship)

    assert published() == ["now", "success", "always"]


def test_a_block_that_raises_publishes_what_waits_for_a_failure(
    ship: Any, published: Published
) -> None:
    with pytest.raises(ValueError, match="the user's"):
        failing(lambda: _all_kinds(ship))

    assert published() == ["now", "failure", "always"]


def test_an_alarm_that_cannot_be_published_does_not_hide_the_error(nowhere: Celery) -> None:
    nowhere._celery_defer.store = None
    alarm = nowhere.tasks["ship"].with_options(when="failure")

    def view() -> None:
        with deferring(nowhere):
            defer("alarm", alarm, n=1)
            raise ValueError("the user's")

    with pytest.raises(ValueError, match="the user's"):
        view()


# -- eager apps --------------------------------------------------------------------------


def test_in_eager_mode_the_deferred_runs_run_at_the_blocks_end(app: Celery) -> None:
    app.conf.task_always_eager = True
    seen: list[Any] = []

    @deferred(app)
    def look() -> None:
        run = current_run()
        assert run.parent
        seen.append((run.parent.id, run.root_id, run.parent.result()))

    with deferring() as parent:
        defer("look", look)
        seen.append("body")

    assert seen == ["body", (parent.id, parent.id, None)]


def test_in_eager_mode_a_deferred_run_that_fails_does_not_touch_the_block(app: Celery) -> None:
    app.conf.update(task_always_eager=True, task_eager_propagates=True)

    @deferred(app)
    def fail() -> None:
        raise ValueError

    with deferring():
        defer("fail", fail)


def test_an_app_that_is_made_late_is_found_when_the_block_begins(
    app: Celery, published: Any
) -> None:
    block = deferring()
    other = Celery("late", broker="memory://", set_as_current=True)
    Defer(other)

    with block as parent:
        assert parent.id == current_run().id


def test_a_block_of_an_app_without_defer_is_refused() -> None:
    with pytest.raises(StoreError, match=r"has no Defer\(app\)"):
        deferring(Celery("plain", set_as_current=False))
    with pytest.raises(StoreError, match=r"'shop' has no Defer\(app\)"):
        deferring("shop")


def test_what_is_no_function_cannot_be_called_on_commit(app: Celery) -> None:
    with pytest.raises(OptionError, match="on_commit 5 is no function"):
        deferring(app, on_commit=5)  # type: ignore[arg-type]


def test_a_block_that_is_ended_without_a_beginning_says_so(app: Celery) -> None:
    block = deferring(app)

    with pytest.raises(RuntimeError, match="was not entered, or has ended"):
        block.__exit__(None, None, None)

    with block:
        pass
    with pytest.raises(RuntimeError, match="was not entered, or has ended"):
        block.__exit__(None, None, None)
