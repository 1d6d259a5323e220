"""The places of a run are given back in one transaction with its result, where that can be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from celery_defer import Concurrency, defer, deferred, deferring
from tests.support.inside import Worker
from tests.support.one_redis import ONE_TRANSACTION, app_on, first_at_success
from tests.support.redis import Server, running

pytestmark = ONE_TRANSACTION


class Pair:
    """A function with one place, and two calls of it: the second arrives while the first runs."""

    def __init__(self, app: Celery) -> None:
        self.app, self.worker, self.ran = app, Worker(app), list[int]()
        #: Is called in the body of the first, when the second is held.
        self.is_held: Callable[[], None] = lambda: None

        @deferred(app, name="limited", shared=False, concurrency=Concurrency(1))
        def limited(n: int) -> int:
            self.ran.append(n)
            if n == 0:
                self.worker.trace(self.second)
                self.is_held()
            return n

        with deferring(app) as parent:
            defer("first", limited, n=0)
            defer("second", limited, n=1)
        self.parent = parent.id
        self.first, self.second = self.worker.published()

    def perform(self) -> list[Any]:
        """Run the first call, and return the messages that follow."""
        self.worker.trace(self.first)
        assert self.ran == [0]
        return self.worker.published()

    def state_of(self, message: Any) -> str:
        return str(self.app.AsyncResult(message.headers["id"]).state)

    @property
    def held(self) -> int:
        return int(self.app._celery_defer.store.flow(["limited"])[0].held)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Pair], list[str]]:
    """Note what is given back after a result is stored."""

    def watch(pair: Pair) -> list[str]:
        store = pair.app._celery_defer.store
        give_back, seen = store.give_back, list[str]()

        def apart(run: str, *args: Any, **kwargs: Any) -> Any:
            seen.append(run)
            return give_back(run, *args, **kwargs)

        monkeypatch.setattr(store, "give_back", apart)
        return seen

    return watch


@pytest.fixture
def another() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.mark.parametrize(("of_store", "of_results"), [(4, 4), (5, 4)])
def test_the_next_has_the_place_as_soon_as_the_result_is_stored(
    server: Server, asked: Callable[[Pair], list[str]], of_store: int, of_results: int
) -> None:
    pair = Pair(
        app_on(
            server,
            backend=f"{server.url}/{of_results}",
            defer_store_url=f"{server.url}/{of_store}",
        )
    )
    apart, held = asked(pair), list[int]()

    with first_at_success(lambda **_: held.append(pair.held)):
        (woken,) = pair.perform()

    assert held == [0]
    assert apart == []
    assert woken.headers["id"] == pair.second.headers["id"]
    pair.worker.trace(woken)
    assert pair.ran == [0, 1]
    assert [pair.state_of(pair.first), pair.state_of(woken)] == ["SUCCESS", "SUCCESS"]


def test_the_next_is_woken_before_celery_tells_of_the_success(server: Server) -> None:
    pair = Pair(app_on(server))
    woken = list[Any]()

    with first_at_success(lambda **_: woken.extend(pair.worker.published())):
        assert pair.perform() == []

    assert [each.headers["id"] for each in woken] == [pair.second.headers["id"]]


def test_a_place_is_renewed_as_long_as_its_result_cannot_be_stored_with_it(
    server: Server, another: Server
) -> None:
    pair = Pair(app_on(server, defer_store_url=f"{another.url}/1"))
    renewed = list[bool]()
    extension = pair.app._celery_defer

    def look(**_: Any) -> None:
        (place,) = extension.renewal._by_process[os.getpid()]._places
        before = place.renewed
        extension.renewal.renew()
        renewed.append(place.renewed > before)

    with first_at_success(look):
        pair.perform()

    assert renewed == [True]


def test_the_next_gets_the_place_after_a_result_on_another_server(
    server: Server, another: Server, asked: Callable[[Pair], list[str]]
) -> None:
    pair = Pair(app_on(server, defer_store_url=f"{another.url}/1"))
    apart = asked(pair)

    (woken,) = pair.perform()

    assert apart == [pair.first.headers["id"]]
    assert woken.headers["id"] == pair.second.headers["id"]


def test_a_line_that_cannot_be_read_does_not_hold_up_a_result(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Pair(app_on(server))

    def damage() -> None:
        line = "celery-defer:flow:blocked:limited\nconcurrency\n"
        client = server.client(db=4)
        client.delete(line)
        client.set(line, "no list")

    pair.is_held = damage

    assert pair.perform() == []

    assert pair.state_of(pair.first) == "SUCCESS"
    assert "its places are not given back" in caplog.text
