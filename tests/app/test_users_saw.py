"""Bugs that users saw, each once."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel, RootModel

from celery_defer import Defer, OptionError, current_run, defer, deferred
from celery_defer.contract import deferrable, find
from celery_defer.settings import Settings
from tests.support.inside import Worker


def parent_of(app: Celery, body: Any, **options: Any) -> Any:
    @app.task(name="parent", **options)
    def parent() -> Any:
        return body()

    return parent


def test_a_payload_nested_too_deep_for_json_readers_is_skipped(app: Celery, worker: Worker) -> None:
    @deferred(app)
    def take(value: Any) -> None: ...

    deep: list[Any] = []
    for _ in range(220):
        deep = [deep]

    def body() -> Any:
        return [defer("good", take, 1).skipped, defer("deep", take, deep).skipped]

    good, bad = worker.run(parent_of(app, body)).get()

    assert good is None
    assert "is not JSON" in bad
    assert len(worker.published()) == 1


def test_many_bad_calls_do_not_wait_for_a_broker_one_by_one() -> None:
    app = Celery("nowhere", broker="redis://127.0.0.1:1/0", backend="cache+memory://")
    Defer(app)
    app._celery_defer.store = None

    @deferred(app, shared=False)
    def take(n: int) -> None: ...

    def body() -> None:
        for n in range(20):
            defer(str(n), take, "no number")

    began = time.monotonic()
    result = Worker(app).perform(parent_of(app, body, shared=False))

    assert result.state == "SUCCESS"
    assert time.monotonic() - began < 3


def test_a_parent_that_fails_on_its_answer_never_shows_children(
    app: Celery, worker: Worker
) -> None:
    stored: list[Any] = []

    @deferred(app)
    def take(n: int) -> None: ...

    def body() -> Any:
        defer("take", take, 1)
        return object()

    store_result = app.backend.store_result

    def watched(id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        stored.append((state, [child.id for child in kwargs["request"].children]))
        return store_result(id, result, state, *args, **kwargs)

    app.backend.store_result = watched
    assert worker.run(parent_of(app, body)).state == "FAILURE"

    assert [entry for entry in stored if entry[1]] == []


class Odd:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd")


def takes_odd(value: Odd) -> None: ...


@pytest.mark.parametrize("annotation", [Odd, "not valid!", "missing.attribute", "1 + 'a'"])
def test_a_bad_contract_skips_the_call(annotation: Any, app: Celery, worker: Worker) -> None:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    broken = deferred(app.task(take))

    def body() -> Any:
        return defer("broken", broken, 1).skipped

    assert "cannot be deferred" in worker.run(parent_of(app, body)).get()


def test_types_that_are_no_part_of_the_contract_need_not_be_known(
    app: Celery, worker: Worker
) -> None:
    def take(self: Any, value: int) -> Any:
        return value

    take.__annotations__.update({"self": "OnlyWhenChecking", "return": "OnlyWhenChecking"})
    bound = deferred(app.task(bind=True)(take))
    worker.run(parent_of(app, lambda: str(defer("take", bound, 7).id)))

    assert [result.get() for result in worker.drain()] == [7]


def test_a_task_that_runs_while_its_app_is_finalized_does_not_hang(app: Celery) -> None:
    ran: list[str] = []

    @deferred
    @app.task(name="noted")
    def noted() -> None:
        ran.append("noted")

    def on_finalized(sender: Any, **_: Any) -> None:
        sender.tasks["noted"].apply()

    app.on_after_finalize.connect(on_finalized)
    app.finalize()

    assert ran == ["noted"]


def test_a_lazy_task_of_another_app_is_left_asleep(app: Celery, worker: Worker) -> None:
    other = Celery("other", set_as_current=False)

    @deferred
    @other.task
    def asleep() -> None: ...

    assert find(object()) is None
    worker.run(parent_of(app, lambda: None))

    assert not asleep.__evaluated__()
    other.conf.task_ignore_result = True
    assert asleep.ignore_result


def test_a_clone_of_a_task_that_is_asleep_has_its_contract(app: Celery) -> None:
    other = Celery("other", set_as_current=False)

    @deferred
    @other.task(name="shared-by-two")
    def asleep(n: int) -> None: ...

    clone = app.tasks["shared-by-two"]

    assert clone.app is app
    assert deferrable(clone).contract.task == "shared-by-two"
    assert not asleep.__evaluated__()


def test_a_setting_of_another_package_is_not_ours() -> None:
    app = Celery("app")
    project = SimpleNamespace(DEFER_LOADING=True, DEFER_STRICT=False, CELERY_DEFER_STRICT=True)
    app.config_from_object(project, namespace="CELERY")

    assert Defer(app).settings == Settings(strict=True)


def test_a_tasks_own_priority_comes_before_its_parents(app: Celery, worker: Worker) -> None:
    app.conf.task_inherit_parent_priority = True

    @deferred(app, shared=False)
    def own(n: int) -> None: ...

    own._get_current_object().priority = 8
    worker.run(parent_of(app, lambda: str(defer("own", own, 1).id)), priority=3)

    assert [message.properties["priority"] for message in worker.published()] == [8]


class Tenants(Celery):
    def send_task(self, *args: Any, **options: Any) -> Any:
        headers = {**(options.pop("headers", None) or {}), "tenant": "acme"}
        return super().send_task(*args, headers=headers, **options)


def test_an_apps_own_send_task_is_used() -> None:
    app = Tenants("tenants", broker="memory://", backend="cache+memory://")
    app.conf.task_default_queue = "tenants"
    Defer(app)

    @deferred(app, shared=False)
    def take(n: int) -> None: ...

    worker = Worker(app)
    worker.perform(parent_of(app, lambda: str(defer("take", take, 1).id), shared=False))

    assert [message.headers["tenant"] for message in worker.published()] == ["acme"]


class Numbers(RootModel[list[int]]):
    pass


def test_a_schema_without_fields_is_refused() -> None:
    with pytest.raises(OptionError, match="Numbers"):
        deferred(schema=Numbers)


class Rude(BaseModel):
    n: int

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_what_has_no_repr_is_skipped_all_the_same(app: Celery, worker: Worker) -> None:
    def body() -> Any:
        return [defer(Rude(n=1), None).skipped, defer("x", Rude(n=1)).skipped]  # type: ignore

    first, second = worker.run(parent_of(app, body)).get()

    assert "<Rude> is not a non-empty string" in first
    assert "<Rude> is not a deferred function" in second


def test_an_app_may_be_made_with_fixups_of_its_own() -> None:
    assert Defer(Celery("app", fixups=[])).settings


def test_of_one_id_in_two_threads_the_first_payload_stays(app: Celery, worker: Worker) -> None:
    import contextvars  # noqa: PLC0415
    import threading  # noqa: PLC0415

    slow, may_go_on = threading.Event(), threading.Event()

    class Slow(BaseModel):
        n: int

        def model_post_init(self, _: Any) -> None:
            if self.n == 2:
                slow.set()
                may_go_on.wait(10)

    @deferred(schema=Slow)
    @app.task
    def take(payload: Any) -> int:
        return int(payload.n)

    skipped: list[Any] = []

    def second() -> None:
        skipped.append(defer("x", take, n=2).skipped)

    def body() -> None:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(second,))
        thread.start()
        slow.wait(10)
        defer("x", take, n=1)
        may_go_on.set()
        thread.join()

    worker.run(parent_of(app, body))

    assert "its first payload stays" in skipped[0]
    assert [m.payload[0] for m in worker.published()] == [[{"n": 1}]]
    with pytest.raises(Exception, match="no run in progress"):
        current_run()
