"""Calls of a function with a batch: which batch they join, and when it leaves."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Batch, defer, deferred, step
from tests.support.batches import Ran, Visit, visits_of
from tests.support.inside import WatchedStore, Worker, parent_of


def test_calls_leave_at_the_timeout_of_their_batch(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    visits_of(app, worker, write, "1", "2")

    assert worker.drain() == []
    assert worker.later(9.9) == []
    worker.wake(0.1)

    assert ran == [["1", "2"]]


def test_a_full_batch_leaves_at_once_and_the_rest_with_the_calls_of_others(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    visits_of(app, worker, write, "1", "2", "3", "4")
    worker.drain()
    assert ran == [["1", "2", "3"]]

    visits_of(app, worker, write, "5", "6")
    worker.drain()

    assert ran == [["1", "2", "3"], ["4", "5", "6"]]


def test_a_call_joins_a_batch_only_if_its_parent_succeeds(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    def body() -> None:
        defer("1", write, page="1")
        defer("2", write.with_options(when="failure"), page="2")
        raise ValueError

    worker.run(parent_of(app, body))
    worker.wake(10)

    assert ran == [["2"]]


def test_a_call_with_when_now_is_gathered_before_its_parent_ends(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    def body() -> None:
        for page in "123":
            defer(page, write.with_options(when="now"), page=page)
        raise ValueError

    worker.run(parent_of(app, body))
    worker.drain()

    assert ran == [["1", "2", "3"]]


def test_each_key_has_batches_of_its_own(app: Celery, worker: Worker, store: WatchedStore) -> None:
    ran: list[list[str]] = []

    @deferred(app, name="by-site", schema=Visit, batch=Batch(2, "10s", key="site"))
    def write(visits: list[Visit]) -> None:
        ran.append([visit.site + visit.page for visit in visits])

    def body() -> None:
        for number, site in enumerate("abab"):
            defer(f"{number}", write, page=f"{number}", site=site)

    worker.run(parent_of(app, body))
    worker.drain()

    assert sorted(ran) == [["a0", "a2"], ["b1", "b3"]]


def test_calls_with_other_options_go_in_other_batches(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    def body() -> None:
        defer("1", write, page="1")
        defer("2", write.with_options(headers={"tenant": "x"}), page="2")
        defer("3", write.with_options(when="always", tags={"user": "7"}), page="3")

    worker.run(parent_of(app, body))
    batches = worker.later(10)
    for message in batches:
        worker.trace(message)

    assert sorted(ran) == [["1", "3"], ["2"]]
    assert sorted(message.headers.get("tenant", "") for message in batches) == ["", "x"]


def test_many_calls_take_one_trip_to_the_store(
    app: Celery, worker: Worker, write: Any, store: WatchedStore
) -> None:
    visits_of(app, worker, write, *map(str, range(500)))

    assert store.asked.count("gather") == 1


@pytest.mark.parametrize("option", ["countdown", "expires"])
def test_an_option_that_says_when_a_call_starts_is_refused(
    app: Celery, worker: Worker, write: Any, option: str
) -> None:
    body = parent_of(app, lambda: defer("1", write.with_options(**{option: 5}), page="1").skipped)

    reason = worker.run(body).get()

    assert (
        f"write has a batch, whose timeout says when it starts, so a call of it has no {option}"
        in (reason)
    )


def test_a_step_cannot_invoke_a_function_with_a_batch(
    app: Celery, worker: Worker, write: Any
) -> None:
    result = worker.run(parent_of(app, lambda: step.invoke("write", write, page="1")))

    with pytest.raises(Exception, match=r"cannot invoke write, which has a batch.*defer it"):
        result.get()


def test_many_keys_are_gathered_too(app: Celery, worker: Worker, store: WatchedStore) -> None:
    ran = []

    @deferred(app, name="write", schema=Visit, batch=Batch(2, "10s", key="site"))
    def write(visits: list[Visit]) -> None:
        ran.append([visit.page for visit in visits])

    def body() -> None:
        for number in range(2_400):
            defer(f"{number}", write, page=f"{number}", site=f"{number % 1_200}")

    worker.run(parent_of(app, body))
    worker.drain()

    assert sorted(ran) == sorted([f"{n}", f"{n + 1_200}"] for n in range(1_200))
    assert store.asked.count("gather") == 3
