"""On RabbitMQ a message has gone once the broker has confirmed it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue

from celery_defer import Defer, broker, defer, deferred, run_id
from celery_defer.broker import Delivery, Message
from celery_defer.broker.confirms import Confirms
from celery_defer.ids import RunId
from celery_defer.store import MemoryStore
from tests.support.connections import close_pools
from tests.support.inside import Worker, ids_of
from tests.support.proxy import Proxy
from tests.support.rabbitmq import RABBITMQ, need_rabbitmq, virtual_host

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """The name of a virtual host of our own, or else of the default one."""
    need_rabbitmq()
    with virtual_host() as name:
        yield name


@pytest.fixture
def url(host: str) -> str:
    return f"{RABBITMQ}/{host}"


@pytest.fixture
def queue(url: str) -> Iterator[str]:
    name = f"defer-test-{uuid4()}"
    yield name
    with Connection(url) as connection, connection.channel() as channel:
        channel.queue_delete(name)
        channel.exchange_delete(name)


@pytest.fixture
def app(url: str, queue: str) -> Iterator[Celery]:
    app = app_on(url, queue)
    yield app
    close_pools(app)


def app_on(url: str, queue: str) -> Celery:
    app = Celery(f"app-{uuid4()}", broker=url, backend="cache+memory://", set_as_current=False)
    app.conf.update(task_default_queue=queue, task_publish_retry_policy={"max_retries": 0})
    Defer(app)
    app._celery_defer.store = MemoryStore()
    return app


def task_of(app: Celery, **options: Any) -> Any:
    name = f"ship-{uuid4()}"

    @deferred
    @app.task(name=name, shared=False, **options)
    def ship(n: int) -> int:
        return n

    return app.tasks[name]


def messages_of(task: Any, count: int, **headers: Any) -> list[Message]:
    return [
        Message(
            id=run_id("parent", f"{task.name}-{n}"),
            task=task.name,
            args=(),
            kwargs={"n": n},
            root_id="root",
            parent_id="parent",
            headers=headers,
            target=task,
        )
        for n in range(count)
    ]


def all_of(messages: list[Message]) -> Delivery:
    """What became of messages that the broker has all confirmed."""
    return Delivery(sent=ids(messages))


def ids(messages: list[Message]) -> frozenset[RunId]:
    return frozenset(message.id for message in messages)


def waiting(url: str, queue: str) -> list[int]:
    """Take what is in a queue, and answer what the payloads say."""
    with Connection(url) as connection, connection.channel() as channel:
        numbers = []
        while message := channel.basic_get(queue, no_ack=True):
            numbers.append(channel.message_to_python(message).payload[1]["n"])
        return numbers


@pytest.mark.parametrize("count", [1, 2, 300])
def test_what_the_broker_has_confirmed_is_sent(
    app: Celery, url: str, queue: str, count: int
) -> None:
    messages = messages_of(task_of(app), count)

    assert broker.send(app, messages, is_durable=True) == all_of(messages)
    assert waiting(url, queue) == list(range(count))


def test_one_batch_after_the_other_uses_one_channel(app: Celery, url: str, queue: str) -> None:
    task = task_of(app)
    with app.producer_pool.acquire(block=True) as producer:
        channels = []
        for _ in range(3):
            batch = Confirms.on(producer)
            batch.producer.publish({}, routing_key=queue, declare=[])
            batch.finish()
            channels.append(batch.channel)
    broker.send(app, messages_of(task, 3), is_durable=True)

    assert len(set(map(id, channels))) == 1
    assert waiting(url, queue) == [0, 1, 2]


@pytest.mark.parametrize("is_durable", [True, False])
def test_a_broker_whose_every_message_waits_for_its_confirm_will_do(
    app: Celery, url: str, queue: str, is_durable: bool
) -> None:
    app.conf.broker_transport_options = {"confirm_publish": True}

    messages = messages_of(task_of(app), 20)

    assert broker.send(app, messages, is_durable=is_durable) == all_of(messages)
    assert waiting(url, queue) == list(range(20))


def test_confirms_come_for_one_message_and_for_many(app: Celery, queue: str) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        seen: list[bool] = []
        Queue(queue)(producer.channel).declare()
        batch = Confirms.on(producer)
        batch.channel.events["basic_ack"].add(lambda tag, multiple: seen.append(multiple))
        for _ in range(20):  # the broker chooses; among so many it has chosen both
            batch = Confirms.on(producer)
            for _ in range(500):
                batch.producer.publish({}, routing_key=queue)
            batch.finish()
            if set(seen) == {True, False}:
                break

    assert set(seen) == {True, False}


def full(queue: str) -> Queue:
    arguments = {"x-max-length": 2, "x-overflow": "reject-publish"}
    return Queue(queue, Exchange(queue), routing_key=queue, queue_arguments=arguments)


def test_what_the_broker_refuses_is_not_sent(app: Celery, url: str, queue: str) -> None:
    app.conf.task_queues = [full(queue)]
    messages = messages_of(task_of(app), 5)

    delivery = broker.send(app, messages, is_durable=True)

    assert delivery == Delivery(sent=ids(messages[:2]), unsent=ids(messages[2:]))
    assert waiting(url, queue) == [0, 1]


def test_a_batch_after_a_refusal_is_confirmed(app: Celery, url: str, queue: str) -> None:
    app.conf.task_queues = [full(queue)]
    task = task_of(app)
    broker.send(app, messages_of(task, 5), is_durable=True)
    waiting(url, queue)

    messages = messages_of(task, 2)

    assert broker.send(app, messages, is_durable=True) == all_of(messages)


def test_a_connection_that_is_lost_before_the_confirm_leaves_all_unsent(
    url: str, queue: str
) -> None:
    with Proxy(url) as proxy:
        app = app_on(proxy.url, queue)
        task = task_of(app)
        messages = messages_of(task, 3)
        assert broker.send(app, messages[:1], is_durable=True) == all_of(messages[:1])
        with pytest.raises(OSError, match=r"closed|reset|Broken"):
            publish_and_cut(app, queue, proxy)
        delivery = broker.send(app, messages, is_durable=True)
        proxy.mend()
        again = broker.send(app, messages, is_durable=True)
        close_pools(app)

    assert delivery == Delivery(unsent=ids(messages))
    assert again == all_of(messages)


def publish_and_cut(app: Celery, queue: str, proxy: Proxy) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        batch = Confirms.on(producer)
        batch.producer.publish({}, routing_key=queue)
        proxy.cut()
        batch.finish()


def test_a_parents_calls_are_settled_once_they_are_confirmed(
    app: Celery, url: str, queue: str
) -> None:
    ship, worker = task_of(app), Worker(app)

    @app.task(name="parent", shared=False)
    def parent() -> None:
        for n in range(3):
            defer(f"call-{n}", ship, n)

    worker.perform(parent)

    assert app._celery_defer.store.waiting() == 0
    assert ids_of(worker._received(queue)) == ["call-0", "call-1", "call-2"]


def test_a_refused_parents_calls_wait_in_the_outbox(app: Celery, url: str, queue: str) -> None:
    app.conf.task_queues = [full(queue)]
    ship, worker = task_of(app), Worker(app)

    @app.task(name="parent", shared=False)
    def parent() -> str:
        for n in range(3):
            defer(f"call-{n}", ship, n)
        return "done"

    result = worker.perform(parent)

    assert result.get() == "done"
    assert app._celery_defer.store.waiting() == 1


def test_a_queue_that_the_broker_has_with_other_arguments_holds_back_no_other(
    app: Celery, url: str, queue: str
) -> None:
    with Connection(url) as connection, connection.channel() as channel:
        channel.queue_declare(f"{queue}-odd", durable=True, arguments={"x-max-priority": 5})
    odd, even = task_of(app), task_of(app)
    app.conf.task_queues = [Queue(f"{queue}-odd"), Queue(queue)]
    app.conf.task_routes = {odd.name: {"queue": f"{queue}-odd"}, even.name: {"queue": queue}}
    bad, good = messages_of(odd, 1), messages_of(even, 1)

    delivery = broker.send(app, [*bad, *good], is_durable=True)
    with Connection(url) as connection, connection.channel() as channel:
        channel.queue_delete(f"{queue}-odd")

    assert (delivery.sent, delivery.refused.keys()) == (ids(good), ids(bad))
    assert waiting(url, queue) == [0]


def test_a_header_that_rabbitmq_cannot_carry_holds_back_no_other(
    app: Celery, url: str, queue: str
) -> None:
    bad, good = messages_of(task_of(app), 1, size=2**70), messages_of(task_of(app), 2)

    delivery = broker.send(app, [*bad, *good], is_durable=True)
    again = broker.send(app, good, is_durable=True)

    assert (delivery.sent, delivery.refused.keys()) == (ids(good), ids(bad))
    assert again == all_of(good)
    assert waiting(url, queue) == [0, 1] * 2
