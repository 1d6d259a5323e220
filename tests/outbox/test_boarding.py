"""A record goes with the result that Celery stores in the same Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.app import trace
from celery.signals import before_task_publish
from redis import Redis

from celery_defer import Defer, defer, deferred
from celery_defer.model import When
from tests.support.inside import Worker
from tests.support.redis import Server, running

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def app(server: Server) -> Celery:
    server.client().flushall()
    app = Celery(f"app-{uuid4()}", broker=f"{server.url}/3", backend=f"{server.url}/4")
    Defer(app)
    return app


def parent_of(app: Celery, when: When = "success", **options: Any) -> Any:
    @deferred
    @app.task(name=f"ship-{uuid4()}", shared=False)
    def ship() -> None: ...

    @app.task(name=f"parent-{uuid4()}", shared=False, **options)
    def parent() -> int:
        defer("ship", ship.with_options(when=when))
        return 7

    return parent


def run_once(app: Celery, task: Any, id: str) -> None:
    request = {"id": id, "task": task.name, "delivery_info": {}, "is_eager": False}
    trace.build_tracer(task.name, app.tasks[task.name], app=app)(id, (), {}, request)


def test_the_record_is_there_when_the_result_is_and_not_before(
    server: Server, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, seen = parent_of(app), []
    results, records = server.client(db=4), app._celery_defer.store

    @app.task(name=f"link-{uuid4()}", shared=False)
    def look() -> None: ...

    # celery.backends.base.Backend.on_task_call is asked for a link, before the result is stored.
    monkeypatch.setattr(
        app.backend, "on_task_call", lambda *_: seen.append(("before", records.waiting()))
    )
    trace.signals.task_success.connect(  # before the package's own receiver
        _first := lambda **_: seen.append(("after", records.waiting())), weak=False
    )
    try:
        receivers = trace.signals.task_success.receivers
        receivers.insert(0, receivers.pop())
        Worker(app).run(parent, link=look.si())
    finally:
        trace.signals.task_success.disconnect(_first)

    assert ("before", 0) in seen
    assert ("after", 1) in seen
    assert results.keys("celery-task-meta-*")


def test_celery_reads_its_own_answers_by_their_places(app: Celery) -> None:
    parent_of(app)
    result = Worker(app).run(parent_of(app))

    assert (result.state, result.get()) == ("SUCCESS", 7)
    assert len(result.children) == 1


def test_a_run_whose_success_is_stored_already_publishes_all_the_same(
    server: Server, app: Celery
) -> None:
    parent, id = parent_of(app), str(uuid4())
    run_once(app, parent, id)
    run_once(app, parent, id)  # as Celery does for a message that comes again

    assert server.client(db=3).llen("celery") == 2
    assert app._celery_defer.store.waiting() == 0


def test_a_record_that_redis_refuses_is_no_failure_of_the_parent_and_no_secret(
    server: Server, app: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    parent, id = parent_of(app), str(uuid4())
    server.client(db=4).set("celery-defer:due", "no index")
    run_once(app, parent, id)

    assert app.AsyncResult(id).get() == 7
    assert server.client(db=3).llen("celery") == 1
    assert "a record could not go with its result: b'WRONGTYPE" in caplog.text
    assert "is published from memory" in caplog.text


@pytest.mark.parametrize(
    "rights", ["-eval", "-@scripting", "resetkeys ~celery* ~unacked* ~_kombu*"]
)
def test_a_user_who_may_not_do_it_costs_no_parent_its_success(
    server: Server, app: Celery, rights: str
) -> None:
    allow = ["reset", "on", ">secret", "~*", "&*", "+@all", *rights.split()]
    server.client().execute_command("ACL", "SETUSER", "results", *allow)
    app.conf.result_backend = server.url.replace("//", "//results:secret@") + "/4"
    parent, id = parent_of(app), str(uuid4())
    run_once(app, parent, id)

    assert app.AsyncResult(id).get() == 7
    assert server.client(db=3).llen("celery") == 1


def test_a_user_who_may_not_select_needs_not_to(server: Server, app: Celery) -> None:
    allow = ["reset", "on", ">secret", "~*", "&*", "+@all", "-select"]
    server.client().execute_command("ACL", "SETUSER", "unselecting", *allow)
    app.conf.result_backend = server.url.replace("//", "//unselecting:secret@") + "/0"
    before = _evals(server)
    Worker(app).run(parent_of(app))

    assert _evals(server) == before + 1
    assert app._celery_defer.store.waiting() == 0


def test_a_large_record_takes_no_result_with_it(server: Server, app: Celery) -> None:
    @deferred
    @app.task(name=f"big-{uuid4()}", shared=False)
    def big(text: str) -> None: ...

    @app.task(name=f"bigger-{uuid4()}", shared=False)
    def parent() -> None:
        defer("big", big, "x" * 300_000)

    before = _evals(server)
    Worker(app).run(parent)

    assert _evals(server) == before
    assert server.client(db=3).llen("celery") == 1


def test_other_pipelines_of_the_backend_are_left_alone(server: Server, app: Celery) -> None:
    seen = []

    def look(**_: Any) -> None:
        client = app.backend.client
        with client.pipeline() as pipe:
            first = pipe.set("a", 1).execute()
            seen.append((first, pipe.get("a").execute()))
        client.transaction(lambda pipe: (pipe.multi(), pipe.get("a")), "a")

    @app.task(name=f"link-{uuid4()}", shared=False)
    def link() -> None: ...

    before_task_publish.connect(look, weak=False)
    try:
        result = Worker(app).run(parent_of(app), link=link.si())
    finally:
        before_task_publish.disconnect(look)

    assert result.get() == 7
    assert {(str(first), str(second)) for first, second in seen} == {("[True]", "[b'1']")}


@pytest.mark.parametrize("when", ["failure", "always"])
def test_what_waits_for_a_failure_is_there_before_the_result(
    server: Server, app: Celery, when: When
) -> None:
    before = _evals(server)
    Worker(app).run(parent_of(app, when))

    assert _evals(server) == before


def test_it_goes_once_and_with_the_pipeline_that_arrives(server: Server, app: Celery) -> None:
    before = _evals(server)
    Worker(app).run(parent_of(app))
    app.backend.set("another", b"value")

    assert _evals(server) == before + 1


def _evals(server: Server) -> int:
    client: Redis = server.client()
    stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_eval", {"calls": 0})["calls"])
