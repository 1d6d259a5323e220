"""A parent's children are stored with its result."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import defer, deferred
from tests.support.inside import Worker, parent_of


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
