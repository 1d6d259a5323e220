"""``@deferred`` changes nothing in the messages that Celery itself sends (rule 2.1)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from pydantic import BaseModel

from celery_defer import Defer, deferred
from tests.support.connections import close

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Order(BaseModel):
    n: int


def plain_app(url: str) -> Celery:
    app = _app(url)
    _tasks(app, lambda task: task)
    return app


def deferring_app(url: str) -> Celery:
    app = _app(url)
    Defer(app)
    _tasks(app, deferred)
    return app


def _app(url: str) -> Celery:
    app = Celery("wire", broker=url, backend=url, set_as_current=False)
    app.conf.task_default_queue = "wire"
    return app


def _tasks(app: Celery, decorate: Callable[[Any], Any]) -> None:
    @decorate
    @app.task(name="wire.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    @decorate
    @app.task(name="wire.bound", shared=False, bind=True, time_limit=30)
    def bound(self: Any, x: int) -> int:
        return x

    @decorate
    @app.task(name="wire.order", shared=False, pydantic=True)
    def order(order: Order) -> int:
        return order.n


SENDS: dict[str, Callable[[Celery], Any]] = {
    "delay": lambda app: app.tasks["wire.add"].delay(1, y=2),
    "apply_async": lambda app: app.tasks["wire.bound"].apply_async(
        (1,), countdown=60, expires=None, headers={"tenant": "acme"}, priority=3
    ),
    "chain": lambda app: (
        app.tasks["wire.add"].s(1, 2) | app.tasks["wire.add"].s(3) | app.tasks["wire.bound"].s()
    ).apply_async(),
    "link": lambda app: app.tasks["wire.add"].apply_async(
        (1, 2), link=app.tasks["wire.bound"].s(), link_error=app.tasks["wire.bound"].si(1)
    ),
    "by name": lambda app: app.send_task("wire.add", (1,), {"y": 2}),
    "pydantic": lambda app: app.tasks["wire.order"].delay(Order(n=1)),
}


@pytest.fixture
def sent(redis_url: str) -> Iterator[Callable[[Callable[[str], Celery], str], list[str]]]:
    """Send in one way with an app, and answer the raw messages, but for ids and times."""
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    apps: list[Celery] = []

    def send(make: Callable[[str], Celery], way: str) -> list[str]:
        apps.append(make(redis_url))
        SENDS[way](apps[-1])
        names = [key for key in client.keys("wire*") if client.type(key) == "list"]
        messages = [json.loads(raw) for name in sorted(names) for raw in client.lrange(name, 0, -1)]
        client.delete(*names)
        return [_comparable(message) for message in messages]

    yield send
    for app in apps:
        close(app)
    client.close()


def _comparable(message: dict[str, Any]) -> str:
    message["body"] = json.loads(base64.b64decode(message["body"]))
    if message["headers"]["eta"]:
        message["headers"]["eta"] = message["headers"]["eta"][:10]
    ids: dict[str, str] = {}
    text = json.dumps(message, sort_keys=True, indent=1)
    return UUID.sub(lambda found: ids.setdefault(found[0], f"id-{len(ids)}"), text)


@pytest.mark.parametrize("way", SENDS)
def test_a_deferred_function_is_sent_as_the_task_that_it_is(
    sent: Callable[..., list[str]], way: str
) -> None:
    without, with_deferred = sent(plain_app, way), sent(deferring_app, way)

    assert len(without) == 1
    assert with_deferred == without
