"""Which settings of a Redis may lose what is deferred."""

from __future__ import annotations

from time import time

import pytest

from celery_defer.store import RedisStore
from tests.support.redis import running


def risks_of(*options: str) -> list[str]:
    with running(*options) as server:
        return RedisStore(server.client(), "defer:").risks()


KEEPS = ("--appendonly", "yes")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(KEEPS, id="aof"),
        pytest.param((*KEEPS, "--maxmemory", "1gb"), id="noeviction"),
        pytest.param((*KEEPS, "--maxmemory-policy", "allkeys-lru"), id="no-limit"),
        pytest.param((*KEEPS, "--rename-command", "CONFIG", ""), id="aof-managed"),
        pytest.param(("--rename-command", "CONFIG", ""), id="managed"),
    ],
)
def test_a_server_that_keeps_what_it_is_given_is_no_risk(options: tuple[str, ...]) -> None:
    assert risks_of(*options) == []


def test_a_server_that_writes_snapshots_is_no_risk() -> None:
    with running() as server:
        server.client().config_set("save", "900 1")
        assert RedisStore(server.client(), "defer:").risks() == []


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
def test_a_server_that_may_evict_is_a_risk(policy: str) -> None:
    (risk,) = risks_of(*KEEPS, "--maxmemory", "1gb", "--maxmemory-policy", policy)

    assert f"maxmemory-policy {policy}" in risk
    assert "set maxmemory-policy noeviction" in risk


def test_a_server_that_keeps_nothing_on_disk_is_a_risk() -> None:
    (risk,) = risks_of()

    assert "set appendonly yes" in risk


def test_each_risk_is_told() -> None:
    assert len(risks_of("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru")) == 2


@pytest.mark.parametrize(
    ("seconds", "words"), [(7200, "7,200 seconds ahead of"), (-60, "60 seconds behind")]
)
def test_a_clock_that_differs_from_that_of_redis_is_a_risk(
    monkeypatch: pytest.MonkeyPatch, seconds: float, words: str
) -> None:
    with running(*KEEPS) as server:
        store = RedisStore(server.client(), "defer:")
        monkeypatch.setattr("celery_defer.store.redis.store.time", lambda: time() + seconds)

        (risk,) = store.risks()

    assert f"the clock of this machine is {words} the clock of Redis" in risk
