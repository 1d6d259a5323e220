"""A broker that drops connections, hangs, or refuses some messages."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Exchange, Queue

from celery_defer import Defer, broker, run_id
from celery_defer.broker import Delivery, Message
from celery_defer.ids import RunId
from tests.support.connections import close_pools
from tests.support.inside import ship_of
from tests.support.proxy import Proxy
from tests.support.rabbitmq import own_rabbitmq
from tests.support.redis import running

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

#: A parent's end waits for no broker longer than this.
LONGEST = 20.0


@pytest.fixture(scope="module", params=["Redis", "RabbitMQ"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "RabbitMQ":
        with own_rabbitmq() as url:
            yield url
    else:
        with running() as server:
            yield f"{server.url}/3"


@pytest.fixture
def way(url: str) -> Iterator[Proxy]:
    with Proxy(url) as proxy:
        yield proxy


@pytest.fixture
def app(way: Proxy) -> Iterator[Celery]:
    app = Celery(f"app-{uuid4()}", broker=way.url, backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = f"queue-{uuid4()}"
    Defer(app)
    ship_of(app)
    yield app
    way.mend()
    close_pools(app)


def messages(app: Celery, count: int = 3, **options: Any) -> list[Message]:
    return [
        Message(
            id=run_id("parent", f"{uuid4()}"),
            task="ship",
            args=(n,),
            kwargs={},
            root_id="root",
            parent_id="parent",
            headers={},
            options=options,
            target=app.tasks["ship"],
        )
        for n in range(count)
    ]


def ids(messages: list[Message]) -> frozenset[RunId]:
    return frozenset(message.id for message in messages)


def waiting(app: Celery, queue: str = "") -> int:
    with app.connection_for_read() as connection:
        queue = queue or app.conf.task_default_queue
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)


def drop(way: Proxy) -> None:
    """End all connections, as a broker that restarts, or a firewall."""
    way.cut()
    way.mend()


def test_a_connection_that_was_dropped_holds_up_nothing(
    app: Celery, way: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    broker.send(app, messages(app), is_durable=True)
    drop(way)
    batch = messages(app)

    began = monotonic()
    delivery = broker.send(app, batch, is_durable=True)

    assert delivery == Delivery(sent=ids(batch))
    assert monotonic() - began < 2
    assert waiting(app) == 6
    assert caplog.text == ""


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_broker_that_hangs_holds_up_a_parent_for_seconds_and_is_used_again(
    app: Celery, way: Proxy, caplog: pytest.LogCaptureFixture, is_connected: bool
) -> None:
    if is_connected:
        broker.send(app, messages(app), is_durable=True)
    way.hang()
    batch = messages(app)

    began = monotonic()
    delivery = broker.send(app, batch, is_durable=True)
    waited = monotonic() - began
    way.mend()
    again = broker.send(app, batch, is_durable=True)

    assert (delivery, again) == (Delivery(unsent=ids(batch)), Delivery(sent=ids(batch)))
    assert waited < LONGEST
    assert [record.getMessage()[:19] for record in caplog.records] == ["the broker is away:"]


def test_a_connection_that_the_body_has_opened_is_limited_too(app: Celery, way: Proxy) -> None:
    app.tasks["ship"].apply_async((1,))
    way.hang()
    batch = messages(app)

    began = monotonic()
    delivery = broker.send(app, batch, is_durable=True)

    assert delivery == Delivery(unsent=ids(batch))
    assert monotonic() - began < LONGEST


def spoil(app: Celery, name: str) -> dict[str, Any]:
    """Make a place that takes no message; return the options with which one goes there."""
    with app.connection_for_write() as connection:
        if connection.transport.driver_type == "redis":
            connection.default_channel.client.set(name, "no list")
            return {"queue": name}
    return {"exchange": name, "routing_key": name}


def test_a_queue_that_takes_no_message_holds_back_no_other(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    bad = messages(app, 2, **spoil(app, f"odd-{uuid4()}"))
    good = messages(app, 5)

    delivery = broker.send(app, [*good[:2], bad[0], *good[2:4], bad[1], good[4]], is_durable=True)
    again = broker.send(app, good, is_durable=True)

    assert delivery.sent == again.sent == ids(good)
    assert delivery.unsent | delivery.refused.keys() == ids(bad)
    assert "WRONGTYPE" in caplog.text or "NOT_FOUND" in caplog.text
    assert "away" not in caplog.text


def test_a_full_queue_of_rabbitmq_holds_back_no_other(
    app: Celery, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    if url.startswith("redis"):
        pytest.skip("its queues have no limit")
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    name = f"full-{uuid4()}"
    app.conf.task_queues = [
        Queue(name, Exchange(name), routing_key=name, queue_arguments=arguments),
        Queue(app.conf.task_default_queue),
    ]
    full, good = messages(app, 3, queue=name), messages(app, 3)

    delivery = broker.send(app, [*full, *good], is_durable=True)

    assert delivery == Delivery(sent=ids([full[0], *good]), unsent=ids(full[1:]))
    assert len(caplog.records) == 1
