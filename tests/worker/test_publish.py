"""How deferred runs are published: one batch, Celery's signals, what is inherited."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

pytestmark = pytest.mark.in_each_way

CONFIG = '{"task_inherit_parent_priority": true}'


@pytest.fixture(scope="module")
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def worker(proxy: Proxy, start_module_worker: Callable[..., LocalWorker]) -> LocalWorker:
    """A worker with one process, whose broker is behind the proxy and whose backend is not."""
    env = {"CELERY_BROKER_URL": proxy.url, "DEFER_TEST_CONFIG": CONFIG}
    worker = start_module_worker("proxied", "--concurrency", "1", env=env)
    worker.ready()
    return worker


@pytest.fixture
def proxied(worker: LocalWorker, caller_of: Callable[[LocalWorker], Caller]) -> Caller:
    return caller_of(worker)


def is_acknowledged(caller: Caller, run: str) -> bool:
    with caller.app.connection_for_read() as connection:
        held = connection.default_channel.client.hvals("unacked")
    return not any(run.encode() in each for each in held)


def round_trips(proxied: Caller, proxy: Proxy, count: int) -> int:
    """Return how many requests it takes to publish *count* calls, beside the worker's own."""
    before = len(proxy.requests)
    parent = proxied.send("parents.many", count=count, queue="unread")
    last = run_id(parent, f"call-{count - 1}").encode()
    wait_until(lambda: any(last in burst for burst in proxy.requests[before:]), "the last call")
    return sum(b"LPUSH" in burst or b"unread" in burst for burst in tuple(proxy.requests)[before:])


def test_a_hundred_calls_take_as_many_round_trips_as_ten(proxied: Caller, proxy: Proxy) -> None:
    round_trips(proxied, proxy, 1)  # opens the connection

    ten = round_trips(proxied, proxy, 10)
    hundred = round_trips(proxied, proxy, 100)

    assert hundred == ten


def test_celerys_publish_signals_are_sent_once_for_each_run(caller: Caller) -> None:
    parent = caller.send("parents.many", count=3)
    runs = [run_id(parent, f"call-{n}") for n in range(3)]
    caller.child(parent, "call-2")
    caller.settle()

    assert [caller.marks("before-publish", run) for run in runs] == [1, 1, 1]
    assert [caller.marks("after-publish", run) for run in runs] == [1, 1, 1]


def test_a_deferred_run_inherits_its_parents_priority_where_celery_does(proxied: Caller) -> None:
    parent = proxied.send_with({"priority": 3}, "parents.many", count=1)

    assert proxied.child(parent, "call-0")["priority"] == 3


def test_a_deferred_run_has_no_priority_of_its_parent_otherwise(caller: Caller) -> None:
    parent = caller.send_with({"priority": 3}, "parents.many", count=1)

    assert caller.child(parent, "call-0")["priority"] == 0


def test_a_deferred_run_inherits_its_parents_stamps(caller: Caller) -> None:
    stamped = caller.signature("kinds.plain", n=1, then="plain")
    stamped.stamp(tenant="acme")
    parent = stamped.apply_async().id

    assert caller.result(parent)["stamps"] == {"tenant": "acme"}
    assert caller.child(parent, "next")["stamps"] == {"tenant": "acme"}


def test_a_broker_that_is_down_does_not_change_the_parent(proxied: Caller, proxy: Proxy) -> None:
    """4.4 and 5.3: the calls wait in the outbox, and go out when the broker is back."""
    calls = [{"id": id, "kind": "plain", "n": 1} for id in ("first", "second")]
    parent = proxied.send("parents.held", calls=calls)
    wait_until(lambda: proxied.marks("waiting", parent), "the body waits")
    # Else Redis delivers it again, and its second body waits for a word that has been spent.
    wait_until(lambda: is_acknowledged(proxied, parent), "its message is acknowledged")

    proxy.cut()
    proxied.go(parent)

    assert proxied.result(parent) == "done"
    said = f"run {parent}: 2 calls wait in the outbox"
    wait_until(lambda: said in proxied.worker.logs(), said)
    proxy.mend()
    for id in ("first", "second"):
        assert proxied.child(parent, id)["run"]["parent"]["id"] == parent
    wait_until(proxied.outbox_is_empty, "the outbox is empty")
    proxied.settle()
    assert [proxied.marks("began", run_id(parent, id)) for id in ("first", "second")] == [1, 1]
