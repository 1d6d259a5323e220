"""Rule 5.1: where one Redis keeps results and messages, a result and its calls are one fact."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, chain, chord, group
from celery.backends.redis import RedisBackend
from celery.signals import before_task_publish

from celery_defer import defer, run_id
from celery_defer.signals import calls_published
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
from tests.support.redis import Server, running

pytestmark = ONE_TRANSACTION


@pytest.fixture
def app(server: Server) -> Celery:
    return app_on(server, defer_record=False)  # tests/views counts what a record asks


@pytest.fixture
def parent(app: Celery, ship: Any) -> Any:
    """A task that defers one call, and returns 7."""

    def body() -> int:
        defer("ship", ship, 1)
        return 7

    return parent_of(app, body)


def test_a_transaction_sends_the_signal_once(app: Celery, worker: Worker, parent: Any) -> None:
    seen: list[Any] = []

    def note(sender: Any, parent_id: Any, calls: Any, **_: Any) -> None:
        seen.append((sender, parent_id, [call.defer_id for call in calls]))
        seen.append(app.AsyncResult(parent_id).state)

    calls_published.connect(note)

    ended = worker.run(parent)

    calls_published.disconnect(note)
    assert seen == [(parent.name, ended.id, ["ship"]), "SUCCESS"]


# -- one fact ------------------------------------------------------------------------------


def test_the_messages_are_there_when_the_result_is_and_not_before(
    server: Server, app: Celery, worker: Worker, parent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def look(*_: Any, **__: Any) -> None:
        results: Any = server.client(db=4)
        [stored] = map(results.get, results.scan_iter("celery-task-meta-*")) or [None]
        seen.append((stored and b'"SUCCESS"' in stored, lengths(server)))

    # celery.backends.base.Backend.on_task_call is asked for a link, before the result is stored.
    monkeypatch.setattr(
        app.backend, "on_task_call", lambda *_: seen.append(("linked", lengths(server)))
    )
    with first_at_success(look):
        worker.run(parent, link=parent_of(app, int).si().set(queue="links"))

    assert seen[-2:] == [("linked", [0]), (True, [1])]


def test_the_messages_and_the_result_are_one_script_and_nothing_else_is_asked(
    server: Server, app: Celery, parent: Any
) -> None:
    _, asked = perform_watched(server, app, parent)

    assert is_one_script(asked)
    did = [each for each in asked if each.in_script and each.verb not in ("SELECT", "TIME")]
    assert [(each.verb, each.db) for each in did] == [
        ("GET", 4), ("LPUSH", 3), ("SETEX", 4), ("PUBLISH", 4),
    ]  # fmt: skip


def test_nothing_is_left_in_the_store(server: Server, app: Celery, parent: Any) -> None:
    result, _ = perform_watched(server, app, parent)

    keys = sorted(server.client(db=4).scan_iter())
    assert [key for key in keys if b"celery-defer" in key] == []
    assert len(keys) == 2  # the results of two runs
    assert result.get() == 7


def test_a_run_that_defers_nothing_is_stored_as_celery_stores_it(
    server: Server, app: Celery
) -> None:
    _, asked = perform_watched(server, app, parent_of(app, int))

    assert [each.verb for each in asked] == ["GET", "MULTI", "SETEX", "PUBLISH", "EXEC"]


@pytest.mark.parametrize("expires", [60, None, timedelta(hours=1)])
def test_the_result_is_the_one_that_celery_would_have_stored(server: Server, expires: Any) -> None:
    app = app_on(server, result_expires=expires, result_extended=True)
    ship = ship_of(app)
    ours = Worker(app).run(parent_of(app, lambda: defer("ship", ship, 1) and 7))
    theirs = Worker(app).run(parent_of(app, lambda: 7))

    client: Any = server.client(db=4)
    metas = [app.backend.get_task_meta(each.id) for each in (ours, theirs)]
    own = {"task_id", "date_done", "children", "name"}
    assert len(metas[0].pop("children")) == 1
    assert [{k: v for k, v in meta.items() if k not in own} for meta in metas] == [
        {k: v for k, v in metas[1].items() if k not in own}
    ] * 2
    lives = [client.ttl(app.backend.get_key_for_task(each.id)) for each in (ours, theirs)]
    assert lives[0] == lives[1]
    assert (lives[0] == -1) == (expires is None)


def test_the_calls_are_the_children_of_the_run(app: Celery, worker: Worker, parent: Any) -> None:
    result = worker.run(parent)

    assert [child.id for child in result.children] == [run_id(result.id, "ship")]
    assert [each.get() for each in worker.drain()] == [1]


def test_6_1_a_thousand_calls_go_with_the_result_and_are_linked(
    server: Server, app: Celery, ship: Any
) -> None:
    parent = parent_of(app, lambda: [defer(f"call-{n}", ship, n) for n in range(1_000)] and None)

    result, asked = perform_watched(server, app, parent)

    assert is_one_script(asked)
    assert lengths(server) == [2_000]
    assert len(result.children) == 1_000


def test_a_result_that_redis_cannot_read_is_looked_for_by_celery(server: Server) -> None:
    app = app_on(
        server,
        result_serializer="pickle",
        result_accept_content=["pickle"],
        accept_content=["json", "pickle"],
    )
    ship = ship_of(app)
    result, asked = perform_watched(
        server, app, parent_of(app, lambda: defer("ship", ship, 1) and 7)
    )

    assert [each.verb for each in asked if not each.in_script] == ["GET", "EVALSHA"]
    assert lengths(server) == [2]
    assert (result.get(), len(result.children)) == (7, 1)


def test_a_run_that_is_shown_as_started_is_shown_as_succeeded_then(
    server: Server, ship: Any
) -> None:
    app = app_on(server, task_track_started=True)
    ship, seen = ship_of(app), list[str]()

    @app.task(name="parent", shared=False, bind=True)
    def parent(self: Any) -> None:
        seen.append(self.AsyncResult(self.request.id).state)
        defer("ship", ship, 1)

    result = Worker(app).perform(parent)

    assert [*seen, result.state] == ["STARTED", "SUCCESS"]
    assert lengths(server) == [1]


def test_a_result_that_cannot_be_encoded_takes_its_calls_and_its_links_with_it(
    server: Server, app: Celery, worker: Worker, ship: Any
) -> None:
    parent = parent_of(app, lambda: defer("ship", ship, 1) and object())
    result, asked = perform_watched(server, app, parent)

    assert result.state == "FAILURE"
    assert not result.children
    assert worker.published() == []
    assert "ZADD" not in [each.verb for each in asked]  # nor was it staged


def test_other_pipelines_of_the_backend_are_left_alone(
    app: Celery, worker: Worker, parent: Any
) -> None:
    seen = []

    def look(**_: Any) -> None:
        client = app.backend.client
        with client.pipeline() as pipe:
            first = pipe.set("a", 1).execute()
            seen.append((first, pipe.get("a").execute()))
        client.transaction(lambda pipe: (pipe.multi(), pipe.get("a")), "a")

    before_task_publish.connect(look, weak=False)
    try:
        result = worker.run(parent, link=parent_of(app, int).si())
    finally:
        before_task_publish.disconnect(look)

    assert result.get() == 7
    assert {(str(first), str(second)) for first, second in seen} == {("[True]", "[b'1']")}
    assert len(seen) == 3  # the parent, its link, its call


def test_what_the_backend_stores_next_is_its_own(
    server: Server, app: Celery, worker: Worker, parent: Any
) -> None:
    worker.perform(parent)
    with asked_of(server) as asked:
        app.backend.store_result("another", 1, "SUCCESS")
        app.backend.set("key", b"value")

    assert "EVALSHA" not in [each.verb for each in asked]


def test_a_result_of_another_run_takes_no_calls_with_it(
    server: Server, app: Celery, worker: Worker, parent: Any
) -> None:
    seen = []

    def store_another(**_: Any) -> None:
        app.backend.store_result(str(uuid4()), 1, "SUCCESS")
        seen.append(lengths(server))

    link = parent_of(app, int)
    before_task_publish.connect(store_another, sender=link.name)
    result = worker.run(parent, link=link.si().set(queue="links"))

    assert seen == [[0]]
    assert lengths(server) == [1]
    assert result.get() == 7


# -- what else may come of a run -----------------------------------------------------------


def test_celerys_own_follow_up_goes_on_as_ever(app: Celery, worker: Worker, parent: Any) -> None:
    @app.task(name="add", shared=False)
    def add(*numbers: Any) -> int:
        return sum(sum(each) if isinstance(each, list) else each for each in numbers)

    chained = chain(parent.s(), add.s(1))()
    grouped = group(parent.s(), parent.s())()
    whole = chord([parent.s(), parent.s()], add.s())()
    linked = worker.run(parent, link=add.s(2))
    results = worker.drain()

    assert (chained.get(), grouped.get(), whole.get(), linked.get()) == (8, [7, 7], 14, 7)
    assert sorted(each.get() for each in results if each.id not in _ids(chained, grouped)) == [
        *[1] * 6, 7, 7, 9, 14,
    ]  # fmt: skip


def _ids(chained: Any, grouped: Any) -> set[str]:
    return {chained.id, chained.parent.id, *(each.id for each in grouped)}


def test_a_chord_whose_body_defers_ends_with_its_calls(
    server: Server, app: Celery, worker: Worker, ship: Any
) -> None:
    @app.task(name="gather", shared=False)
    def gather(numbers: list[int]) -> int:
        defer("ship", ship, 3)
        return sum(numbers)

    whole = chord([ship.s(1), ship.s(2)], gather.s())()
    results = worker.drain()

    assert whole.get() == 3
    assert [each.get() for each in results] == [1, 2, 3, 3]
    assert [child.id for child in whole.children] == [run_id(whole.id, "ship")]


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_task_may_have_a_backend_of_its_own(server: Server, app: Celery, where: str) -> None:
    with running() as other:
        url = f"{(server if where == 'here' else other).url}/6"
        ship = ship_of(app)
        parent = parent_of(
            app, lambda: defer("ship", ship, 1) and 7, backend=RedisBackend(app=app, url=url)
        )

        result, asked = perform_watched(server, app, parent)

        assert parent.AsyncResult(result.id).get() == 7
        assert len(parent.AsyncResult(result.id).children) == 1
        assert lengths(server) == [2]
        assert staged(app) == 0
        assert is_one_script(asked) == (where == "here")


@pytest.mark.parametrize("method", ["_store_result", "_set", "set", "_set_with_state"])
def test_a_backend_that_stores_results_in_its_own_way_does_so(
    server: Server, app: Celery, method: str
) -> None:
    calls = []

    def own(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(method)
        return getattr(RedisBackend, method)(self, *args, **kwargs)

    backend = type("Own", (RedisBackend,), {method: own})(app=app, url=f"{server.url}/4")
    ship = ship_of(app)
    parent = parent_of(app, lambda: defer("ship", ship, 1) and 7, backend=backend)
    result, asked = perform_watched(server, app, parent)

    assert calls == [method] * 2
    assert [each.verb for each in asked if each.verb in ("ZADD", "MULTI")] == ["ZADD", "MULTI"]
    assert result.get() == 7
    assert lengths(server) == [2]
    assert staged(app) == 0


@pytest.mark.parametrize("comes", ["before", "after"])
@pytest.mark.parametrize("method", ["_store_result", "set"])
def test_another_extension_that_stores_results_in_its_own_way_does_so(
    server: Server, app: Celery, parent: Any, method: str, comes: str
) -> None:
    if comes == "after":
        perform_watched(server, app, parent)
    calls, celerys = [], getattr(app.backend, method)

    def own(*args: Any, **kwargs: Any) -> Any:
        calls.append(method)
        return celerys(*args, **kwargs)

    setattr(app.backend, method, own)
    result, asked = perform_watched(server, app, parent)

    assert calls == [method] * 2
    assert [each.verb for each in asked if each.verb in ("ZADD", "MULTI")] == ["ZADD", "MULTI"]
    assert (result.get(), len(result.children)) == (7, 1)
    assert staged(app) == 0


def test_a_run_that_keeps_no_result_publishes_after_its_body(
    server: Server, app: Celery, ship: Any
) -> None:
    parent = parent_of(app, lambda: defer("ship", ship, 1) and None, ignore_result=True)
    _, asked = perform_watched(server, app, parent)

    # It is staged, published and settled.
    assert [each.verb for each in asked if not each.in_script] == ["EVALSHA", "LPUSH", "EVALSHA"]
    assert lengths(server) == [2]
    assert server.client(db=4).keys() == []


def test_what_a_run_without_a_result_defers_is_staged_when_its_body_has_returned(
    app: Celery, worker: Worker, ship: Any
) -> None:
    parent = parent_of(app, lambda: defer("ship", ship, 1) and None, ignore_result=True)
    seen = []
    with first_at_success(lambda **_: seen.append(staged(app))):
        worker.perform(parent)

    assert seen == [1]
    assert staged(app) == 0
