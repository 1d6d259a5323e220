"""Scores and variants on real workers: once, whatever dies, and for the variant of the parent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer import Defer, run_id, scores, send_event
from celery_defer.store import Store
from tests.support.processes import wait_until
from tests.support.rabbitmq import own_rabbitmq
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

Start = Callable[..., Caller]


@pytest.fixture(scope="module")
def rabbitmq_url() -> Iterator[str]:
    with own_rabbitmq() as url:
        yield url


@pytest.fixture(scope="module")
def start(redis_url: str) -> Iterator[Start]:
    """Start a worker of tests.worker.scoring, and return its client."""
    with ExitStack() as stack:
        workers: list[LocalWorker] = []

        def of(broker: str) -> Caller:
            queue = f"scoring-{uuid4().hex[:6]}"
            prefix = f"{queue}:"
            worker = LocalWorker(
                queue,
                *("--pool", "prefork", "--concurrency", "2"),
                app="tests.worker.scoring",
                env={
                    "CELERY_BROKER_URL": broker,
                    "CELERY_RESULT_BACKEND": redis_url,
                    "DEFER_TEST_CONFIG": json.dumps({"defer_key_prefix": prefix}),
                },
            )
            workers.append(worker)
            app = Celery("client", broker=broker, backend=redis_url, set_as_current=False)
            app.conf.update(task_default_queue=queue, defer_key_prefix=prefix)
            Defer(app)
            return stack.enter_context(Caller(app, CeleryTestWorker(worker, app)))

        yield of
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.teardown()


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def client(request: pytest.FixtureRequest, start: Start) -> Caller:
    return start(request.getfixturevalue(f"{request.param}_url"))


def store_of(client: Caller) -> Store:
    store: Store = client.app._celery_defer.store  # type: ignore[attr-defined]
    return store


def scored(client: Caller, id: str) -> list[tuple[str, Any]]:
    return [(row.name, row.value) for row in scores.of_run(id, history=True, app=client.app)]


def values(client: Caller, name: str, id: str) -> list[Any]:
    """Return what counts of a run in the experiment."""
    found = store_of(client).values("flow")
    return [value for each, run, value in found if (each, run) == (name, id)]


def test_scorers_wait_for_an_outcome_and_score_the_variant_of_their_parent(
    client: Caller,
) -> None:
    sold, unsold = (client.send("scoring.offer", "control", timeout) for timeout in (60, 1.5))
    for offer in (sold, unsold):
        assert client.result(offer) == "control"
        wait_until(lambda: client.meta(run_id(offer, "bought"))["status"] == "WAITING", "it waits")  # noqa: B023
    assert {sold, unsold} <= store_of(client).open_runs("flow")

    assert send_event("bought", {"order": sold}, app=client.app) == 1

    assert client.child(sold, "bought") == {"name": "converted", "value": True}
    assert client.child(unsold, "bought") == {"name": "converted", "value": False}
    assert (scored(client, sold), scored(client, unsold)) == (
        [("converted", True)],
        [("converted", False)],
    )
    assert (values(client, "converted", sold), values(client, "converted", unsold)) == (
        [True],
        [False],
    )
    wait_until(lambda: store_of(client).open_runs("flow").isdisjoint({sold, unsold}), "all ended")


def test_a_worker_that_dies_after_the_score_and_before_the_result_scores_once(
    client: Caller,
) -> None:
    offer = str(uuid4())
    client.redis.set(f"kill:score:{offer}", 1)

    client.send_with({"task_id": offer}, "scoring.offer", "control")

    assert client.child(offer, "judge") == {"name": "number", "value": 2}
    assert client.redis.get(f"judged:{offer}") == "2"
    assert scored(client, offer) == [("number", 1)]
    assert values(client, "number", offer) == [1]


def test_a_worker_that_dies_after_the_assignment_keeps_the_variant(client: Caller) -> None:
    offer = str(uuid4())
    client.redis.set(f"kill:assign:{offer}", 1)

    client.send_with({"task_id": offer}, "scoring.offer", "control")

    assert client.result(offer) == "control"
    assert client.redis.get(f"offered:{offer}") == "2"
    assert dict(store_of(client).assigned("flow"))[offer] == "control"  # type: ignore[index]


def test_two_attempts_at_once_score_once(start: Start, redis_url: str) -> None:
    client, offer = start(redis_url), str(uuid4())
    client.redis.set(f"hold:{offer}", 1)
    client.send_with({"task_id": offer}, "scoring.offer", "control")
    wait_until(lambda: client.redis.get(f"judged:{offer}") == "1", "the first attempt")
    unacked = client.redis.hgetall("unacked")
    (raw,) = (raw for raw in unacked.values() if run_id(offer, "judge") in raw)
    message, _, _ = json.loads(raw)
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"]["redelivered"] = True

    client.redis.lpush(client.worker.worker_queue, json.dumps(message))
    wait_until(lambda: client.redis.get(f"judged:{offer}") == "2", "the second attempt")
    client.redis.rpush(f"go:{offer}", 1, 1)

    client.child(offer, "judge")
    ((name, value),) = scored(client, offer)
    assert (name, value in (1, 2)) == ("number", True)
    assert values(client, "number", offer) == [value]
