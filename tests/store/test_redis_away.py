"""A Redis that forgets, drops, hangs, refuses or has no memory, and what the store bears of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from celery_defer.ids import RunId
from celery_defer.store import RedisStore, Store
from celery_defer.testing.store_contract.shorthand import stage
from examples.redis_server import free_port
from tests.store.operations import LOCAL, OPERATIONS
from tests.support.redis import Server, running

KEEP = 600.0
RUN = RunId("run")


def take_all(store: RedisStore) -> list[Any]:
    return store.take(1e9, 2e9, 99)


def flushed(server: Server) -> None:
    server.client().script_flush()


def dropped(server: Server) -> None:
    server.client().client_kill_filter(_type="normal", skipme=True)


def restarted(server: Server) -> None:
    server.restart()


@pytest.mark.parametrize("disturb", [flushed, dropped, restarted])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_server_that_was_away_for_a_moment_is_asked_again(
    server: Server, store: RedisStore, disturb: Callable[[Server], None], name: str
) -> None:
    stage(store, "other", due=10)
    disturb(server)

    OPERATIONS[name](store)

    stage(store, "run", due=10)
    assert "run" in [taken.id for taken in take_all(store)]


def test_threads_that_stage_and_claim_at_the_same_time_do_not_mix(store: RedisStore) -> None:
    def owner_of(n: int) -> str:
        store.stage(RunId(f"run-{n}"), "token", b"%d" % n, 10, KEEP)
        return store.claim(RunId(f"run-{n}"), f"owner-{n}", KEEP).owner

    with ThreadPoolExecutor(8) as threads:
        owners = list(threads.map(owner_of, range(20)))

    assert owners == [f"owner-{n}" for n in range(20)]
    assert {taken.id: taken.body for taken in take_all(store)} == {
        f"run-{n}": b"%d" % n for n in range(20)
    }


def test_many_stages_use_few_connections(server: Server, store: RedisStore) -> None:
    before = len(server.client().client_list())
    for n in range(50):
        stage(store, f"run-{n}", due=10)

    assert len(server.client().client_list()) - before <= 2


def test_a_server_without_memory_keeps_the_earlier_record(
    server: Server, store: RedisStore
) -> None:
    client = server.client()
    stage(store, "run", due=10)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisError, match="maxmemory"):
            store.stage(RUN, "later", b"body", 10, KEEP)
    finally:
        client.config_set("maxmemory", 0)

    assert [taken.token for taken in take_all(store)] == ["token"]


#: A pool's process waits for no store longer than this at a time.
PATIENCE = 15.0


def test_no_operation_is_forgotten() -> None:
    methods = {name for name in dir(Store) if not name.startswith("_")}

    assert methods == OPERATIONS.keys() | LOCAL


def test_a_server_that_hangs_is_waited_for_within_bounds_and_is_used_again() -> None:
    cases = [(name, known) for name in OPERATIONS for known in (True, False)]
    with running() as server, ThreadPoolExecutor(len(cases)) as threads:
        stores = [RedisStore(server.client(db=2), "defer:") for _ in cases]
        for store, (_, known) in zip(stores, cases, strict=True):
            if known:  # and so connected
                stage(store, "run", due=10)
        with server.hanging():
            names = [name for name, _ in cases]
            seconds = list(threads.map(seconds_until_refused, stores, names))
        for store, name in zip(stores, names, strict=True):
            OPERATIONS[name](store)

    print([f"{name}: {waited:.1f} s" for name, waited in zip(names, seconds, strict=True)])
    assert max(seconds) < PATIENCE


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_server_that_refuses_is_not_waited_for(name: str) -> None:
    store = RedisStore(Redis(port=free_port()), "defer:")

    assert seconds_until_refused(store, name) < 1


def seconds_until_refused(store: RedisStore, name: str) -> float:
    began = time.monotonic()
    with pytest.raises(RedisError):
        OPERATIONS[name](store)
    return time.monotonic() - began
