"""Rule 13.1: a block in a run or in a block joins it; blocks with one id."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    IdError,
    StoreError,
    defer,
    deferring,
    step,
)
from tests.support.blocks import Published, failing, helper
from tests.support.inside import WatchedStore, Worker, ids_of, parent_of, ship_of

# -- runs and blocks inside each other ---------------------------------------------------


def test_13_1_in_a_task_a_block_joins_the_run(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    def body() -> Any:
        return helper(ship, "of the helper"), ids_of(worker.published())

    result = worker.run(parent_of(app, body))

    assert result.get() == [result.id, []]
    assert published() == ["of the helper"]


def test_a_run_that_fails_after_a_block_publishes_nothing(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    def body() -> None:
        helper(ship, "of the helper")
        raise ValueError

    worker.run(parent_of(app, body))

    assert published() == []


def test_a_block_that_raises_takes_its_calls_back_from_the_run(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    worker.run(parent_of(app, lambda: _helper_fails(ship)))

    assert published() == ["kept"]


def _helper_fails(ship: Any) -> None:
    defer("kept", ship, n=1)
    with suppress(ValueError):
        failing(lambda: helper(ship, "inner"), lambda: defer("outer", ship, n=1))


def test_a_call_that_was_taken_back_can_be_made_again(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    def body() -> None:
        with suppress(ValueError):
            failing(lambda: defer("first", ship, n=1))
        defer("first", ship, n=2)

    worker.run(parent_of(app, body))

    assert published() == ["first"]


def test_calls_for_the_failure_of_the_run_outlive_a_block_in_it(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    def body() -> None:
        with deferring():
            defer("alarm", ship.with_options(when="failure"), n=1)
            raise ValueError

    worker.run(parent_of(app, body))

    assert published() == ["alarm"]


def test_a_call_of_a_finished_step_is_the_runs_whatever_the_block_does(
    app: Celery, ship: Any, store: WatchedStore, worker: Worker, published: Published
) -> None:
    def body() -> None:
        with suppress(ValueError):
            failing(
                lambda: step.run("charge", lambda: defer("of the step", ship, n=1) and None),
                lambda: defer("of the body", ship, n=2),
            )

    worker.run(parent_of(app, body))

    assert published() == ["of the step"]


def test_steps_work_in_a_block_of_a_task(app: Celery, store: WatchedStore, worker: Worker) -> None:
    def body() -> Any:
        with deferring():
            return step.run("charge", lambda: 7)

    assert worker.run(parent_of(app, body)).get() == 7


def test_a_block_in_a_block_joins_it(ship: Any, worker: Worker) -> None:
    with deferring() as outer:
        with deferring(id="has no effect") as inner:
            defer("inner", ship, n=1)
        before = worker.published()

    assert inner.id == outer.id
    assert before == []
    assert ids_of(worker.published()) == ["inner"]


def test_a_block_for_another_app_is_a_parent_itself(
    app: Celery, ship: Any, nowhere: Celery, worker: Worker, published: Published
) -> None:
    def body() -> Any:
        with deferring(nowhere) as other:
            return other.id

    result = worker.run(parent_of(app, body))

    assert result.get() != result.id


def test_after_the_body_of_a_run_a_block_is_a_parent_itself(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    def after(self: Any, *_: Any) -> None:
        helper(ship, "after")

    worker.run(parent_of(app, lambda: None, on_success=after))

    assert published() == ["after"]


# -- ids --------------------------------------------------------------------------------


def test_two_blocks_with_one_id_run_a_call_once(
    ship: Any, store: WatchedStore, worker: Worker
) -> None:
    for n in (1, 2):
        with deferring(id="order-7"):
            defer("receipt", ship, n=n)

    assert [result.get() for result in worker.drain()] == [1, 1]  # the second was not run


def test_two_blocks_with_one_id_lose_none_of_their_calls(
    nowhere: Celery, app: Celery, store: WatchedStore, worker: Worker
) -> None:
    ship_of(app)
    nowhere._celery_defer.store = store
    for id in ("first", "second"):
        with deferring(nowhere, id="order-7"):
            defer(id, nowhere.tasks["ship"], n=1)

    assert sorted(ids_of(worker.later(60))) == ["first", "second"]


@pytest.mark.parametrize("id", ["", 7, "\ud800"])
def test_a_bad_id_is_refused_where_it_is_written(id: Any) -> None:
    with pytest.raises(IdError):
        deferring(id=id)


def test_a_block_is_entered_once(app: Celery) -> None:
    block = deferring()
    with block:
        pass

    with pytest.raises(RuntimeError, match="entered before"), block:
        pass


def test_a_process_without_an_app_is_told_so() -> None:
    other = Celery("without", set_as_current=True)

    with pytest.raises(StoreError, match=r"Defer\(app\)"), deferring():
        pass
    assert other
