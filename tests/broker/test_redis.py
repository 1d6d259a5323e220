"""What a Redis as broker cannot take is known, and holds back nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from pydantic_core import from_json

from celery_defer import Defer, broker
from celery_defer.broker import Delivery, Message
from celery_defer.commands import Commands
from celery_defer.ids import RunId
from examples.redis_server import free_port
from tests.support.connections import close_pools
from tests.support.inside import ship_of
from tests.support.redis import Server


@pytest.fixture
def app(server: Server) -> Iterator[Celery]:
    app = Celery(f"app-{free_port()}", broker=f"{server.url}/3", backend=f"{server.url}/4")
    Defer(app)
    ship_of(app)
    yield app
    close_pools(app)


def a_message(app: Celery, id: str, header: object = 1) -> Message:
    task = app.tasks["ship"]
    return Message(RunId(id), "ship", (1,), {}, "p", "p", {"x": header}, target=task)


def here(server: Server) -> Any:
    return ("127.0.0.1", server.port, None)


def test_messages_become_commands_that_somebody_else_sends(server: Server, app: Celery) -> None:
    commands = broker.capture(app, [a_message(app, "one"), a_message(app, "two")], here(server))

    assert isinstance(commands, Commands)
    assert (commands.server, commands.database) == (here(server), 3)
    [(name, queue, *messages)] = commands.rows  # one for all that go into a queue
    assert (name, queue, len(messages)) == ("lpush", "celery", 2)
    assert server.client(db=3).llen("celery") == 0


@pytest.mark.parametrize(
    ("header", "place"),
    [
        pytest.param(1, ("elsewhere", 6379, None), id="another server"),
        pytest.param(object(), None, id="a message that no broker takes"),
    ],
)
def test_what_cannot_go_with_a_result_is_known_before_it_is_sent(
    server: Server, app: Celery, header: object, place: Any
) -> None:
    messages = [a_message(app, "one"), a_message(app, "two", header)]

    assert broker.capture(app, messages, place or here(server)) is None

    broker.send(app, [a_message(app, "three")], is_durable=True)
    assert server.client(db=3).llen("celery") == 1  # nothing of the others is left over


def test_a_message_that_no_broker_takes_holds_back_no_other(server: Server, app: Celery) -> None:
    good, bad, other = (
        a_message(app, id, header) for id, header in (("one", 1), ("two", object()), ("three", 3))
    )

    delivery = broker.send(app, [good, bad, other], is_durable=True)
    again = broker.send(app, [good], is_durable=True)

    assert delivery.sent == {good.id, other.id}
    assert delivery.refused == {
        bad.id: "TypeError('Object of type object is not JSON serializable')"
    }
    assert again == Delivery(sent=frozenset({good.id}))
    assert server.client(db=3).llen("celery") == 3


def test_messages_that_go_first_are_taken_before_those_that_wait(
    server: Server, app: Celery
) -> None:
    waits = [a_message(app, "one"), a_message(app, "two")]
    first = [replace(a_message(app, id), goes_first=True) for id in ("three", "four")]

    broker.send(app, waits)
    delivery = broker.send(app, [a_message(app, "five"), *first])

    assert delivery.sent == {"three", "four", "five"}
    client: Any = server.client(db=3)
    taken = [from_json(client.rpop("celery"))["headers"]["id"] for _ in range(5)]
    assert taken == ["three", "four", "one", "two", "five"]


def raising(error: Exception) -> Any:
    """Return a router that raises for the message of one run."""

    def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> None:
        if "spoiled" in options:
            raise error

    return route


def test_a_queue_that_is_not_known_holds_back_no_other(server: Server, app: Celery) -> None:
    """kombu counts a KeyError among the errors of a connection to Redis."""
    app.conf.task_create_missing_queues = False
    good, bad = a_message(app, "one"), replace(a_message(app, "two"), options={"queue": "unknown"})

    delivery = broker.send(app, [bad, good], is_durable=True)

    assert (delivery.sent, delivery.refused.keys()) == ({good.id}, {bad.id})
    assert "QueueNotFound" in delivery.refused[bad.id]
    assert "Queue 'unknown' missing from task_queues" in delivery.refused[bad.id]


def test_a_router_that_raises_says_nothing_of_the_broker(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.task_routes = (raising(KeyError("no tenant 7")),)
    good, bad = a_message(app, "one"), replace(a_message(app, "two"), options={"spoiled": 1})

    delivery = broker.send(app, [bad, good], is_durable=True)

    assert (delivery.sent, delivery.refused) == ({good.id}, {bad.id: "KeyError('no tenant 7')"})
    assert "the broker is away" not in caplog.text


def test_what_a_service_of_a_router_prevents_is_tried_again_alone(
    app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.task_routes = (raising(ConnectionRefusedError("no table of tenants")),)
    good, bad = a_message(app, "one"), replace(a_message(app, "two"), options={"spoiled": 1})

    delivery = broker.send(app, [bad, good], is_durable=True)

    assert delivery == Delivery(sent=frozenset({good.id}), unsent=frozenset({bad.id}))
    assert "no table of tenants" in caplog.text
    assert "the broker is away" not in caplog.text


def test_why_a_message_cannot_be_made_is_told_in_short_and_without_a_password(app: Celery) -> None:
    app.conf.task_routes = (raising(KeyError("redis://me:secret@host " + "x" * 5_000)),)

    bad = replace(a_message(app, "two"), options={"spoiled": 1})
    (reason,) = broker.send(app, [bad], is_durable=True).refused.values()

    assert reason.startswith("KeyError('redis://**@host xxx")
    assert len(reason) <= 300
