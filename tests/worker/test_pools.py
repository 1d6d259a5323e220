"""In every pool a parent defers, its deferred run runs, and both know of each other (3.2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

#: Each pool, and how many runs it has side by side.
PLACES = {"prefork": 2, "spawn": 2, "threads": 4, "gevent": 4, "eventlet": 4, "solo": 1}
SPAWN = {"DEFER_TEST_CONFIG": '{"worker_pool_start_method": "spawn"}'}


@pytest.fixture(scope="module")
def pools(start_module_worker: Callable[..., LocalWorker]) -> dict[str, LocalWorker]:
    """One worker of each pool; they start at one time."""

    def started(pool: str) -> LocalWorker:
        kind, env = ("prefork", SPAWN) if pool == "spawn" else (pool, {})
        places = str(PLACES[pool])
        return start_module_worker(pool, "--pool", kind, "--concurrency", places, env=env)

    return {pool: started(pool) for pool in PLACES}


@pytest.fixture(params=PLACES)
def in_pool(
    request: pytest.FixtureRequest,
    pools: dict[str, LocalWorker],
    caller_of: Callable[[LocalWorker], Caller],
) -> Caller:
    pools[request.param].ready()
    return caller_of(pools[request.param])


def test_every_pool_links_parent_and_deferred_run_both_ways(in_pool: Caller) -> None:
    parent = in_pool.send("parents.scripted", calls=[{"id": "next", "kind": "plain", "n": 1}])

    answer = in_pool.child(parent, "next")

    assert answer["run"]["parent"]["id"] == parent
    assert answer["run"]["root_id"] == parent
    assert answer["run"]["parent_result"] == "done"
    assert in_pool.meta(run_id(parent, "next"))["parent_id"] == parent
    assert in_pool.children(parent) == [run_id(parent, "next")]


def test_every_pool_drops_what_a_failed_parent_deferred(in_pool: Caller) -> None:
    call = {"id": "next", "kind": "plain", "n": 1}
    parent = in_pool.send("parents.scripted", calls=[call], end="fail")
    assert in_pool.end(parent)["status"] == "FAILURE"

    # A later run of the same process or thread must not find the dropped calls.
    later = in_pool.send("parents.scripted", calls=[{**call, "id": "later"}])
    in_pool.child(later, "later")

    assert in_pool.children(parent) == []
    assert in_pool.marks("before-publish", run_id(parent, "next")) == 0
    assert in_pool.marks("before-publish", run_id(later, "next")) == 0


def test_runs_side_by_side_keep_their_calls_apart(in_pool: Caller) -> None:
    """On threads, gevent and eventlet they are runs of one process."""
    places = PLACES[in_pool.worker.worker_queue]
    parents = [
        in_pool.send("parents.held", calls=[{"id": "next", "kind": "plain", "n": n}])
        for n in range(places)
    ]
    for parent in parents:
        wait_until(lambda run=parent: in_pool.marks("waiting", run), "every body waits")
    for parent in parents:
        in_pool.go(parent)

    answers = [in_pool.child(parent, "next") for parent in parents]

    assert [answer["n"] for answer in answers] == list(range(places))
    assert [answer["run"]["parent"]["id"] for answer in answers] == parents
