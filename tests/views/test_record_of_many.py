"""What is read of a run with very many calls."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Defer
from celery_defer.store import RunState, Store
from celery_defer.views import record, tree
from tests.support.redis import Server
from tests.views.flower.runs import Call, add_run


@pytest.fixture
def client(server: Server) -> Celery:
    app = Celery("client", broker=server.url, backend=server.url, set_as_current=False)
    Defer(app)
    return app


@pytest.fixture
def parent(client: Any) -> str:
    store: Store = client._celery_defer.store
    below = [Call(f"below-{n}") for n in range(5)]
    calls = [Call(f"call-{n}", state=RunState.WAITING, calls=below) for n in range(10)]
    return add_run(store, "shop.campaign", calls)


def test_only_the_first_calls_are_read_if_no_more_are_wanted(client: Celery, parent: str) -> None:
    of_parent = record(parent, app=client, most=3)
    of_child = record(of_parent.defers[0].id, app=client, most=3)

    assert [row.defer_id for row in of_parent.defers] == ["call-0", "call-1", "call-2"]
    assert [row.defer_id for row in of_child.siblings] == ["call-1", "call-2"]
    assert len(record(parent, app=client).defers) == 10


def test_a_tree_has_the_first_calls_of_each_run(client: Celery, parent: str) -> None:
    rows = list(tree(parent, app=client, most=2).rows())

    assert [depth for depth, _ in rows] == [0, 1, 2, 2, 1, 2, 2]
    assert len(list(tree(parent, app=client).rows())) == 1 + 10 + 50
