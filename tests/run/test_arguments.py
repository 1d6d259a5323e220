"""Arguments are copied where a body may change them before it parks, and else not."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from celery_defer import deferred, step
from celery_defer.run.arguments import copied, restored, takes_steps
from tests.support.inside import WatchedStore, Worker


class Watched(list[Any]):
    """An argument that says how often it was copied."""

    copies = 0

    def __reduce__(self) -> Any:
        Watched.copies += 1
        return Watched, (list(self),)


@pytest.fixture
def name() -> str:
    """The name of a task of which this process has run nothing."""
    return f"task-{uuid4()}"


@pytest.fixture(autouse=True)
def _store(store: WatchedStore) -> None:
    Watched.copies = 0


def copies(app: Celery, worker: Worker, body: Any, name: str, runs: int = 3) -> list[int]:
    """Return how often the argument of each run was copied."""
    task = app.task(name=name, shared=False)(body)
    seen = []
    for _ in range(runs):
        worker.perform(task, Watched())
        seen.append(Watched.copies)
        Watched.copies = 0
    return seen


def test_nothing_is_copied_for_a_task_that_takes_no_steps_from_its_second_run_on(
    app: Celery, worker: Worker, name: str
) -> None:
    def body(_: Any) -> None: ...

    assert copies(app, worker, body, name) == [1, 0, 0]


def test_arguments_are_copied_for_each_run_of_a_task_that_takes_steps(
    app: Celery, worker: Worker, name: str
) -> None:
    def body(_: Any) -> None:
        step.run("first", int)

    assert copies(app, worker, body, name) == [1, 1, 1]


def test_nothing_is_copied_for_a_deferred_run(app: Celery, worker: Worker, name: str) -> None:
    """Its function is given objects of its own."""

    @deferred(app, name=name, shared=False)
    def task(values: list[int]) -> None:
        step.run("first", int)

    header = {"id": "task", "parent": "parent", "at": 1.0, "token": "token"}
    request = {"id": "run", "task": name, "delivery_info": {}, "celery_defer": header}
    worker._trace((Watched(),), {}, request)

    assert Watched.copies == 0


FIXED = (1, "a", None, 0.5, True, b"b")


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (FIXED, {}), ((), {"n": 7})])
def test_what_no_body_can_change_is_not_copied(name: str, args: Any, kwargs: Any) -> None:
    takes_steps(name)

    assert copied(name, args, kwargs) is None


@pytest.mark.parametrize(
    ("args", "kwargs"), [(([],), {}), ((), {"a": {"b": [1]}}), ((1, {2}), {"n": (1,)})]
)
def test_what_a_body_can_change_comes_back_as_it_was(name: str, args: Any, kwargs: Any) -> None:
    copy = copied(name, args, kwargs)

    assert copy is not None
    assert restored(copy) == (args, kwargs)


def test_what_has_no_copy_stays_as_it_is(name: str) -> None:
    assert copied(name, (lambda: None,), {}) is None
