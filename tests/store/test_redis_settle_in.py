"""Commands for the broker, and the removal of the record, go to a Redis as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from celery_defer.ids import RunId
from celery_defer.store import Claim, RedisStore
from celery_defer.testing.store_contract.shorthand import stage
from examples.redis_server import free_port
from tests.support.processes import wait_until
from tests.support.redis import Server

KEEP = 600.0
RUN = RunId("run")


def how_to(client: Redis) -> dict[str, Any]:
    return client.connection_pool.connection_kwargs


def sending(store: RedisStore, broker: Redis, token: str = "token") -> Callable[[list[Any]], None]:
    send = store.settle_in(how_to(broker), RUN, token)
    assert send is not None
    return lambda commands: send(commands)()


@pytest.mark.parametrize("db", [2, 5])
def test_commands_and_the_removal_go_as_one(
    server: Server, store: RedisStore, redis: Redis, db: int
) -> None:
    stage(store, "run", due=10)
    broker = server.client(db=db)
    sending(store, broker)(["lpush", "queue", b"one", "lpush", "queue", "two"])

    assert broker.lrange("queue", 0, -1) == [b"two", b"one"]
    assert [key for key in redis.scan_iter() if key != b"queue"] == []


def test_after_them_the_store_is_in_its_own_database(
    server: Server, store: RedisStore, redis: Redis
) -> None:
    sending(store, server.client(db=5))(["lpush", "queue", b"one"])
    stage(store, "run", due=10)

    assert redis.exists("defer:{run}:outbox")


def test_the_removal_leaves_a_later_record(store: RedisStore, redis: Redis) -> None:
    stage(store, "run", due=10, token="second")
    sending(store, redis, "first")(["lpush", "queue", b"one"])

    assert store.waiting() == 1


def test_commands_go_to_a_server_that_has_forgotten_its_scripts(
    server: Server, store: RedisStore, redis: Redis
) -> None:
    stage(store, "run", due=10)
    server.client().script_flush()
    sending(store, redis)(["lpush", "queue", b"one"])

    assert redis.lrange("queue", 0, -1) == [b"one"]
    assert store.waiting() == 0


def test_commands_go_to_a_server_that_was_restarted_meanwhile(
    server: Server, store: RedisStore, redis: Redis
) -> None:
    for _ in range(2):  # the first may find no script, and so leave no connection
        stage(store, "run", due=10)
    server.restart()
    sending(store, redis)(["lpush", "queue", b"one"])

    assert redis.lrange("queue", 0, -1) == [b"one"]


def test_a_command_that_is_refused_leaves_the_record(store: RedisStore, redis: Redis) -> None:
    stage(store, "run", due=10)
    redis.set("queue", "no list")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        sending(store, redis)(["lpush", "queue", b"one"])

    assert store.waiting() == 1


def test_a_server_without_memory_takes_no_command_and_leaves_the_record(
    server: Server, store: RedisStore, redis: Redis
) -> None:
    stage(store, "run", due=10)
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisError, match="maxmemory"):
            sending(store, redis)(["lpush", "queue", b"one", "lpush", "queue", b"two"])
    finally:
        redis.config_set("maxmemory", 0)

    assert redis.llen("queue") == 0
    assert store.waiting() == 1


def test_commands_whose_answer_does_not_come_are_not_sent_again(
    server: Server, store: RedisStore, redis: Redis
) -> None:
    stage(store, "run", due=10)
    with server.hanging(), pytest.raises(RedisError):
        sending(store, redis)(["lpush", "queue", b"one"])
    wait_until(lambda: store.waiting() == 0)

    assert redis.lrange("queue", 0, -1) == [b"one"]


def test_an_answer_that_comes_late_is_nobody_elses(
    server: Server, store: RedisStore, redis: Redis
) -> None:
    stage(store, "run", due=10)
    with server.hanging(), pytest.raises(RedisError):
        sending(store, redis)(["lpush", "queue", b"one"])

    assert store.claim(RUN, "owner", KEEP) == Claim("owner", is_mine=True)


def test_nothing_goes_with_commands_for_another_server(store: RedisStore) -> None:
    assert store.settle_in(how_to(Redis(port=free_port())), RUN, "token") is None


def test_nothing_goes_with_commands_of_another_user(server: Server, store: RedisStore) -> None:
    broker = server.client(username="broker", password="secret")

    assert store.settle_in(how_to(broker), RUN, "token") is None


def test_nothing_goes_with_commands_for_another_master_of_the_sentinels(server: Server) -> None:
    def client_of(master: str) -> Any:
        app = Celery(f"app-{master}", backend="sentinel://127.0.0.1:1", set_as_current=False)
        app.conf.result_backend_transport_options = {"master_name": master}
        return app.backend.client

    store = RedisStore(client_of("results"), "defer:")

    assert store.settle_in(how_to(client_of("broker")), RUN, "token") is None
