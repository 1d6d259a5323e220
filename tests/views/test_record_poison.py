"""A history that nobody can read hides no other."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from celery_defer.ids import RunId
from celery_defer.store import Fact, RunState, Store
from celery_defer.views import record, runs, tree, waiting
from tests.support.one_redis import app_on
from tests.support.redis import Server

ABOUT, SINCE = b'{"t":"ship"}', (1.7e9, 1.7e9, 1.7e9, 0.0)

POISON = {
    "times that are no number": (ABOUT, b"", (float("nan"), float("inf"), 1e300, -1e300)),
    "no JSON": (b"\xff", b"\xff", SINCE),
    "a list in place of what it is": (b"[1]", b"", SINCE),
    "a list in place of what it has done": (ABOUT, b"[1]", SINCE),
    "a number in place of its calls": (ABOUT, b'{"c":7,"k":7}', SINCE),
    "a number in place of its tags": (ABOUT, b'{"g":7}', SINCE),
    "a text in place of a wait": (ABOUT, b'{"w":"never"}', SINCE),
    "a wait without its step": (ABOUT, b'{"w":{"kind":"sleep"}}', SINCE),
}


@pytest.fixture
def app(server: Server) -> Iterator[Celery]:
    app = app_on(server)
    app.set_current()
    return app


@pytest.fixture(params=POISON)
def poisoned(request: pytest.FixtureRequest, server: Server, app: Celery) -> str:
    """The id of a parked run whose history is poisoned; "well" is one that is well."""
    store: Store = app._celery_defer.store
    facts = [
        Fact(RunId(id), "ship", RunState.WAITING, 60, ABOUT, b'{"w":%b}' % WAIT)
        for id in ("well", "ill")
    ]
    store.note(facts)
    about, told, times = POISON[request.param]
    head = struct.pack("<BBHddddI", 1, ord("W"), 1, *times, len(about))
    client: Any = server.client(db=4)
    client.set("celery-defer:{ill}:history", head + about + told)
    return "ill"


WAIT = b'{"step":"nap","kind":"sleep","since":1700000000,"until":1700000001}'


def test_the_other_runs_are_listed(app: Celery, poisoned: str) -> None:
    assert "well" in {row.id for row in runs().rows}
    assert "well" in {row.id for row in runs(state="waiting").rows}
    assert "well" in {wait.run.id for wait in waiting().rows}


def test_it_can_be_looked_at_itself(app: Celery, poisoned: str) -> None:
    assert record(poisoned).run.state is RunState.WAITING
    assert tree(poisoned).run.id == poisoned
