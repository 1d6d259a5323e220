"""What a block asks of the Redis that keeps all, and what a killed process leaves there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult

from celery_defer import StoreError, defer, deferring, run_id
from celery_defer.outbox import Relay
from tests.support.inside import ship_of
from tests.support.one_redis import (
    ONE_TRANSACTION,
    app_on,
    asked_of,
    is_one_script,
    lengths,
    staged,
)
from tests.support.redis import Server, free_port

pytestmark = ONE_TRANSACTION

ROOT = Path(__file__).parents[2]
# A view that is killed: before its block is committed, or when its record is in the outbox.
VIEW = """
import os, signal, sys
from celery.signals import before_task_publish
from celery_defer import defer, deferring
from tests.support.inside import ship_of
from tests.support.one_redis import app_on
from types import SimpleNamespace

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

moment, url, id = sys.argv[1:]
app = app_on(SimpleNamespace(url=url), defer_commit="signal")
ship = ship_of(app)
if moment == "after the record":
    before_task_publish.connect(die)
with deferring(app, id=id, on_commit=die if moment == "before the record" else None):
    defer("first", ship, n=1)
    defer("second", ship, n=2)
"""


@pytest.fixture
def app(server: Server) -> Celery:
    return app_on(server)


def test_13_1_result_links_and_messages_of_a_block_are_one_round_trip(
    server: Server, app: Celery, ship: Any
) -> None:
    for _ in range(2):  # the first declares the queue
        with asked_of(server) as asked, deferring(app) as parent:
            defer("first", ship, n=1)
            defer("second", ship, n=2)

    assert is_one_script(asked)
    assert (lengths(server), staged(app)) == ([4], 0)
    children = AsyncResult(parent.id, app=app).children
    assert [child.id for child in children] == [run_id(parent.id, id) for id in ("first", "second")]


def test_two_blocks_with_one_id_lose_none_of_their_calls_on_one_redis(
    server: Server, app: Celery, ship: Any
) -> None:
    for id in ("first", "second"):
        with deferring(app, id="order-7"):
            defer(id, ship, n=1)

    assert (lengths(server), staged(app)) == ([2], 0)


def test_a_redis_that_is_away_holds_a_view_for_seconds_only() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    app = app_on(SimpleNamespace(url=url), broker=url, backend=url)
    ship = ship_of(app)
    began = monotonic()

    with pytest.raises(StoreError, match="broker is away"), deferring(app):
        defer("first", ship, n=1)

    assert monotonic() - began < 10  # Celery tries for 20 seconds to store the result of a task


@pytest.mark.parametrize(
    ("moment", "published"), [("before the record", 0), ("after the record", 2)]
)
def test_a_view_that_is_killed_publishes_nothing_or_a_relay_publishes_all(
    server: Server, app: Celery, ship: Any, moment: str, published: int
) -> None:
    app.conf.defer_commit = "signal"
    extension = app._celery_defer
    command = [sys.executable, "-c", VIEW, moment, server.url, "order-7"]
    done = subprocess.run(command, cwd=ROOT, timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    assert lengths(server) == [0]

    Relay(app, extension.store, extension.settings).tick(extension.clock() + 60)

    assert (lengths(server), staged(app)) == ([published], 0)
