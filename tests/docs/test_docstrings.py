"""The examples in public docstrings, which the reference shows, do what they say."""

from __future__ import annotations

import doctest
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, _state
from pydantic import BaseModel

import celery_defer
from celery_defer import (
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    Defer,
    Event,
    Priority,
    RateLimit,
    RunState,
    Score,
    Singleton,
    Throttle,
    Timeouts,
    abort,
    bucket,
    cancel,
    compare,
    current_run,
    defer,
    deferred,
    deferring,
    experiment,
    fixed,
    pause,
    record,
    restart,
    resume,
    run_id,
    score,
    scorer,
    scores,
    send_event,
    set_limit,
    set_tags,
    tree,
    wake,
    weighted,
)
from celery_defer.contract import Deferrable
from celery_defer.run import Memo
from celery_defer.store import Fact
from celery_defer.testing import MemoryStore

EXAMPLES = {
    name: examples
    for name, documented in {
        **{name: getattr(celery_defer, name) for name in celery_defer.__all__},
        "with_options": Deferrable.with_options,
    }.items()
    if (examples := doctest.DocTestParser().get_examples(documented.__doc__ or ""))
}


class OrderPlaced(BaseModel):
    id: str


class Visit(BaseModel):
    page: str


class PurchaseCompleted(BaseModel):
    order_id: str


# Celery 5.7 deprecates `queue=` on a task, and still takes it.
@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_docstring_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Celery would make the tasks of an example anew in every app of the tests that follow.
    monkeypatch.setattr("celery._state._on_app_finalizers", set(_state._on_app_finalizers))
    app = Celery(
        "shop",
        broker="memory://",
        task_always_eager=True,
        task_store_eager_result=True,
        task_eager_propagates=True,
        defer_strict=True,
    )
    Defer(app).store = MemoryStore()

    @app.task
    def parent() -> None:
        _run(EXAMPLES[name], _names(app))

    parent.delay()


def _names(app: Celery) -> dict[str, Any]:
    known = {
        f.__name__: f
        for f in (
            *(Celery, Defer, Event, OrderPlaced, PurchaseCompleted, RunState, Score),
            *(abort, cancel, current_run, defer, deferred, deferring, send_event),
            *(record, restart, compare, score, set_tags, tree, wake),
            *(bucket, experiment, fixed, scorer, weighted),
            *(Batch, CancelOn, Concurrency, Debounce, Priority, RateLimit, Singleton, Throttle),
            *(Timeouts, Visit, pause, resume, set_limit),
        )
    }

    @deferred(app)
    def send_receipt(order_id: str) -> None: ...

    @deferred(app)
    def remind(user_id: int) -> None: ...

    @deferred(app, throttle=Throttle(100, "1h"))
    def sync_crm(customer_id: int) -> None: ...

    done = Fact(run_id("o-1", "done"), "shop.send_receipt", RunState.SUCCEEDED, 60, b"{}")
    about = b'{"t":"shop.send_receipt","a":[[],{"order_id":"o-1"}]}'
    failed = Fact(run_id("o-1", "receipt"), "shop.send_receipt", RunState.FAILED, 60, about)
    app._celery_defer.store.note([done, failed])
    app._celery_defer.store.remember(failed.id, {"charge": Memo().pack()}, 60)
    own = {
        "result": SimpleNamespace(id=done.id),
        "scores": scores,
        "conversation": SimpleNamespace(id="7"),
        "app": app,
        "order": OrderPlaced(id="o-1"),
        "run_id": run_id,
        "handle": SimpleNamespace(id=failed.id),
        "user": SimpleNamespace(id="u1"),
        "cart": {},
        "one_page": dict,
        "three_pages": dict,
        "bought": None,
        "judge": lambda question, reply: 0.9,
    }
    return {**known, **own, **{f.__name__: f for f in (send_receipt, remind, sync_crm)}}


def _run(examples: list[doctest.Example], names: dict[str, Any]) -> None:
    for example in examples:
        if example.want:
            assert repr(eval(example.source, names)) == example.want.strip()
        else:
            exec(example.source, names)
