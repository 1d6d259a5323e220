"""Rule 5.1: which Redis takes results and calls as one, and what is done where none does."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import NoPermissionError, RedisError

from celery_defer import defer, experiment
from tests.support.inside import Worker, parent_of, ship_of
from tests.support.one_redis import (
    ONE_TRANSACTION,
    app_on,
    asked_of,
    first_at_success,
    is_one_script,
    lengths,
    perform_watched,
    staged,
)
from tests.support.processes import missing
from tests.support.proxy import Proxy
from tests.support.redis import Server, running, sentinel

pytestmark = ONE_TRANSACTION


def parent_on(app: Celery) -> Any:
    """Return a task that defers one call, and returns 7."""
    ship = ship_of(app)
    return parent_of(app, lambda: defer("ship", ship, 1) and 7)


def assert_arrived(app: Celery, result: Any, *, calls: int = 1) -> None:
    """Assert that the run has succeeded with that many children, and nothing is left to do."""
    assert (result.state, result.get()) == ("SUCCESS", 7)
    assert len(result.children) == calls
    assert staged(app) == 0


# -- where they are ------------------------------------------------------------------------


@pytest.mark.parametrize(("broker", "backend"), [(3, 4), (4, 3), (5, 5), (0, 9), (9, 0), (0, 0)])
def test_results_and_messages_may_be_in_any_databases(
    server: Server, broker: int, backend: int
) -> None:
    app = app_on(server, broker=f"{server.url}/{broker}", backend=f"{server.url}/{backend}")
    result, asked = perform_watched(server, app, parent_on(app))

    assert is_one_script(asked)
    assert lengths(server, db=broker) == [2]
    assert len(server.client(db=backend).keys("celery-task-meta-*")) == 2
    assert_arrived(app, result)


@pytest.mark.parametrize("of_results", ["", "results:"])
@pytest.mark.parametrize("of_messages", ["", "messages:"])
@pytest.mark.parametrize("db", [3, 4])
def test_results_and_messages_may_have_prefixes(
    server: Server, db: int, of_messages: str, of_results: str
) -> None:
    app = app_on(
        server,
        broker=f"{server.url}/{db}",
        broker_transport_options={"global_keyprefix": of_messages},
        result_backend_transport_options={"global_keyprefix": of_results},
    )
    result, asked = perform_watched(server, app, parent_on(app))

    assert is_one_script(asked)
    assert lengths(server, f"{of_messages}celery", db=db) == [2]
    key = f"{of_results}celery-task-meta-{result.id}"
    assert server.client(db=4).exists(key)
    assert_arrived(app, result)


def test_a_redis_may_be_on_a_socket() -> None:
    with running(path=True) as server:
        base = f"redis+socket://{server.path}?virtual_host="
        app = app_on(server, broker=f"{base}3", backend=f"{base}4")
        result, asked = perform_watched(server, app, parent_on(app))

        assert is_one_script(asked)
        assert lengths(server) == [2]
        assert_arrived(app, result)


def test_a_redis_that_is_called_by_two_names_takes_them_one_after_the_other(
    server: Server,
) -> None:
    app = app_on(server, broker=f"redis://localhost:{server.port}/3")
    result, asked = perform_watched(server, app, parent_on(app))

    assert not is_one_script(asked)
    assert lengths(server) == [2]
    assert_arrived(app, result)


def test_results_and_messages_of_two_servers_go_one_after_the_other(server: Server) -> None:
    with running() as elsewhere:
        app = app_on(server, broker=f"{elsewhere.url}/3")
        result, asked = perform_watched(server, app, parent_on(app))

        assert "ZADD" in [each.verb for each in asked]
        assert lengths(elsewhere) == [2]
        assert_arrived(app, result)


def test_a_run_is_pending_no_longer_than_it_goes_on_where_the_store_is_elsewhere(
    server: Server,
) -> None:
    with running() as other:
        app = app_on(server, defer_store_url=other.url)
        ship = ship_of(app)

        def body() -> None:
            experiment("flow", {"control": str})
            defer("ship", ship, 1)

        worker, store = Worker(app), app._celery_defer.store
        run = worker.run(parent_of(app, body))
        before = store.open_runs("flow")
        worker.drain()

        assert before == {run.id}
        assert store.open_runs("flow") == set()


def test_results_and_messages_of_two_users_go_one_after_the_other(server: Server) -> None:
    app = app_on(server, broker=f"{user(server)}/3")
    result, asked = perform_watched(server, app, parent_on(app))

    assert "ZADD" in [each.verb for each in asked]
    assert lengths(server) == [2]
    assert_arrived(app, result)


@pytest.mark.parametrize("of_results", [True, False])
def test_a_redis_behind_sentinels_takes_them_one_after_the_other(
    server: Server, of_results: bool
) -> None:
    with sentinel(server, "master") as watch:
        url = f"sentinel://{watch.address}"
        app = app_on(
            server,
            broker=f"{url}/3",
            backend=f"{url}/4" if of_results else "",
            broker_transport_options={"master_name": "master"},
            result_backend_transport_options={"master_name": "master"},
        )
        result, asked = perform_watched(server, app, parent_on(app))

        assert "ZADD" in [each.verb for each in asked]
        assert lengths(server) == [2]
        assert_arrived(app, result)


# -- what a user may -----------------------------------------------------------------------


def user(server: Server, *rights: str) -> str:
    """Make a user of everything but of *rights*; return the server's URL for them."""
    allow = ["reset", "on", ">secret", "~*", "&*", "+@all", *rights]
    server.client().execute_command("ACL", "SETUSER", "worker", *allow)
    return server.url.replace("//", "//worker:secret@")


def test_a_user_who_may_not_select_needs_not_to(server: Server) -> None:
    url = user(server, "-select")
    app = app_on(server, broker=f"{url}/0", backend=f"{url}/0")
    result, asked = perform_watched(server, app, parent_on(app))

    assert is_one_script(asked)
    assert_arrived(app, result)


@pytest.mark.parametrize(
    ("rights", "suffice"),
    [
        ("-@scripting", False),
        ("-evalsha", False),
        ("-script", False),
        ("-eval", True),
        ("resetkeys ~celery* ~_kombu*", True),
        ("resetkeys ~celery ~celery-task-meta-* ~_kombu*", True),  # the store has no keys then
    ],
)
def test_a_user_of_few_rights_costs_no_parent_its_success_and_no_call(
    server: Server, caplog: pytest.LogCaptureFixture, rights: str, suffice: bool
) -> None:
    server.client().script_flush()
    url = user(server, *rights.split())
    app = app_on(server, broker=f"{url}/3", backend=f"{url}/4")
    result = Worker(app).perform(parent_on(app))

    assert (result.state, result.get(), len(result.children)) == ("SUCCESS", 7, 1)
    assert lengths(server) == [1]
    assert ("messages could not go with its result" in caplog.text) == (not suffice)
    assert "secret" not in caplog.text


def test_a_user_who_may_not_write_to_a_queue_loses_no_call(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    url = user(server)
    app = app_on(server, broker=f"{url}/3", backend=f"{url}/4")
    ship = ship_of(app)

    def body() -> int:
        defer("allowed", ship, 1)
        defer("forbidden", ship.with_options(queue="mail"), 2)
        return 7

    worker, parent = Worker(app), parent_of(app, body)
    worker.perform(parent)  # declares the queues
    user(server, "resetkeys", "~celery*", "~_kombu*", "~unacked*")
    result = worker.perform(parent)

    assert result.get() == 7
    assert "messages could not go with its result" in caplog.text
    assert "ermission" in caplog.text
    user(server)
    worker.later(60)
    assert lengths(server, "mail") == [2]
    assert_arrived(app, result, calls=2)


@pytest.mark.parametrize("rights", ["resetchannels", "-setex"])
def test_a_result_that_may_not_be_stored_holds_back_the_messages(
    server: Server, rights: str
) -> None:
    facts: Any = server.client().info("server")
    if facts["redis_version"].startswith("6."):
        missing("no redis-server is installed whose scripts can ask for rights, as Redis 7's do")
    url = user(server)
    app = app_on(server, broker=f"{url}/3", backend=f"{url}/4")
    worker, parent = Worker(app), parent_on(app)
    worker.perform(parent)  # declares the queues
    worker.published()
    server.client(db=4).flushdb()
    user(server, rights)
    # As without calls: Celery cannot store the failure either.
    with pytest.warns(RuntimeWarning), pytest.raises(NoPermissionError):
        worker.perform(parent)

    assert lengths(server) == [0]
    assert server.client(db=4).keys("celery-task-meta-*") == []


# -- what a server refuses -----------------------------------------------------------------


def test_what_redis_refuses_as_one_goes_one_after_the_other_and_is_no_secret(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    app, seen = app_on(server), list[int]()
    worker, parent = Worker(app), parent_on(app)
    worker.perform(parent)  # declares the queue
    server.client(db=3).delete("celery")
    server.client(db=3).set("celery", "no list")
    with first_at_success(lambda **_: seen.append(staged(app))):
        result = worker.perform(parent)

    assert result.get() == 7
    assert staged(app) == 1
    assert seen == [1]  # a crash after the result would lose nothing
    [warning] = [each for each in caplog.records if each.name == "celery_defer.outbox.commit"]
    assert warning.levelname == "WARNING"
    assert f"run {result.id}: messages could not go with its result" in warning.getMessage()
    assert "WRONGTYPE" in warning.getMessage()

    server.client(db=3).delete("celery")
    assert len(worker.later(60)) == 1
    assert_arrived(app, result)


def test_a_full_redis_ends_a_parent_as_it_ends_one_without_calls(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_on(server)
    worker, parent = Worker(app), parent_on(app)
    worker.perform(parent)
    worker.published()
    server.client().config_set("maxmemory", 1)
    try:
        ends = [_end_of(worker, task) for task in (parent, parent_of(app, int))]
    finally:
        server.client().config_set("maxmemory", 0)

    assert ends[0] == ends[1]
    assert worker.published() == []
    assert len(server.client(db=4).keys("celery-task-meta-*")) == 1  # of the first


def test_a_redis_that_is_away_ends_a_parent_as_it_ends_one_without_calls(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(server.url) as proxy:
        app = app_on(
            server,
            backend=f"{proxy.url}/4",
            broker=f"{proxy.url}/3",
            broker_read_url=f"{server.url}/3",
            result_backend_transport_options={"retry_policy": {"max_retries": 1}},
        )
        ship = ship_of(app)

        def body() -> None:
            defer("ship", ship, 1)
            proxy.cut()

        worker = Worker(app)
        ends = [_end_of(worker, parent_of(app, each)) for each in (body, int)]

        assert ends[0] == ends[1]
        assert worker.published() == []
        assert "messages could not go" not in caplog.text


def test_a_soft_time_limit_that_strikes_in_it_ends_a_parent_as_it_ends_one_without_calls(
    server: Server,
) -> None:
    app = app_on(server)
    pool: Any = app.backend.client.connection_pool

    def late(*_: Any, **__: Any) -> None:
        del pool.get_connection
        raise SoftTimeLimitExceeded

    ends, ship, worker = [], ship_of(app), Worker(app)
    for body in (lambda: defer("ship", ship, 1) and 7, int):
        pool.get_connection = late
        ends.append(_end_of(worker, parent_of(app, body)))

    assert ends[0] == ends[1] != ([], "")
    assert worker.published() == []
    assert staged(app) == 0


def _end_of(worker: Worker, task: Any) -> tuple[list[str], str]:
    """Return of what Celery warns, and what reaches the pool."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            worker.perform(task)
        except RedisError as error:
            return [str(each.message).partition(":")[0] for each in warned], type(error).__name__
    return [str(each.message).partition(":")[0] for each in warned], ""


# -- a reply that is lost ------------------------------------------------------------------


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_a_reply_that_is_lost_stores_the_result_once_and_starts_each_call_once(
    server: Server, serializer: str
) -> None:
    with Proxy(server.url) as proxy:
        app = app_on(
            server,
            broker=f"{proxy.url}/3",
            backend=f"{proxy.url}/4",
            broker_read_url=f"{server.url}/3",
            result_serializer=serializer,
            accept_content=["json", "pickle"],
        )
        worker, parent = Worker(app), parent_on(app)
        worker.perform(parent)
        worker.published()
        with asked_of(server) as asked:
            proxy.lose_answer_to(b"EVALSHA")
            result = worker.perform(parent)
        stored = [each.verb for each in asked if each.verb == "SETEX"]
        sent = lengths(server)
        results = worker.drain()

        assert result.get() == 7
        assert len({each.id for each in results}) == 1
        assert staged(app) == 0
        if serializer == "json":
            assert (stored, sent) == (["SETEX"], [1])
