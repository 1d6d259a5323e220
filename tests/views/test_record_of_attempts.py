"""What the record has of attempts of which one has died."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import defer
from celery_defer.store import RunState
from celery_defer.views import counts, record, runs
from tests.support.inside import Worker, parent_of, ship_of
from tests.support.one_redis import ONE_TRANSACTION, app_on
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION


class Killed(BaseException):
    """Ends an attempt as a signal would."""


@pytest.fixture
def app(server: Server) -> Celery:
    app = app_on(server, defer_commit="signal")
    app.set_current()
    return app


@pytest.mark.parametrize("again", [["both", "second"], []])
def test_calls_of_an_attempt_that_died_are_forgotten(
    app: Celery, monkeypatch: pytest.MonkeyPatch, again: list[str]
) -> None:
    attempts, ship, worker = iter([["first", "both"], again]), ship_of(app), Worker(app)

    def body() -> None:
        for id in next(attempts):
            defer(id, ship, n=1)

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    parent = parent_of(app, body)
    sent = parent.apply_async(queue=worker.apart)
    [message] = worker.published()
    with monkeypatch.context() as patch:
        patch.setattr(parent.backend, "set", die)  # the calls are staged, and no result is stored
        patch.setattr(parent.backend, "ensure", die)
        with pytest.raises(Killed):
            worker.trace(message)
    assert len(runs(app=app, state="buffered").rows) == 2

    message.delivery_info["redelivered"] = True
    worker.trace(message)
    worker.drain()

    assert runs(app=app, state="buffered").rows == []
    assert {state for state, _ in counts(app=app)} == set()
    rows = record(sent.id, app=app).defers if again else []
    assert {row.defer_id: row.state for row in rows} == dict.fromkeys(again, RunState.SUCCEEDED)
