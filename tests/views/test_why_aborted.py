"""Runs that were cancelled, revoked or withdrawn say which of these it was."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import abort, cancel, defer, deferred, run_id, step
from celery_defer.testing import Simulation
from celery_defer.views import record
from tests.support.inside import parent_of

WITHDRAWN = "withdrawn before it started"


def reason(id: str) -> tuple[str, str | None]:
    row = record(id).run
    return row.state.value, row.reason


def test_a_call_that_was_withdrawn_says_so(app: Celery, sim: Simulation) -> None:
    @deferred(app)
    def ship(n: int) -> None: ...

    def body() -> None:
        defer("in-body", ship, n=1).abort()
        defer("later", ship, n=2)

    parent = sim.run(parent_of(app, body))
    abort(parent.id, "later", app=app)

    assert [row.reason for row in record(parent.id).defers] == [WITHDRAWN, WITHDRAWN]
    assert reason(run_id(parent.id, "later")) == ("aborted", WITHDRAWN)


def test_a_run_that_was_cancelled_as_it_waited_says_so(app: Celery, sim: Simulation) -> None:
    run = sim.run(parent_of(app, lambda: step.sleep("nap", 60)))
    cancel(run.id, app=app)

    assert reason(run.id) == ("aborted", "cancelled")


@pytest.mark.parametrize("words", ["revoked", "terminated", "expired"])
def test_a_run_that_celery_has_revoked_says_why(app: Celery, sim: Simulation, words: str) -> None:
    @deferred(app)
    def ship(n: int) -> None: ...

    parent = sim.run(parent_of(app, lambda: defer("ship", ship, n=1) and None))
    id = run_id(parent.id, "ship")
    app.backend.mark_as_revoked(id, words)

    assert reason(id) == ("aborted", words)


def test_an_id_of_which_only_a_revoke_is_known_says_that(app: Celery, sim: Simulation) -> None:
    app.backend.mark_as_revoked("nope", "revoked")  # as a worker does that has no such run

    assert reason("nope") == ("aborted", "revoked; nothing else is known of it")
