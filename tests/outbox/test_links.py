"""A parent's children are stored with its result."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, deferred
from tests.support.inside import Worker, parent_of
from tests.support.one_redis import app_on
from tests.support.redis import running

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def test_a_parent_that_fails_on_its_answer_never_shows_children(
    app: Celery, worker: Worker
) -> None:
    stored: list[Any] = []

    @deferred(app)
    def take(n: int) -> None: ...

    def body() -> Any:
        defer("take", take, 1)
        return object()

    store_result = app.backend.store_result

    def watched(id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        stored.append((state, [child.id for child in kwargs["request"].children]))
        return store_result(id, result, state, *args, **kwargs)

    app.backend.store_result = watched
    assert worker.run(parent_of(app, body)).state == "FAILURE"

    assert [entry for entry in stored if entry[1]] == []


class Counted:
    """Counts how often it was written as JSON, as kombu does by this method."""

    def __init__(self) -> None:
        self.times = 0

    def __json__(self) -> str:
        self.times += 1
        return "counted"


@pytest.mark.parametrize("in_one_redis", [True, False])
def test_a_result_is_encoded_once(app: Celery, worker: Worker, in_one_redis: bool) -> None:
    counted = Counted()
    with running() as server:
        if in_one_redis:
            app = app_on(server)
            worker = Worker(app)

        @deferred(app)
        def take(n: int) -> None: ...

        def body() -> Any:
            defer("take", take, 1)
            return counted

        result = worker.run(parent_of(app, body))

        assert (result.state, result.result, counted.times) == ("SUCCESS", "counted", 1)
        assert len(result.children) == 1
