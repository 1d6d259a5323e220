"""What the record says of calls that leave before their parent has ended."""

from __future__ import annotations

from celery_defer import defer
from celery_defer.store import RunState
from celery_defer.views import record
from tests.support.inside import Worker, parent_of, ship_of
from tests.support.one_redis import ONE_TRANSACTION, app_on
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION


def test_a_call_that_ran_before_its_parent_ended_has_its_payload_and_its_times(
    server: Server,
) -> None:
    app = app_on(server)
    ship, worker = ship_of(app), Worker(app)

    def place() -> None:
        defer("now", ship.with_options(when="now"), n=1)
        worker.drain()  # another worker is quick

    parent = worker.perform(parent_of(app, place))

    [call] = record(parent.id, app=app).defers
    assert (call.state, call.payload) == (RunState.SUCCEEDED, {"n": 1})
    assert call.published_at == call.deferred_at
