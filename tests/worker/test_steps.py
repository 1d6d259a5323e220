"""Runs that wait, on real workers: they hold nothing, tell of it, and go on where they were."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group
from pytest_celery import CeleryTestWorker

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.support.rabbitmq import empty_virtual_host, own_rabbitmq
from tests.support.redis import Server, durable, running
from tests.worker.local import LocalWorker
from tests.worker.waiting import Client, watched

APP = "tests.worker.stepping"
LONG = 300
#: Of the worker that most tests share; each pass has a time limit only where a test says so.
SETTINGS = {
    "result_expires": 60,
    "result_chord_expires": 30,
    "worker_send_task_events": True,
    "task_send_sent_event": True,
    "broker_transport_options": {"queue_order_strategy": "priority"},
}
#: Broker, pool and places of the workers on which a run parks and goes on.
PLACES = {
    "redis-prefork": ("Redis", "prefork", 1),
    "redis-threads": ("Redis", "threads", 1),
    "redis-gevent": ("Redis", "gevent", 2),
    "redis-solo": ("Redis", "solo", 1),
    "rabbitmq-prefork": ("RabbitMQ", "prefork", 1),
    "rabbitmq-threads": ("RabbitMQ", "threads", 1),
}

Start = Callable[..., Client]


@pytest.fixture(scope="module")
def rabbitmq_url() -> Iterator[str]:
    with own_rabbitmq() as url:
        yield url


@pytest.fixture(scope="module")
def start(redis_url: str) -> Iterator[Start]:
    """Start a worker of tests.worker.stepping, and answer its client."""

    def of(name: str, *options: str, broker: str = redis_url, **settings: Any) -> Client:
        queue = f"{name}-{uuid4().hex[:6]}"
        prefix = f"steps-{broker.partition(':')[0]}:"
        worker = LocalWorker(
            queue,
            *options,
            app=APP,
            env={
                "CELERY_BROKER_URL": broker,
                "CELERY_RESULT_BACKEND": redis_url,
                "DEFER_TEST_CONFIG": json.dumps(
                    {**SETTINGS, "defer_key_prefix": prefix, **settings}
                ),
            },
        )
        workers.append(worker)
        app = Celery("client", broker=broker, backend=redis_url, set_as_current=False)
        app.conf.update(result_chord_expires=30, task_default_queue=queue)
        return stack.enter_context(Client(app, CeleryTestWorker(worker, app), prefix))

    workers: list[LocalWorker] = []
    with ExitStack() as stack:
        yield of
    for worker in workers:
        worker.kill()  # on RabbitMQ Celery takes ten seconds to end threads
        worker.teardown()


@pytest.fixture(scope="module")
def clients(start: Start, request: pytest.FixtureRequest) -> dict[str, Client]:
    """A client of a worker in each place; they start at one time."""

    def client(name: str) -> Client:
        broker, pool, places = PLACES[name]
        options = ("--pool", pool, "--concurrency", str(places))
        if broker == "RabbitMQ":
            return start(name, *options, broker=request.getfixturevalue("rabbitmq_url"))
        return start(name, *options)

    return {name: client(name) for name in PLACES}


@pytest.fixture(params=PLACES)
def anywhere(request: pytest.FixtureRequest, clients: dict[str, Client]) -> Client:
    client = clients[request.param]
    client.worker.container.ready()
    return client


@pytest.fixture
def client(clients: dict[str, Client]) -> Client:
    """A client of a worker on Redis: prefork, one process."""
    client = clients["redis-prefork"]
    client.worker.container.ready()
    return client


# -- retried ---------------------------------------------------------------------------------


def test_a_retry_does_no_finished_step_again(anywhere: Client) -> None:
    run = anywhere.play(["do", "a"], ["retry", 0.1], ["do", "b"])

    assert anywhere.result(run)["got"] == ["a", None, "b"]
    assert anywhere.marks("step-a", run) == 1


def test_a_retry_whose_finished_steps_the_store_has_lost_fails(client: Client) -> None:
    run = client.play(["do", "a"], ["retry", 1])
    client.becomes(run, "RETRY")
    client.redis.delete(f"{client.prefix}{{{run}}}:run")

    end = client.end(run)

    assert (end["status"], type(end["result"]).__name__) == ("FAILURE", "StoreError")
    assert client.marks("step-a", run) == 1


# -- parked and woken ------------------------------------------------------------------------


def test_a_parked_run_holds_neither_the_pool_nor_a_message(anywhere: Client) -> None:
    run = anywhere.play(["do", "a"], ["wait", "go", LONG], ["do", "b"], kind="late")
    told = anywhere.waits(run)
    other = anywhere.result(anywhere.play(["do", "a"]))

    wait_until(lambda: anywhere.messages() == 0, "no message is left")
    assert anywhere.is_parked(run)
    assert (told["step"], told["waiting_for"], told["event"]) == ("news", "event", "go")
    assert other["got"] == ["a"]
    assert anywhere.tell("go", {"n": 1}) == 1
    assert anywhere.result(run)["got"] == ["a", {"n": 1}, "b"]
    assert anywhere.marks("step-a", run) == anywhere.marks("step-b", run) == 1
    assert anywhere.marks("pass", run) == 2
    assert anywhere.keys_for_ever() == []


def test_a_nap_ends_soon_after_its_time(anywhere: Client) -> None:
    """The relay looks once a second by itself; who parks for less tells it."""
    run = anywhere.play(["sleep", 0.3], ["sleep", 0.3])
    began = time.time()

    finished = anywhere.result(run)["finished"]

    assert finished - began < 0.6 + 1.0
    print(f"two naps of 0.3 s took {finished - began:.2f} s")


def test_a_client_that_waits_for_the_result_sees_the_last_one_alone(client: Client) -> None:
    run = client.play(["hold"], ["wait", "blocked", LONG])
    wait_until(lambda: client.marks("held", run), "the body holds")
    got: list[Any] = []
    blocked = threading.Thread(
        target=lambda: got.append(client.app.AsyncResult(run).get(timeout=20))
    )
    blocked.start()
    client.go(run)
    client.waits(run)
    still_waits = blocked.is_alive()

    client.tell("blocked", 7)
    blocked.join()

    assert still_waits
    assert got[0]["got"] == [None, 7]


@pytest.mark.parametrize("kind", ["plain", "tracked"])
def test_a_run_that_was_woken_is_started_until_it_waits_again(client: Client, kind: str) -> None:
    run = client.play(["wait", f"on-{kind}", LONG], ["hold"], ["sleep", LONG], kind=kind)
    client.waits(run)

    client.tell(f"on-{kind}")
    started = client.becomes(run, "STARTED")
    client.go(run)
    told = client.waits(run)

    assert set(started) == {"pid", "hostname"}
    assert (told["step"], told["waiting_for"]) == ("nap", "sleep")
    assert client.cancel(run)


def test_a_parked_runs_state_does_not_expire_before_it_is_woken(client: Client) -> None:
    run = client.play(["sleep", LONG])
    client.waits(run)

    left = client.redis.ttl(f"celery-task-meta-{run}")

    assert LONG < left <= LONG + SETTINGS["result_expires"]  # type: ignore[operator]
    assert client.cancel(run)


def test_a_run_that_ignores_its_result_parks_and_says_nothing(client: Client) -> None:
    run = client.play(["wait", "ignored", LONG], kind="ignored")
    wait_until(lambda: client.is_parked(run), "parked")

    assert client.meta(run)["status"] == "PENDING"
    client.tell("ignored")
    wait_until(lambda: client.marks("end", run), "the end")
    client.settle()
    assert client.meta(run)["status"] == "PENDING"


def test_an_event_before_its_wait_is_not_lost(client: Client) -> None:
    event = f"early-{uuid4()}"
    run = client.play(["do", "a"], ["sleep", 1], ["wait", event, LONG])
    client.waits(run)

    woken = client.tell(event, 1)

    assert woken == 0
    assert client.result(run)["got"] == ["a", None, 1]


def test_flower_sees_a_run_wait_until_when_and_go_on(client: Client) -> None:
    with watched(client.app) as view:
        run = client.play(["wait", "watched", LONG])
        told = client.waits(run)
        wait_until(lambda: view.states(run)[-1:] == ["WAITING"], "it is shown as waiting")
        task = view.state.tasks[run]
        shown = (task.result, task.eta)

        client.tell("watched")
        client.result(run)
        wait_until(lambda: view.states(run)[-1:] == ["SUCCESS"], "its end is shown")

    first = view.states(run).index("WAITING")
    assert shown[1] == told["until"]
    assert "event" in shown[0]
    assert view.states(run)[first:] == ["WAITING", "RETRY", "RECEIVED", "STARTED", "SUCCESS"]


# -- restarts ---------------------------------------------------------------------------------


@dataclass
class Lonely:
    """A worker with a Redis of its own, and a virtual host of RabbitMQ if that is its broker."""

    client: Client
    worker: LocalWorker
    redis: Server
    rabbitmq: str | None

    def restart_all(self) -> None:
        self.worker.kill()
        self.redis.stop()
        if self.rabbitmq:
            empty_virtual_host(self.rabbitmq)
        self.redis.start()
        self.worker.restart()


@pytest.fixture(params=["Redis", "RabbitMQ"])
def lonely(request: pytest.FixtureRequest) -> Iterator[Lonely]:
    with running(*durable()) as server, ExitStack() as stack:
        url, rabbitmq = f"{server.url}/0", None
        if request.param == "RabbitMQ":
            rabbitmq = stack.enter_context(own_rabbitmq())
        queue, broker = f"lonely-{uuid4().hex[:6]}", rabbitmq or url
        worker = LocalWorker(
            queue,
            *("--concurrency", "1"),
            app=APP,
            env={"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": url},
        )
        stack.callback(worker.teardown)
        stack.callback(worker.kill)
        app = Celery("client", broker=broker, backend=url, set_as_current=False)
        client = stack.enter_context(Client(app, CeleryTestWorker(worker, app)))
        worker.ready()
        yield Lonely(client, worker, server, rabbitmq)


def test_a_parked_run_outlives_every_process(lonely: Lonely) -> None:
    """Its worker, the Redis of results and store, the broker; RabbitMQ has lost all queues."""
    client = lonely.client
    asleep = client.play(["do", "a"], ["sleep", 3], ["do", "b"])
    awaits = client.play(["do", "a"], ["wait", "later", LONG], ["do", "b"])
    client.waits(asleep)
    client.waits(awaits)

    lonely.restart_all()

    assert client.tell("later", "news") == 1
    assert client.result(asleep)["got"] == ["a", None, "b"]
    assert client.result(awaits)["got"] == ["a", "news", "b"]
    assert {client.marks(f"step-{n}", run) for n in "ab" for run in (asleep, awaits)} == {1}


# -- canvas -----------------------------------------------------------------------------------


def test_a_chain_goes_on_after_a_part_that_waited(client: Client) -> None:
    first = client.signature("steps.plain", script=[["sleep", 0.2]])
    second = client.signature("steps.link_of_chain", script=[["sleep", 0.2]])
    last = chain(first, second, app=client.app).apply_async()

    answer = client.result(last.id)

    assert answer["before"] == answer["root_id"] == answer["parent_id"] == last.parent.id
    assert client.meta(last.id)["parent_id"] == last.parent.id


def test_the_parts_of_a_group_wait_side_by_side(client: Client) -> None:
    parts = [client.signature("steps.plain", script=[["wait", "group", LONG]]) for _ in range(3)]
    sent = group(parts, app=client.app).apply_async()
    for part in sent:
        client.waits(part.id)

    woken = client.tell("group", 1)

    assert woken == 3
    assert [client.result(part.id)["got"] for part in sent] == [[1]] * 3
    assert {client.meta(part.id)["group_id"] for part in sent} == {sent.id}


def test_the_body_of_a_chord_runs_once_after_a_part_that_waited(client: Client) -> None:
    scripts: list[Any] = [[["sleep", 0.3], ["sleep", 0.3]], [], [["wait", "chord", LONG / 20]]]
    header = [client.signature("steps.plain", script=script) for script in scripts]
    body = chord(header, client.signature("steps.total"), app=client.app).apply_async()
    client.waits(body.parent[2].id)
    client.tell("chord")

    assert client.result(body.id) == [part.id for part in body.parent]
    client.settle()
    assert client.marks("total", body.id) == 1


def test_a_chord_whose_count_would_expire_under_a_wait_fails_with_the_setting(
    client: Client,
) -> None:
    header = [client.signature("steps.plain", script=[["sleep", 31]])]
    body = chord(header, client.signature("steps.total"), app=client.app).apply_async()

    failed = client.end(body.parent[0].id)

    assert failed["status"] == "FAILURE"
    assert "set result_chord_expires" in str(failed["result"])
    assert client.end(body.id)["status"] == "FAILURE"


def test_a_chord_whose_count_would_expire_under_many_short_waits_fails_too(
    client: Client,
) -> None:
    header = [client.signature("steps.plain", script=[["sleep", 1.5], ["sleep", 29]])]
    body = chord(header, client.signature("steps.total"), app=client.app).apply_async()

    failed = client.end(body.parent[0].id)

    assert "set result_chord_expires" in str(failed["result"])


def test_a_revoked_part_of_a_chord_fails_its_body(client: Client) -> None:
    header = [client.signature("steps.plain", script=[["sleep", 25]])]
    body = chord(header, client.signature("steps.total"), app=client.app).apply_async()
    client.waits(body.parent[0].id)

    client.app.control.revoke(body.parent[0].id)

    assert client.end(body.parent[0].id)["status"] == "REVOKED"
    assert client.end(body.id)["status"] == "FAILURE"


@pytest.mark.parametrize(("script", "option"), [([], "link"), ([["fail"]], "link_error")])
def test_a_callback_is_called_once_after_the_wait(
    client: Client, script: list[list[Any]], option: str
) -> None:
    of = str(uuid4())
    callback = client.signature("steps.note", of=of).set(immutable=option == "link_error")
    run = client.play(["sleep", 0.2], *script, ["sleep", 0.2], **{option: callback})

    client.end(run)
    wait_until(lambda: client.marks("noted", of), "the callback")
    client.settle()

    assert client.marks("noted", of) == 1


def test_a_woken_run_is_the_message_that_it_was(client: Client) -> None:
    """Its queue, headers, priority, stamps and limits."""
    run = client.play(
        *(["sleep", 0.2], ["sleep", 0.2]),
        headers={"tenant": "t-1"},
        priority=3,
        stamped_headers=["color"],
        color="blue",
        soft_time_limit=60,
        time_limit=90,
        expires=LONG,
    )

    answer = client.result(run)

    assert answer["queue"] == client.worker.worker_queue
    assert answer["headers"]["tenant"] == "t-1"
    assert answer["priority"] == 3
    assert answer["stamps"] == {"color": "blue"}
    assert answer["timelimit"] == [90, 60]
    assert (answer["root_id"], answer["parent_id"]) == (run, None)


def test_a_run_that_has_begun_in_time_outlives_its_expiry(client: Client) -> None:
    run = client.play(["sleep", 2], expires=1.5)

    assert client.result(run)["got"] == [None]


@pytest.mark.parametrize("limit", ["soft_time_limit", "time_limit"])
def test_a_time_limit_counts_one_pass(client: Client, limit: str) -> None:
    burns = [["burn", 0.7], ["sleep", 0.1]]
    run = client.play(*burns, ["do", "a"], **{limit: 2})
    slow = client.play(["sleep", 0.1], ["burn", 20], **{limit: 1})

    assert client.result(run)["got"][-1] == "a"
    assert "TimeLimitExceeded" in repr(client.end(slow)["result"])


def test_what_a_step_and_a_body_defer_is_published_once_after_all_waits(client: Client) -> None:
    run = client.play(["sleep", 0.2], ["defer"], ["sleep", 0.2])
    child = run_id(run, "follow-up")

    client.result(run)
    client.result(child)
    client.settle()

    assert client.marks("follow-up", child) == 1
    assert client.children(run) == [child]


def test_an_invoked_run_that_waits_is_waited_for(client: Client) -> None:
    run = client.play(["invoke", [["sleep", 0.3]]])

    answer = client.result(run)

    child = run_id(run, "\0invoked")
    assert answer["got"] == [child]
    assert client.children(run) == [child]


# -- revoke and cancel -----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["control", "result"])
def test_a_parked_run_that_is_revoked_ends(client: Client, way: str) -> None:
    run = client.play(["wait", "never", LONG])
    client.waits(run)
    began = time.monotonic()

    if way == "control":
        client.app.control.revoke(run)
    else:
        client.app.AsyncResult(run).revoke()

    assert client.end(run)["status"] == "REVOKED"
    assert time.monotonic() - began < 3
    assert not client.is_parked(run)
    assert client.tell("never") == 0


def test_a_run_that_is_revoked_at_work_ends_when_it_parks(client: Client) -> None:
    # Of a run that does not tell when it starts, Celery says REVOKED in other workers already.
    run = client.play(["hold"], ["wait", "never", LONG], kind="tracked")
    wait_until(lambda: client.marks("held", run), "the body holds")

    client.app.control.revoke(run)
    client.app.control.ping(destination=[client.worker.hostname()], timeout=5)
    client.go(run)

    assert client.end(run)["status"] == "REVOKED"
    assert not client.is_parked(run)


def test_a_parked_run_that_is_cancelled_ends_at_once(client: Client) -> None:
    run = client.play(["wait", "never", LONG])
    client.waits(run)

    has_ended = client.cancel(run)

    assert has_ended
    assert client.meta(run)["status"] == "REVOKED"
    assert not client.is_parked(run)


def test_flower_sees_a_cancelled_run_as_revoked(client: Client) -> None:
    with watched(client.app) as view:
        run = client.play(["wait", "never", LONG])
        wait_until(lambda: view.states(run)[-1:] == ["WAITING"], "it is shown as waiting")

        client.waits(run)
        client.cancel(run)

        wait_until(lambda: view.states(run)[-1:] == ["REVOKED"], "its end is shown")


def test_a_run_that_is_cancelled_at_work_ends_where_it_would_wait(
    clients: dict[str, Client],
) -> None:
    worker, other = clients["redis-prefork"], clients["redis-threads"]
    other.worker.container.ready()
    run = worker.play(["do", "a"], ["hold"], ["sleep", LONG], ["do", "b"], kind="tracked")
    wait_until(lambda: worker.marks("held", run), "the body holds")

    has_ended = other.cancel(run)
    worker.go(run)

    assert not has_ended
    assert worker.end(run)["status"] == "REVOKED"
    assert worker.marks("step-b", run) == 0


def test_a_run_that_is_cancelled_with_its_wake_up_on_its_way_never_goes_on(
    clients: dict[str, Client],
) -> None:
    busy, other = clients["redis-prefork"], clients["redis-threads"]
    other.worker.container.ready()
    run = busy.play(["wait", "on-its-way", LONG], ["do", "b"])
    busy.waits(run)
    blocker = busy.play(["hold"])
    wait_until(lambda: busy.marks("held", blocker), "the worker is busy")
    other.tell("on-its-way")

    has_ended = other.cancel(run)
    busy.go(blocker)

    assert has_ended
    assert busy.end(run)["status"] == "REVOKED"
    busy.settle()
    assert busy.marks("step-b", run) == 0
