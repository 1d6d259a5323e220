"""The main path on RabbitMQ, with results in Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from kombu import Connection
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestBroker,
    CeleryTestWorker,
    CeleryWorkerCluster,
)

from celery_defer import run_id
from tests.support.rabbitmq import RABBITMQ, need_rabbitmq, virtual_host
from tests.worker.caller import Caller
from tests.worker.local import IN_DOCKER, LocalService, LocalWorker


@pytest.fixture(scope="module")
def queues() -> list[str]:
    return [f"defer-test-{uuid4()}" for _ in range(2)]


@pytest.fixture(scope="module")
def rabbitmq_url(queues: list[str]) -> Iterator[str]:
    """The URL of a virtual host of our own, or else of the default one, less our queues."""
    need_rabbitmq()
    with virtual_host() as name:
        yield f"{RABBITMQ}/{name}"
        if not name:
            _delete(queues)


def _delete(queues: list[str]) -> None:
    with Connection(RABBITMQ) as connection, connection.channel() as channel:
        for name in queues:
            channel.queue_delete(name)
            channel.exchange_delete(name)


if IN_DOCKER:

    @pytest.fixture
    def celery_broker_cluster(celery_rabbitmq_broker: CeleryTestBroker) -> CeleryBrokerCluster:
        return CeleryBrokerCluster(celery_rabbitmq_broker)

else:

    @pytest.fixture(scope="module")
    def celery_broker_cluster(rabbitmq_url: str) -> CeleryBrokerCluster:
        return CeleryBrokerCluster(CeleryTestBroker(LocalService("rabbitmq", rabbitmq_url)))

    @pytest.fixture(scope="module")
    def celery_worker_cluster(
        rabbitmq_url: str, queues: list[str], start_module_worker: Callable[..., LocalWorker]
    ) -> CeleryWorkerCluster:
        worker = start_module_worker(
            queues[0],
            *("--concurrency", "1"),
            queues=",".join(queues),
            env={
                "CELERY_BROKER_URL": rabbitmq_url,
                "DEFER_TEST_CONFIG": '{"task_queue_max_priority": 10}',
            },
        )
        worker.ready()
        return CeleryWorkerCluster(CeleryTestWorker(worker, app=None))


@pytest.fixture(autouse=True)
def same_queues_as_the_worker(caller: Caller) -> None:
    # RabbitMQ refuses a queue that is declared again with other arguments.
    caller.app.conf.task_queue_max_priority = 10


def deferred_with(caller: Caller, **options: object) -> str:
    call = {"id": "next", "kind": "plain", "n": 1, "options": options}
    return caller.send("parents.scripted", calls=[call])


def test_a_parent_and_its_deferred_run_are_linked_both_ways(caller: Caller) -> None:
    parent = deferred_with(caller)

    answer = caller.child(parent, "next")

    assert answer["run"]["parent"]["id"] == parent
    assert answer["run"]["parent_result"] == "done"
    assert caller.meta(run_id(parent, "next"))["parent_id"] == parent
    assert caller.children(parent) == [run_id(parent, "next")]


def test_a_hundred_calls_arrive_once_each(caller: Caller) -> None:
    parent = caller.send("parents.many", count=100)
    runs = [run_id(parent, f"call-{n}") for n in range(100)]

    assert [caller.result(run)["n"] for run in runs] == list(range(100))
    caller.settle()
    assert {caller.marks("began", run) for run in runs} == {1}


def test_a_failed_parent_publishes_nothing(caller: Caller) -> None:
    call = {"id": "next", "kind": "plain", "n": 1}
    parent = caller.send("parents.scripted", calls=[call], end="fail")

    assert caller.end(parent)["status"] == "FAILURE"
    assert caller.never_ran(run_id(parent, "next"))


def test_countdown_delays_the_run(caller: Caller) -> None:
    parent = deferred_with(caller, countdown=1)

    answer = caller.child(parent, "next")

    assert answer["began"] - answer["run"]["deferred_at"] >= 1


def test_priority_is_the_messages(caller: Caller) -> None:
    parent = deferred_with(caller, priority=6)

    assert caller.child(parent, "next")["priority"] == 6


def test_queue_is_where_the_run_goes(caller: Caller, queues: list[str]) -> None:
    parent = deferred_with(caller, queue=queues[1])

    assert caller.child(parent, "next")["queue"] == queues[1]


def test_a_retried_deferred_run_keeps_its_parent(caller: Caller) -> None:
    call = {"id": "next", "kind": "retrying", "n": 1, "at": "2026-11-20T10:00:00Z"}
    parent = caller.send("parents.scripted", calls=[call])

    run = caller.child(parent, "next")["run"]

    assert (run["attempt"], run["parent"]["id"]) == (3, parent)
