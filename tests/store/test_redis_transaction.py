"""A result and messages go to a Redis as one; and so do a report and what a run's turn asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from celery_defer.commands import Commands, database_of, server_of
from celery_defer.ids import RunId
from celery_defer.store import Parking, RedisStore, Verdict, commit
from celery_defer.testing.store_contract.shorthand import park, stage
from examples.redis_server import free_port
from tests.support.processes import wait_until
from tests.support.redis import Server

KEEP = 600.0
RUN = RunId("run")
RESULT = "celery-task-meta-run"


def commands(client: Redis, *rows: Sequence[Any]) -> Commands:
    """Return commands for the database of *client*."""
    connection = client.connection_pool.connection_kwargs
    return Commands(server_of(connection) or (), database_of(connection), rows)


def meta(status: str = "SUCCESS", result: object = 7) -> str:
    """Return what Celery stores of a run."""
    return json.dumps({"status": status, "result": result})


def transact(
    results: Redis, broker: Redis | None, *, value: str | None = None, keeps_success: bool = True
) -> bytes | None:
    """Store a SUCCESS, or another *value*, and send two messages if there is a *broker*."""
    value = meta() if value is None else value
    result = commands(results, ("SETEX", RESULT, 60, value), ("PUBLISH", RESULT, value))
    sent = [("LPUSH", "queue", b"one"), ("LPUSH", "queue", "two")]
    messages = commands(broker, *sent) if broker else None
    return commit(results, RESULT, result, messages, keeps_success=keeps_success).stored


# -- a result and messages -----------------------------------------------------------------


@pytest.mark.parametrize("db", [2, 5])
def test_a_result_and_messages_go_as_one_whatever_their_databases(
    server: Server, redis: Redis, db: int
) -> None:
    broker = server.client(db=db)

    assert transact(redis, broker) is None

    assert broker.lrange("queue", 0, -1) == [b"two", b"one"]
    assert redis.get(RESULT) == meta().encode()
    assert redis.ttl(RESULT) == 60
    assert [key for key in redis.scan_iter() if key not in (b"queue", RESULT.encode())] == []


def test_who_waits_for_the_result_is_told(redis: Redis) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(RESULT)
        transact(redis, redis)

        message = wait_until(listener.get_message)

    assert message["data"] == meta().encode()


def test_after_it_the_client_is_in_its_own_database(server: Server, redis: Redis) -> None:
    transact(redis, server.client(db=5))
    redis.set("here", 1)

    assert sorted(redis.scan_iter()) == [RESULT.encode(), b"here"]


def test_after_one_that_is_refused_the_client_is_in_its_own_database(
    server: Server, redis: Redis
) -> None:
    broker = server.client(db=5)
    broker.set("queue", "no list")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        transact(redis, broker)
    redis.set("here", 1)

    assert list(redis.scan_iter()) == [b"here"]


def test_a_result_without_messages_is_stored(redis: Redis) -> None:
    assert transact(redis, None) is None

    assert list(redis.scan_iter()) == [RESULT.encode()]


def test_as_many_messages_may_go_as_a_run_may_make(redis: Redis) -> None:
    rows = [("LPUSH", f"queue-{n % 100}", b"x" * 100) for n in range(10_000)]
    result = commands(redis, ("SET", RESULT, meta()))

    commit(redis, RESULT, result, commands(redis, *rows), keeps_success=True)

    assert sum(redis.llen(f"queue-{n}") for n in range(100)) == 10_000


# -- a result that is stored already ---------------------------------------------------------


def test_a_success_that_is_stored_stays_and_is_returned_and_no_message_goes(redis: Redis) -> None:
    redis.set(RESULT, meta(result="the first"))

    assert transact(redis, redis) == meta(result="the first").encode()
    assert redis.get(RESULT) == meta(result="the first").encode()
    assert not redis.exists("queue")


@pytest.mark.parametrize(
    "stored",
    [
        meta("FAILURE"),
        meta("STARTED", {"status": "SUCCESS"}),
        meta("RETRY", 'not "status": "SUCCESS"'),
        meta("WAITING"),
        '"SUCCESS"',
        "[]",
        "7",
        "null",
    ],
)
def test_what_is_no_success_is_replaced(redis: Redis, stored: str) -> None:
    redis.set(RESULT, stored)

    assert transact(redis, redis) is None
    assert redis.get(RESULT) == meta().encode()
    assert redis.llen("queue") == 2


@pytest.mark.parametrize(
    "result",
    ["ünï", float("nan"), float("inf"), 2**70, [[]] * 1_000, {"a": {"b": None}}],
    ids=["text", "nan", "inf", "a long number", "many", "nested"],
)
def test_a_success_of_any_result_is_not_replaced(redis: Redis, result: object) -> None:
    redis.set(RESULT, meta(result=result))

    assert transact(redis, redis) == meta(result=result).encode()


@pytest.mark.parametrize("stored", [meta(result="\ud800"), "\0celery-compressed\0", "status: x"])
def test_what_redis_cannot_read_is_left_to_celery(redis: Redis, stored: str) -> None:
    redis.set(RESULT, stored)
    with pytest.raises(RedisError, match="user_script"):
        transact(redis, redis)

    assert redis.get(RESULT) == stored.encode()
    assert not redis.exists("queue")


def test_who_has_looked_already_replaces_whatever_is_there(redis: Redis) -> None:
    redis.set(RESULT, meta(result="the first"))

    assert transact(redis, redis, keeps_success=False) is None
    assert redis.get(RESULT) == meta().encode()


def test_the_same_once_more_sends_no_second_message(redis: Redis) -> None:
    transact(redis, redis)

    assert transact(redis, redis) == meta().encode()
    assert redis.llen("queue") == 2


# -- a server that refuses, forgets or hangs -------------------------------------------------


def test_a_message_that_is_refused_takes_the_result_with_it(server: Server, redis: Redis) -> None:
    redis.set("queue", "no list")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        transact(redis, redis)

    assert not redis.exists(RESULT)


@pytest.mark.parametrize("db", [2, 5])
def test_a_server_without_memory_takes_neither(server: Server, redis: Redis, db: int) -> None:
    broker = server.client(db=db)
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisError, match="maxmemory"):
            transact(redis, broker)
    finally:
        redis.config_set("maxmemory", 0)

    assert broker.llen("queue") == 0
    assert not redis.exists(RESULT)


def test_a_server_that_has_forgotten_its_scripts_is_told_them_again(
    server: Server, redis: Redis
) -> None:
    transact(redis, redis, value=meta("FAILURE"))
    server.client().script_flush()
    transact(redis, redis)

    assert redis.llen("queue") == 4


def test_a_server_that_was_restarted_meanwhile_is_asked_again(server: Server, redis: Redis) -> None:
    transact(redis, redis)
    server.restart()
    transact(redis, redis)

    assert redis.llen("queue") == 2


def test_what_is_sent_to_a_server_that_hangs_is_there_once(server: Server, redis: Redis) -> None:
    impatient = server.client(db=2, socket_timeout=0.1, retry=Retry(NoBackoff(), 0))
    transact(impatient, redis, value=meta("FAILURE"))  # it is connected, and the script known
    redis.delete("queue")
    with server.hanging(), pytest.raises(RedisError):
        transact(impatient, redis)
    wait_until(lambda: redis.get(RESULT) == meta().encode())

    assert transact(impatient, redis) == meta().encode()
    assert redis.llen("queue") == 2


# -- many runs that are woken ----------------------------------------------------------------


def test_a_thousand_woken_runs_are_expected_at_once(store: RedisStore) -> None:
    for n in range(1_000):
        stage(store, f"run-{n}", due=10)
    stage(store, "run-7", due=10, token="later")
    store.expect([(RunId(f"run-{n}"), "token", 99) for n in range(1_000)])

    assert [taken.id for taken in store.take(10, 20, 2_000)] == ["run-7"]


def test_records_are_settled_on_a_server_that_has_forgotten_its_scripts(
    server: Server, store: RedisStore
) -> None:
    stage(store, "run", due=10)
    server.client().script_flush()
    store.settle(RUN, "token")

    assert store.waiting() == 0


# -- a report that goes with a turn ----------------------------------------------------------


def parked(store: RedisStore, report: Commands, *, turn: int = 0) -> Verdict:
    parking = Parking(turn, "wait", b"note", "token", b"body", 500, None, ())
    return store.park(RUN, parking, 10, KEEP, report).verdict


@pytest.mark.parametrize("db", [2, 5])
def test_a_run_that_parks_is_shown_as_waiting_with_that(
    server: Server, store: RedisStore, redis: Redis, db: int
) -> None:
    results = server.client(db=db)
    report = commands(results, ("SET", RESULT, "waits"), ("EXPIRE", RESULT, 90))

    assert store.reaches(report)
    assert parked(store, report) is Verdict.PARKED
    assert (results.get(RESULT), results.ttl(RESULT)) == (b"waits", 90)
    assert redis.exists("defer:{run}:outbox")


def test_a_run_that_does_not_park_is_not_shown_as_waiting(store: RedisStore, redis: Redis) -> None:
    report = commands(redis, ("SET", RESULT, "waits"))

    assert parked(store, report, turn=3) is Verdict.SUPERSEDED
    store.cancel(RUN, KEEP, 9e9)
    assert parked(store, report) is Verdict.CANCELLED
    assert not redis.exists(RESULT)


@pytest.mark.parametrize("db", [2, 5])
def test_who_gets_a_turn_is_shown_as_started_with_that(
    server: Server, store: RedisStore, db: int
) -> None:
    results = server.client(db=db)
    park(store)
    resumed = store.resume(RUN, 1, "owner", KEEP, commands(results, ("SET", RESULT, "has started")))

    assert (resumed.claim.is_mine, resumed.has_reported) == (True, True)
    assert results.get(RESULT) == b"has started"


@pytest.mark.parametrize(("turn", "owner"), [(1, "another"), (0, "owner"), (2, "owner")])
def test_who_gets_no_turn_is_not_shown_as_started(
    store: RedisStore, redis: Redis, turn: int, owner: str
) -> None:
    park(store)
    store.resume(RUN, 1, "owner", KEEP)
    report = commands(redis, ("SET", RESULT, "has started"))

    assert not store.resume(RUN, turn, owner, KEEP, report).has_reported
    assert not redis.exists(RESULT)


def test_a_report_that_is_refused_does_not_fail_the_turn(store: RedisStore, redis: Redis) -> None:
    redis.rpush("list", 1)
    report = commands(redis, ("INCR", "list"))

    assert parked(store, report) is Verdict.PARKED
    resumed = store.resume(RUN, 1, "owner", KEEP, report)
    assert (resumed.claim.is_mine, resumed.has_reported) == (True, False)


@pytest.mark.parametrize("elsewhere", ["port", "user", "sentinel"])
def test_a_report_for_another_server_is_left_to_others(
    server: Server, store: RedisStore, redis: Redis, elsewhere: str
) -> None:
    clients = {
        "port": Redis(port=free_port()),
        "user": server.client(username="results", password="secret"),
        "sentinel": _client_of("results"),
    }
    report = commands(clients[elsewhere], ("SET", RESULT, "waits"))

    assert not store.reaches(report)
    assert parked(store, report) is Verdict.PARKED
    assert not store.resume(RUN, 1, "owner", KEEP, report).has_reported
    assert not redis.exists(RESULT)


def test_a_store_behind_sentinels_reaches_no_report(redis: Redis) -> None:
    store = RedisStore(_client_of("store"), "defer:")

    assert not store.reaches(commands(_client_of("results"), ("SET", RESULT, "waits")))


def _client_of(master: str) -> Any:
    app = Celery(f"app-{master}", backend="sentinel://127.0.0.1:1", set_as_current=False)
    app.conf.result_backend_transport_options = {"master_name": master}
    return app.backend.client
