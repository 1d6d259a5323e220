"""A worker's main process and its children have their connections to RabbitMQ apart."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from uuid import uuid4

import pytest
from billiard import Process
from celery import Celery

from celery_defer import Defer
from celery_defer.app.bootstep import RelayStep
from celery_defer.store import MemoryStore
from tests.support.connections import close_pools
from tests.support.rabbitmq import RABBITMQ, need_rabbitmq, virtual_host

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def app() -> Iterator[Celery]:
    need_rabbitmq()
    with virtual_host() as host:
        app = Celery(f"app-{uuid4()}", broker=f"{RABBITMQ}/{host}", set_as_current=False)
        Defer(app)
        app._celery_defer.store = MemoryStore()
        yield app
        close_pools(app)


@pytest.fixture
def step(app: Celery) -> Iterator[RelayStep]:
    step = RelayStep(SimpleNamespace(app=app))
    step.start(None)
    yield step
    step.stop(None)


def publish(app: Celery) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(b"", routing_key="nobody", retry=False)


def test_a_child_that_is_replaced_does_not_shut_down_the_relays_connection(
    app: Celery, step: RelayStep
) -> None:
    publish(app)

    child = Process(target=publish, args=(app,))
    child.start()
    child.join()

    assert child.exitcode == 0
    publish(app)
