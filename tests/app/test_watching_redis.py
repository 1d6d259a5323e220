"""What a run that may end early asks of the Redis that keeps all, and what it leaves there."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import CancelOn, Throttle, Timeouts, send_event
from tests.support.guarded import message_of, ship_of
from tests.support.inside import Worker
from tests.support.one_redis import ONE_TRANSACTION, app_on, asked_of
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION

ENDS = {"cancel_on": [CancelOn("stop", {"order_id": "order_id"})], "timeouts": Timeouts("1h", "1h")}


@pytest.fixture
def app(server: Server) -> Celery:
    return app_on(server)


def kept(server: Server) -> dict[str, int]:
    """Return the store's keys of what may end runs, with what is in each; all expire."""
    client: Any = server.client(db=4)
    keys = [*client.scan_iter("*:watch:*"), *client.scan_iter("*:deadlines")]
    assert all(client.ttl(key) > 0 for key in keys)
    return {key.decode(): client.zcard(key) for key in keys}


def scripts_of(app: Celery, server: Server, worker: Worker, task: Any) -> int:
    """Return for how many scripts a run of *task* asks; the server knows them."""
    for _ in range(2):
        message = message_of(app, worker, task)
        with asked_of(server) as asked:
            worker.trace(message)
    return sum(each.verb == "EVALSHA" for each in asked)


def test_a_run_that_succeeds_asks_once_more_than_one_that_nothing_ends(
    app: Celery, server: Server, worker: Worker
) -> None:
    plain = scripts_of(app, server, worker, ship_of(app, name="plain"))
    # In the first minute in which runs compare a value, they look for events of before.
    ends = {**ENDS, "cancel_on": [CancelOn("stop")]}
    watched = scripts_of(app, server, worker, ship_of(app, name="watched", **ends))

    assert watched == plain + 1
    assert kept(server) == {}


def test_a_run_that_fails_leaves_nothing(app: Celery, server: Server, worker: Worker) -> None:
    worker.trace(message_of(app, worker, ship_of(app, name="fails", fails=True, **ENDS)))

    assert kept(server) == {}


def test_what_a_parked_run_leaves_lives_longer_than_its_wait(
    app: Celery, server: Server, worker: Worker
) -> None:
    day = 86_400
    ship = ship_of(app, name="parks", nap=90 * day, cancel_on=ENDS["cancel_on"])
    message = message_of(app, worker, ship)
    worker.trace(message)

    client: Any = server.client(db=4)
    lives = [
        client.ttl(key) for kind in ("watch", "shapes") for key in client.scan_iter(f"*:{kind}:*")
    ]
    assert len(lives) == 2
    assert min(lives) > 90 * day
    assert send_event("stop", {"order_id": 7}, app=app).cancelled == 1
    worker.later(0)
    assert kept(server) == {}
    assert app.AsyncResult(message.headers["id"]).state == "REVOKED"


def test_what_a_held_run_leaves_lives_longer_than_its_record(
    app: Celery, server: Server, worker: Worker
) -> None:
    ship = ship_of(app, name="paced", cancel_on=ENDS["cancel_on"], throttle=Throttle(1, "1h"))
    messages = [message_of(app, worker, ship) for _ in range(2)]
    for message in messages:
        worker.trace(message)

    client: Any = server.client(db=4)
    run = messages[1].headers["id"]
    (record,) = client.scan_iter(f"*{run}*:outbox")
    (watch,) = client.scan_iter("*:watch:*")
    assert client.ttl(watch) > client.ttl(record)


def test_a_parked_run_ends_at_its_deadline(app: Celery, server: Server, worker: Worker) -> None:
    message = message_of(
        app,
        worker,
        ship_of(app, name="naps", nap=7_200, timeouts=Timeouts(finish="1h")),
    )
    worker.trace(message)

    worker.later(3_600)

    assert app.AsyncResult(message.headers["id"]).state == "REVOKED"
    assert kept(server) == {}
