"""Which settings of a Redis may lose what is deferred."""

from __future__ import annotations

import pytest

from celery_defer.store import RedisStore
from tests.support.redis import running


def risks_of(*options: str) -> list[str]:
    with running(*options) as server:
        return RedisStore(server.client(), "defer:").risks()


SAVES = ("--save", "900 1")
KEEPS = ("--appendonly", "yes")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(KEEPS, id="aof"),
        pytest.param(SAVES, id="snapshots"),
        pytest.param((*KEEPS, "--maxmemory", "1gb"), id="noeviction"),
        pytest.param((*KEEPS, "--maxmemory-policy", "allkeys-lru"), id="no-limit"),
        pytest.param((*KEEPS, "--rename-command", "CONFIG", ""), id="aof-managed"),
        pytest.param(("--rename-command", "CONFIG", ""), id="managed"),
    ],
)
def test_a_server_that_keeps_what_it_is_given_is_no_risk(options: tuple[str, ...]) -> None:
    assert risks_of(*options) == []


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
