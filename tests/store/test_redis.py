"""What the store asks of a Redis, and what it bears from one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from celery_defer import Defer, defer, deferred
from celery_defer.broker import publish as broker
from celery_defer.broker.message import Message
from celery_defer.broker.publish import batch
from celery_defer.ids import RunId
from celery_defer.model import Call, Options
from celery_defer.store import Claim, RedisStore
from celery_defer.testing.store_contract.shorthand import stage
from tests.support.inside import Worker
from tests.support.processes import wait_until
from tests.support.redis import Server, free_port, running

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

KEEP = 600.0
RUN = RunId("run")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    """The test's own view of the database that the store is in."""
    with server.client(db=2) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(server: Server, redis: Redis) -> RedisStore:
    return RedisStore(server.client(db=2), "defer:")


def take_all(store: RedisStore) -> list[Any]:
    return store.take(1e9, 2e9, 99)


# -- a server that forgets, drops, comes back ------------------------------------------------


def flushed(server: Server) -> None:
    server.client().script_flush()


def dropped(server: Server) -> None:
    server.client().client_kill_filter(_type="normal", skipme=True)


def restarted(server: Server) -> None:
    server.restart()


@pytest.mark.parametrize("disturb", [flushed, dropped, restarted])
@pytest.mark.parametrize(
    "operation",
    [
        lambda s: stage(s, "run", due=10),
        lambda s: s.settle(RUN, "token"),
        lambda s: s.take(10, 20, 9),
        lambda s: s.postpone(RUN, "token", 9),
        lambda s: s.quarantine(RUN, "token", "bad", KEEP),
        lambda s: s.claim(RUN, "owner", KEEP),
        lambda s: s.quarantined(),
        lambda s: s.waiting(),
        lambda s: s.risks(),
    ],
    ids=["stage", "settle", "take", "postpone", "quarantine", "claim", "quarantined", "waiting",
         "risks"],
)  # fmt: skip
def test_a_server_that_was_away_for_a_moment_is_asked_again(
    server: Server, store: RedisStore, disturb: Callable[[Server], None], operation: Any
) -> None:
    stage(store, "other", due=10)
    disturb(server)

    operation(store)

    stage(store, "run", due=10)
    assert "run" in [taken.id for taken in take_all(store)]


@pytest.mark.parametrize("disturb", [flushed, dropped, restarted])
def test_a_server_that_forgets_while_a_stage_is_under_way_keeps_it(
    server: Server, store: RedisStore, disturb: Callable[[Server], None]
) -> None:
    server.client().script_flush()
    wait = store.stage(RUN, "token", b"body", 10, KEEP)
    disturb(server)
    wait()

    assert [taken.body for taken in take_all(store)] == [b"body"]


def test_stages_under_way_at_the_same_time_do_not_mix(store: RedisStore) -> None:
    waits = [store.stage(RunId(f"run-{n}"), "token", b"%d" % n, 10, KEEP) for n in range(20)]
    owners = [store.claim(RunId(f"run-{n}"), f"owner-{n}", KEEP).owner for n in range(20)]
    for wait in reversed(waits):
        wait()

    assert owners == [f"owner-{n}" for n in range(20)]
    assert {taken.id: taken.body for taken in take_all(store)} == {
        f"run-{n}": b"%d" % n for n in range(20)
    }


def test_many_stages_use_few_connections(server: Server, store: RedisStore) -> None:
    before = len(server.client().client_list())
    for n in range(50):
        stage(store, f"run-{n}", due=10)

    assert len(server.client().client_list()) - before <= 2


def test_a_server_without_memory_is_told_at_the_wait(server: Server, store: RedisStore) -> None:
    client = server.client()
    stage(store, "run", due=10)
    client.config_set("maxmemory", 1)
    try:
        wait = store.stage(RUN, "later", b"body", 10, KEEP)
        with pytest.raises(RedisError, match="maxmemory"):
            wait()
    finally:
        client.config_set("maxmemory", 0)

    assert [taken.token for taken in take_all(store)] == ["token"]


# -- a server that does not answer -------------------------------------------------------------


#: A pool's process waits for no store longer than this at a time.
PATIENCE = 15.0


def test_a_server_that_hangs_is_waited_for_within_bounds() -> None:
    cases = [(name, known) for name in ("stage", "claim", "settle") for known in (True, False)]
    with running() as server, ThreadPoolExecutor(len(cases)) as threads:
        stores = [RedisStore(server.client(db=2), "defer:") for _ in cases]
        for store, (_, known) in zip(stores, cases, strict=True):
            if known:  # and so connected
                stage(store, "run", due=10)
        with server.hanging():
            names = [name for name, _ in cases]
            seconds = list(threads.map(seconds_until_refused, stores, names))

    print([f"{name}: {waited:.1f} s" for name, waited in zip(names, seconds, strict=True)])
    assert max(seconds) < PATIENCE


@pytest.mark.parametrize("operation", ["stage", "claim", "settle"])
def test_a_server_that_refuses_is_not_waited_for(operation: str) -> None:
    store = RedisStore(Redis(port=free_port()), "defer:")

    assert seconds_until_refused(store, operation) < 1


ASKED: dict[str, Callable[[RedisStore], object]] = {
    "stage": lambda store: stage(store, "run", due=10),
    "claim": lambda store: store.claim(RUN, "owner", KEEP),
    "settle": lambda store: store.settle(RUN, "token"),
}


def seconds_until_refused(store: RedisStore, operation: str) -> float:
    began = time.monotonic()
    with pytest.raises(RedisError):
        ASKED[operation](store)
    return time.monotonic() - began


# -- keys ----------------------------------------------------------------------------------


def everything(store: RedisStore) -> None:
    """Leave one of each key."""
    stage(store, "waiting", due=10)
    stage(store, "bad", due=10)
    store.quarantine(RunId("bad"), "token", "it is bad", KEEP)
    store.claim(RunId("waiting"), "owner", KEEP)


def test_every_key_has_the_prefix(store: RedisStore, redis: Redis) -> None:
    everything(store)

    keys = list(redis.scan_iter())
    assert {key.partition(b":")[0] for key in keys} == {b"defer"}
    assert len(keys) == 4


def test_every_key_but_the_index_expires(store: RedisStore, redis: Redis) -> None:
    everything(store)

    lasting = [key for key in redis.scan_iter() if redis.ttl(key) < 0]
    assert lasting == [b"defer:due"]


def test_a_settled_run_leaves_nothing_that_lasts(store: RedisStore, redis: Redis) -> None:
    stage(store, "run", due=10)
    store.take(10, 20, 9)
    store.postpone(RUN, "token", 30, b"other")
    store.settle(RUN, "token")
    assert list(redis.scan_iter()) == []

    store.claim(RUN, "owner", 60)

    assert [redis.ttl(key) for key in redis.scan_iter()] == [60]


def test_a_record_is_kept_for_as_long_as_it_was_said(store: RedisStore, redis: Redis) -> None:
    store.stage(RUN, "token", b"body", 10, 90)()
    store.take(10, 20, 9)
    store.postpone(RUN, "token", 30, b"other")

    assert 88 <= redis.ttl("defer:{run}:outbox") <= 90


def test_a_later_record_is_kept_anew(store: RedisStore, redis: Redis) -> None:
    store.stage(RUN, "first", b"body", 10, 90)()
    store.stage(RUN, "second", b"body", 10, 600)()

    assert redis.ttl("defer:{run}:outbox") > 500


def test_a_record_that_has_expired_leaves_the_index_when_it_is_due(
    store: RedisStore, redis: Redis
) -> None:
    stage(store, "gone", due=10)
    stage(store, "here", due=10)
    redis.pexpire("defer:{gone}:outbox", 1)
    wait_until(lambda: not redis.exists("defer:{gone}:outbox"))

    assert [(taken.id, taken.tries) for taken in store.take(10, 20, 9)] == [
        ("gone", 0),
        ("here", 1),
    ]
    assert redis.zrange("defer:due", 0, -1) == [b"here"]


@pytest.mark.parametrize("name", ["gone", "gone too"])
def test_what_is_done_to_an_expired_record_leaves_no_key(
    store: RedisStore, redis: Redis, name: str
) -> None:
    stage(store, name, due=10)
    redis.delete(f"defer:{{{name}}}:outbox")
    store.postpone(RunId(name), "token", 10, b"other")
    store.quarantine(RunId(name), "token", "bad", KEEP)
    store.settle(RunId(name), "token")
    store.take(10, 20, 9)

    assert list(redis.scan_iter()) == []


def test_a_new_entry_in_quarantine_does_not_end_an_older_one_early(
    store: RedisStore, redis: Redis
) -> None:
    for name, keep in (("one", 600), ("two", 60)):
        stage(store, name, due=10)
        store.quarantine(RunId(name), "token", "bad", keep)

    assert redis.ttl("defer:quarantine") > 500


def test_the_keys_of_one_run_are_in_one_slot(store: RedisStore, redis: Redis) -> None:
    stage(store, "run", due=10)
    store.claim(RUN, "owner", KEEP)
    keys = [key for key in redis.scan_iter() if b"run" in key]

    assert {re.search(rb"\{(.*?)\}", key).group(1) for key in keys} == {b"run"}  # type: ignore[union-attr]
    assert len(keys) == 2


@pytest.mark.parametrize("id", ["a b", "a:b", "{a}", "}{", "%s", "ünï", "a'\"\n", "*"])
def test_a_run_may_have_any_id(store: RedisStore, id: str) -> None:
    store.stage(RunId(id), "token", b"body", 10, KEEP)()

    assert [taken.id for taken in take_all(store)] == [id]
    assert store.claim(RunId(id), "owner", KEEP) == Claim("owner", is_mine=True)
    store.quarantine(RunId(id), "token", "ünï", KEEP)
    assert [(entry.id, entry.reason) for entry in store.quarantined()] == [(id, "ünï")]


def test_two_prefixes_share_nothing(server: Server, redis: Redis) -> None:
    one, two = (RedisStore(server.client(db=2), f"{name}:") for name in ("one", "two"))
    stage(one, "run", due=10)
    one.claim(RUN, "owner", KEEP)

    assert take_all(two) == []
    assert two.claim(RUN, "other", KEEP).is_mine


# -- commands for the broker, and the removal, as one -------------------------------------------


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


def app_on(server: Server, **settings: Any) -> Celery:
    app = Celery(f"app-{free_port()}", broker=f"{server.url}/3", backend=f"{server.url}/4")
    app.conf.update(settings)
    Defer(app)
    return app


def parent_of(app: Celery, calls: int) -> Any:
    @deferred
    @app.task(name=f"ship-{calls}", shared=False)
    def ship(n: int) -> None: ...

    @app.task(name=f"parent-{calls}", shared=False)
    def parent() -> None:
        for n in range(calls):
            defer(f"call-{n}", ship, n)

    return parent


@pytest.mark.parametrize("calls", [1, 100])
@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "team:"}])
def test_a_run_is_staged_with_its_result_and_published_with_its_removal(
    server: Server, redis: Redis, calls: int, options: Any
) -> None:
    app = app_on(server, broker_transport_options=options, result_backend_transport_options=options)
    store = app._celery_defer.store
    stage(store, "other", due=10)
    parent = parent_of(app, calls)
    Worker(app).perform(parent)  # declares the queue
    before = asked(server)

    Worker(app).perform(parent)

    queue = options.get("global_keyprefix", "") + "celery"
    assert server.client(db=3).llen(queue) == 2 * calls
    assert store.waiting() == 1
    # The stage is in the MULTI of the result; then the messages with the removal.
    also = {name: before[name] + 1 for name in ("eval", "multi", "evalsha")}
    assert asked(server) == {**before, **also}


@pytest.mark.parametrize("calls", [1, 100])
@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "team:"}])
def test_a_run_published_to_another_server_leaves_the_outbox_after_that(
    server: Server, redis: Redis, calls: int, options: Any
) -> None:
    with running() as elsewhere:
        app = app_on(server, broker_url=f"{elsewhere.url}/3", broker_transport_options=options)
        parent = parent_of(app, calls)
        for _ in range(2):
            Worker(app).perform(parent)

        queue = options.get("global_keyprefix", "") + "celery"
        assert elsewhere.client(db=3).llen(queue) == 2 * calls
        assert app._celery_defer.store.waiting() == 0


def asked(server: Server) -> dict[str, int]:
    stats: Any = server.client().info("commandstats")
    return {
        name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]
        for name in ("eval", "evalsha", "multi")
    }


def test_as_many_calls_as_a_run_may_make_leave_the_outbox_when_they_are_published(
    server: Server, redis: Redis
) -> None:
    app = app_on(server)
    calls = app._celery_defer.settings.max_per_run

    Worker(app).perform(parent_of(app, calls))

    assert server.client(db=3).llen("celery") == calls
    assert app._celery_defer.store.waiting() == 0


def test_what_cannot_ride_along_is_known_before_it_is_sent(server: Server, redis: Redis) -> None:
    app = app_on(server)
    with (
        app.producer_pool.acquire(block=True) as producer,
        batch(producer, True) as opened,
    ):
        assert opened.send_with(lambda broker: None) is None


def test_a_message_that_no_broker_takes_holds_back_no_other(server: Server, redis: Redis) -> None:
    app = app_on(server)
    parent_of(app, 1)
    good, bad, other = (
        Message(
            Call("a", "ship-1", b"", 0.0, Options()),
            RunId(id),
            app.tasks["ship-1"],
            (1,),
            {},
            {"headers": {"x": header}, "parent_id": "p", "root_id": "p"},
        )
        for id, header in (("one", 1), ("two", object()), ("three", 3))
    )

    sent = broker.send(app, [good, bad, other], is_durable=True)
    again = broker.send(app, [good], is_durable=True)

    assert (sent.refused, sent.unsent) == ((bad,), ())
    assert again == broker.Sent()
    assert server.client(db=3).llen("celery") == 3


# -- risks ---------------------------------------------------------------------------------


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
