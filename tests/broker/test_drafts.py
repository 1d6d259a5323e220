"""What we write on the pattern of Celery's first message is what Celery would have written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.app import trace
from celery.app.amqp import AMQP
from celery.signals import before_task_publish
from kombu import Connection

from celery_defer import Defer, defer, deferred
from celery_defer.model import HEADER
from tests.support.connections import close_pools
from tests.support.inside import Worker, ids_of
from tests.support.rabbitmq import RABBITMQ, need_rabbitmq
from tests.support.redis import Server, running

# redis-py says so of what Celery's result backend calls.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

#: What arguments may look like.
VALUES = [
    7,
    0.5,
    None,
    True,
    'ünï 🎈 "quoted" \\',
    ["a", {"b": [1]}],
    {"__type__": "x"},
    "x" * 2000,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(params=["redis", "rabbitmq"])
def app(server: Server, request: pytest.FixtureRequest) -> Iterator[Celery]:
    broker = f"{server.url}/3"
    if request.param == "rabbitmq":
        need_rabbitmq()
        broker = f"{RABBITMQ}//"
    name = f"drafts-{uuid4().hex}"
    app = Celery(name, broker=broker, backend=f"{server.url}/4", set_as_current=False)
    app.conf.task_default_queue = name
    Defer(app)
    yield app
    if request.param == "rabbitmq":
        with Connection(broker) as connection, connection.channel() as channel:
            for queue in (name, f"{name}-other"):
                channel.queue_delete(queue)
                channel.exchange_delete(queue)
    close_pools(app)


def parent_of(app: Celery, values: list[Any], **options: Any) -> Any:
    @deferred
    @app.task(name="ship", shared=False, **options)
    def ship(value: Any, *, again: Any) -> None: ...

    @app.task(name="parent", shared=False)
    def parent() -> None:
        for number, value in enumerate(values):
            defer(f"call-{number}", ship, value, again=value)

    return parent


def perform(task: Any, id: str) -> None:
    """Run *task* under *id*, so that what it defers has the same ids each time."""
    request = {"id": id, "task": task.name, "delivery_info": {}, "is_eager": False}
    trace.build_tracer(task.name, task, app=task.app)(id, (), {}, request)


def sent(app: Celery, queue: str | None = None) -> list[Any]:
    return sorted(Worker(app)._received(queue), key=lambda message: ids_of([message])[0])


def without_what_differs(message: Any) -> tuple[Any, ...]:
    """A message but for what names its publication: the rest is what its call makes of it."""
    header = {**message.headers[HEADER], "token": "", "at": 0}
    properties = {**message.properties, "delivery_tag": "", "application_headers": None}
    body = json.loads(message.body)
    return {**message.headers, HEADER: header}, properties, body, message.content_type


def watch(**_: Any) -> None: ...


def test_a_drafted_message_is_what_celery_would_have_sent(app: Celery) -> None:
    parent, id = parent_of(app, VALUES), str(uuid4())
    before_task_publish.connect(watch)  # it may look at each, so each is Celery's own
    try:
        perform(parent, id)
    finally:
        before_task_publish.disconnect(watch)
    theirs = sent(app)
    perform(parent, id)  # the first is Celery's, and the pattern of the rest
    ours = sent(app)

    assert list(map(without_what_differs, ours)) == list(map(without_what_differs, theirs))
    assert len(ours) == len(VALUES)


def test_another_serializer_is_left_to_celery(app: Celery) -> None:
    parent = parent_of(app, VALUES, serializer="pickle")
    perform(parent, str(uuid4()))

    kinds = [message.content_type for message in sent(app)]
    assert kinds == ["application/x-python-serialize"] * len(VALUES)


def test_compressed_messages_are_left_to_celery(app: Celery) -> None:
    parent = parent_of(app, ["x" * 500, "y" * 500], compression="gzip")
    perform(parent, str(uuid4()))

    assert [message.headers["compression"] for message in sent(app)] == ["application/x-gzip"] * 2


def test_a_header_of_someone_elses_is_on_every_message(app: Celery) -> None:
    def add(headers: dict[str, Any], **_: Any) -> None:
        headers["trace"] = headers["id"]

    parent = parent_of(app, [1, 2, 3])
    perform(parent, str(uuid4()))  # nobody adds anything, and so a pattern is made
    sent(app)
    before_task_publish.connect(add)
    try:
        perform(parent, str(uuid4()))
    finally:
        before_task_publish.disconnect(add)

    messages = sent(app)
    assert [message.headers["trace"] for message in messages] == [
        message.headers["id"] for message in messages
    ]


def test_a_pattern_ends_when_the_routes_are_set_anew(app: Celery) -> None:
    parent, other = parent_of(app, [1, 2]), f"{app.conf.task_default_queue}-other"
    perform(parent, str(uuid4()))
    assert len(sent(app)) == 2

    app.conf.update(task_routes={"ship": {"queue": other}})
    perform(parent, str(uuid4()))

    assert ids_of(sent(app, other)) == ["call-0", "call-1"]


def test_each_priority_has_its_own_pattern(app: Celery) -> None:
    @deferred
    @app.task(name="ship", shared=False)
    def ship(n: int) -> None: ...

    @app.task(name="parent", shared=False)
    def parent() -> None:
        for number in range(6):
            defer(f"call-{number}", ship.with_options(priority=number % 3 * 3), number)

    perform(parent, str(uuid4()))
    perform(parent, str(uuid4()))

    found = [(message.payload[1]["n"], message.properties["priority"]) for message in sent(app)]
    assert sorted(found) == sorted([(n, n % 3 * 3) for n in range(6)] * 2)


def test_celery_makes_only_the_first_message_of_a_way(app: Celery) -> None:
    made: list[str] = []

    class Counting(AMQP):  # type: ignore[misc]
        def as_task_v2(self, id: str, name: str, *args: Any, **options: Any) -> Any:
            made.append(name)
            return super().as_task_v2(id, name, *args, **options)

    app.amqp = Counting(app)
    perform(parent_of(app, [1, 2, 3]), str(uuid4()))

    assert len(sent(app)) == 3
    assert made == ["ship"]
