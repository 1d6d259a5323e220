"""What a run with steps defers is published once, whatever the number of its turns."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import defer, deferred, step
from celery_defer.model import HEADER
from tests.support.inside import WatchedStore, Worker
from tests.support.stage import Stage


@pytest.fixture
def stage(app: Celery, worker: Worker, store: WatchedStore) -> Stage:
    assert app._celery_defer.store is store
    return Stage(app, worker)


def test_what_a_body_publishes_at_once_is_published_in_one_turn_alone(
    app: Celery, worker: Worker, stage: Stage
) -> None:
    @deferred
    @app.task(shared=False)
    def ship() -> None: ...

    handles = []

    @app.task
    def parent() -> None:
        handles.append(defer("ship", ship.with_options(when="now")))
        step.sleep("nap", 5)
        step.sleep("another", 5)

    result = worker.run(parent)
    published = [m for m in worker.published() if m.headers.get(HEADER)]
    for _ in range(2):
        for message in (woken := stage.later(5)):
            worker.trace(message)
        published += [m for m in woken if m.headers.get(HEADER)]

    assert [message.headers[HEADER]["id"] for message in published] == ["ship"]
    assert {handle.id for handle in handles} == {handles[0].id}
    assert [handle.skipped for handle in handles] == [None] * 3
    assert [child.id for child in result.children] == [handles[0].id]
