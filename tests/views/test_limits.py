"""The limits of tasks, as people see and change them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_defer import Concurrency, OptionError, Throttle, deferred, pause, resume, set_limit
from celery_defer.store import Store
from celery_defer.views import limits
from celery_defer.views.rows import FlowRow, LimitRow
from tests.support.held import SYNC, arrive, place


@pytest.fixture
def sync(app: Celery) -> Any:
    """A task with two limits."""

    @deferred(
        app,
        name=SYNC,
        concurrency=Concurrency(1, key="customer"),
        throttle=Throttle(100, "1h", burst=3),
    )
    def sync(customer: int) -> None: ...

    return sync


@pytest.fixture
def plain(app: Celery) -> Any:
    @deferred(app, name="shop.plain")
    def plain() -> None: ...

    return plain


def limit_of(name: str, task: str = SYNC) -> LimitRow:
    (row,) = limits(task=task)
    (found,) = [each for each in row.limits if each.name == name]
    return found


def test_limits_are_shown_before_a_run_has_come(each_store: Store, sync: Any, plain: Any) -> None:
    assert limits() == [
        FlowRow(
            SYNC,
            limits=[
                LimitRow("throttle", 100, 3_600.0, 3),
                LimitRow("concurrency", 1, 0.0, 1),
            ],
        )
    ]


def test_places_in_use_lines_and_held_runs_are_counted(each_store: Store, sync: Any) -> None:
    for n in range(3):
        arrive(each_store, f"run-{n}", place("7"))
    arrive(each_store, "other", place("8"))

    (row,) = limits()

    assert row.held == 2
    assert (limit_of("concurrency").running, limit_of("concurrency").lines) == (2, 1)


def test_a_limit_of_a_task_that_this_process_does_not_have_is_shown(each_store: Store) -> None:
    arrive(each_store, "run", place(limit=4), task="elsewhere")

    assert limits(task="elsewhere")[0].limits[0].limit == 4
    assert [row.task for row in limits()] == ["elsewhere"]


@pytest.mark.parametrize("has_run", [False, True])
def test_a_changed_number_is_in_force_and_marked(
    each_store: Store, sync: Any, has_run: bool
) -> None:
    if has_run:
        arrive(each_store, "run", place())

    set_limit(sync, "concurrency", limit=5)

    changed = limit_of("concurrency")
    assert (changed.limit, changed.override) == (5, {"limit": 5})


def test_a_number_that_is_not_given_stays_as_it_is(each_store: Store, sync: Any) -> None:
    set_limit(SYNC, "throttle", limit=50)
    set_limit(SYNC, "throttle", period=timedelta(minutes=1))

    changed = limit_of("throttle")
    assert (changed.limit, changed.period, changed.burst) == (50, 60.0, 3)


def test_without_a_number_those_in_the_code_are_in_force(each_store: Store, sync: Any) -> None:
    set_limit(sync, "throttle", limit=50, burst=1)
    set_limit(sync, "throttle")

    assert limit_of("throttle") == LimitRow("throttle", 100, 3_600.0, 3)


def test_a_raised_limit_lets_those_who_wait_start(each_store: Store, sync: Any) -> None:
    arrive(each_store, "one", place())
    arrive(each_store, "two", place())

    set_limit(sync, "concurrency", limit=2)

    assert each_store.flow_due() is not None


def test_a_task_is_paused_and_goes_on(each_store: Store, sync: Any) -> None:
    pause(sync)
    assert limits()[0].is_paused
    assert arrive(each_store, "run", place()) is not None
    assert limits()[0].held == 1

    resume(SYNC)
    assert not limits()[0].is_paused


WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (
        "concurrency",
        {"limit": 0},
        "concurrency: limit=0: give a whole number above zero, at most 2**31",
    ),
    ("concurrency", {"limit": True}, "limit=True"),
    ("concurrency", {"limit": 2.5}, "limit=2.5"),
    ("concurrency", {"period": 3}, "concurrency has no period: it has limit"),
    ("throttle", {"period": "soon"}, "throttle: period='soon': give seconds"),
    ("throttle", {"period": 0}, "period=0"),
    ("throttles", {"limit": 3}, "has no limit 'throttles': it has throttle, concurrency"),
    ("concurrency.2", {"limit": 3}, "has no limit 'concurrency.2'"),
]


@pytest.mark.parametrize(("name", "numbers", "text"), WRONG, ids=lambda each: str(each)[:30])
def test_what_a_limit_cannot_have_is_refused(
    each_store: Store, sync: Any, name: str, numbers: dict[str, Any], text: str
) -> None:
    with pytest.raises(OptionError) as refused:
        set_limit(sync, name, **numbers)

    assert text in str(refused.value)
    assert limit_of("throttle").override == {}


@pytest.mark.parametrize("change", [pause, resume])
def test_a_task_without_limits_is_refused_with_the_fix(
    each_store: Store, plain: Any, change: Any
) -> None:
    with pytest.raises(OptionError, match=r"shop\.plain has no limits.*concurrency=Concurrency"):
        change(plain)


@pytest.mark.parametrize("task", ["nobody", 7, ""])
def test_what_is_no_task_is_refused(each_store: Store, task: Any) -> None:
    with pytest.raises(OptionError, match="no task"):
        pause(task)


def test_the_limits_of_an_unknown_task_are_refused(each_store: Store) -> None:
    with pytest.raises(OptionError, match="this app has no task 'nobody'"):
        limits(task="nobody")


def test_a_task_without_limits_has_no_row(each_store: Store, plain: Any) -> None:
    assert limits(task="shop.plain") == []
