"""A run whose step finds no store is tried again."""

from __future__ import annotations

from celery import Celery

from celery_defer import step
from tests.support.inside import WatchedStore, Worker


def test_a_body_that_swallows_an_outage_of_the_store_is_tried_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @app.task
    def parent() -> str:
        try:
            return str(step.run("answer", lambda: 42))
        except Exception:
            return "guessed"

    store.away = {"recall"}
    result = worker.run(parent)
    store.away = set()

    assert result.state == "RETRY"
    assert worker.drain()[-1].get() == "42"
