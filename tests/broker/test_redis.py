"""What a Redis as broker cannot take is known, and holds back nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

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

    assert delivery == Delivery(sent=frozenset({good.id, other.id}), refused=frozenset({bad.id}))
    assert again == Delivery(sent=frozenset({good.id}))
    assert server.client(db=3).llen("celery") == 3
