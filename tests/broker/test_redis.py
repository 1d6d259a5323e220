"""What a Redis as broker cannot take is known, and holds back nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from celery_defer import Defer
from celery_defer.broker import publish as broker
from celery_defer.broker.message import Message
from celery_defer.broker.publish import batch
from celery_defer.ids import RunId
from celery_defer.model import Call, Options
from examples.redis_server import free_port
from tests.support.inside import ship_of
from tests.support.redis import Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def app(server: Server) -> Celery:
    server.client().flushall()
    app = Celery(f"app-{free_port()}", broker=f"{server.url}/3", backend=f"{server.url}/4")
    Defer(app)
    return app


def test_what_cannot_ride_along_is_known_before_it_is_sent(app: Celery) -> None:
    with (
        app.producer_pool.acquire(block=True) as producer,
        batch(producer, True) as opened,
    ):
        assert opened.send_with(lambda broker: None) is None


def test_a_message_that_no_broker_takes_holds_back_no_other(server: Server, app: Celery) -> None:
    ship_of(app)
    good, bad, other = (
        Message(
            Call("a", "ship", b"", 0.0, Options()),
            RunId(id),
            app.tasks["ship"],
            (1,),
            {},
            {"headers": {"x": header}, "parent_id": "p", "root_id": "p"},
        )
        for id, header in (("one", 1), ("two", object()), ("three", 3))
    )

    sent = broker.send(app, [good, bad, other], is_durable=True)
    again = broker.send(app, [good], is_durable=True)

    assert (sent.refused, sent.unsent) == ((bad,), ())
    assert again == broker.Sent()
    assert server.client(db=3).llen("celery") == 3
