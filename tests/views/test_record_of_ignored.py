"""What the record says of runs whose results nobody keeps."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app import trace

from celery_defer import defer, deferred, step
from celery_defer.store import RunState
from celery_defer.views import counts, record, runs
from tests.support.inside import Worker, parent_of
from tests.support.one_redis import ONE_TRANSACTION, app_on
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION

KEEPS_NONE: dict[str, dict[str, Any]] = {
    "ignore_result": {"task_ignore_result": True},
    "no backend": {"backend": "disabled://"},
}


@pytest.fixture(params=KEEPS_NONE)
def app(request: pytest.FixtureRequest, server: Server) -> Celery:
    settings = KEEPS_NONE[request.param]
    app = app_on(server, **settings, defer_store_url=f"{server.url}/5")
    app.set_current()
    return app


def of_call(app: Celery, body: Any, waits: int = 0) -> Any:
    """Return the row of a deferred run with this body, when it has ended, or failed."""
    task = deferred(app.task(name="ends", shared=False)(body))
    worker = Worker(app)
    parent = worker.perform(parent_of(app, lambda: defer("call", task)))
    worker.drain()
    for _ in range(waits):
        worker.wake(61)
    [row] = record(parent.id, app=app).defers
    return row


def test_a_run_that_has_succeeded(app: Celery) -> None:
    def succeed() -> None: ...

    row = of_call(app, succeed)

    assert (row.state, row.started_at <= row.finished_at) == (RunState.SUCCEEDED, True)
    assert runs(app=app, state="running").rows == []
    assert counts(app=app) == {}


def test_a_run_that_has_failed(app: Celery) -> None:
    def fail() -> None:
        raise ValueError("no")

    row = of_call(app, fail)

    assert (row.state, row.reason) == (RunState.FAILED, "ValueError: no")
    assert [each.id for each in runs(app=app, state="failed").rows] == [row.id]
    assert {state for state, _ in counts(app=app)} == {RunState.FAILED}


def test_a_reason_that_is_long_or_no_text(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("\ud800" + 10_000 * "x")

    # Celery logs it, and pytest-xdist dies of a log that is no text.
    monkeypatch.setattr(trace.logger, "disabled", True)

    row = of_call(app, fail)

    assert row.state is RunState.FAILED
    assert row.reason.startswith("ValueError: \\ud800xxx")
    assert len(row.reason) < 600


def test_a_run_that_has_waited(app: Celery) -> None:
    def wait() -> None:
        step.sleep("nap", 60)

    row = of_call(app, wait, waits=1)

    assert row.state is RunState.SUCCEEDED
    assert counts(app=app) == {}


def test_a_run_that_is_not_deferred_and_defers_nothing_writes_nothing(
    app: Celery, server: Server
) -> None:
    Worker(app).perform(parent_of(app, lambda: None))

    assert server.client(db=5).keys() == []
