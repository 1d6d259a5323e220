"""What Celery's result backend would write to its Redis, as commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery.backends.redis import RedisBackend
from redis import Redis

from celery_defer.run import commands_of, server_of_results
from tests.support.redis import Server

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


def storing(state: str) -> Callable[[Any], None]:
    return lambda backend: backend.store_result("run", {"n": 1}, state)


def test_a_result_becomes_the_commands_by_which_celery_stores_it(
    redis_app: Any, server: Server, results: Redis
) -> None:
    storing("STARTED")(redis_app.backend)
    by_celery = results.get("celery-task-meta-run"), results.ttl("celery-task-meta-run")
    results.flushdb()

    commands = commands_of(redis_app.backend, storing("STARTED"))

    assert commands is not None
    assert (commands.server, commands.database) == (("127.0.0.1", server.port, None), 1)
    assert results.keys() == []  # it has sent none
    for words in commands.rows:
        results.execute_command(*words)
    assert (results.get("celery-task-meta-run"), results.ttl("celery-task-meta-run")) == by_celery


@pytest.mark.parametrize(("looks", "is_kept"), [(True, True), (False, False)])
def test_a_success_is_kept_by_who_looks_for_it(redis_app: Any, looks: bool, is_kept: bool) -> None:
    storing("SUCCESS")(redis_app.backend)

    commands = commands_of(redis_app.backend, storing("FAILURE"), looks=looks)

    assert (commands is None) == is_kept


def test_the_backend_stores_as_before(redis_app: Any) -> None:
    commands_of(redis_app.backend, storing("STARTED"))

    storing("SUCCESS")(redis_app.backend)

    assert redis_app.AsyncResult("run").get() == {"n": 1}


class OwnSet(RedisBackend):
    """A result backend of somebody else's, on a Redis."""

    def set(self, key: Any, value: Any, **retry_policy: Any) -> Any:
        return super().set(key, value, **retry_policy)


class Named(RedisBackend):
    """One that stores as Celery's own does."""


def test_results_are_on_a_server_where_celerys_own_backend_stores_them(
    redis_app: Any, server: Server
) -> None:
    def server_by(kind: type) -> Any:
        return server_of_results(kind(app=redis_app, url=f"{server.url}/1"))

    assert server_by(RedisBackend) == server_by(Named) == ("127.0.0.1", server.port, None)
    assert server_by(OwnSet) is None
    assert server_of_results(object()) is None
