"""Calls that a type checker must accept, and calls that it must refuse.

Each line that ends in a comment beginning with `refused` is an error, and no other line is:

    # refused              by both type checkers, with and without celery-types
    # refused by mypy      but pyright takes any call of a TypedDict's
    # refused if typed     but without stubs mypy sees no types at all in what Celery makes
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
from celery import Celery, Task, shared_task
from pydantic import BaseModel
from typing_extensions import NotRequired, TypedDict, assert_type

from celery_defer import (
    Batch,
    CancelOn,
    Choice,
    Concurrency,
    Debounce,
    Defer,
    DeferHandle,
    DeferredTask,
    Event,
    ExperimentResult,
    Priority,
    RateLimit,
    Received,
    Run,
    Score,
    Singleton,
    Throttle,
    Timeouts,
    Woken,
    bucket,
    cancel,
    current_run,
    defer,
    deferred,
    deferring,
    experiment,
    fixed,
    restart,
    run_id,
    score,
    scorer,
    send_event,
    step,
    wake,
    weighted,
)

app = Celery("shop")
Defer(app)


class OrderPlaced(BaseModel):
    order_id: str
    user_id: int
    note: str | None = None


@dataclasses.dataclass
class Visit:
    page: str
    at: datetime


class Click(TypedDict):
    x: int
    y: NotRequired[int]


@deferred(schema=OrderPlaced)
@app.task
def by_model(order: OrderPlaced) -> None: ...


@deferred(schema=OrderPlaced)
@app.task(bind=True, queue="mail")
def by_model_bound(self: Task[..., None], order: OrderPlaced) -> None: ...


@deferred(schema=Visit)
@shared_task
def by_dataclass(visit: Visit) -> int:
    return 1


@deferred(schema=Click)
@app.task
def by_typed_dict(click: Click) -> None: ...


@deferred
@shared_task
def by_signature(user_id: int, subject: str = "") -> str:
    return subject


@deferred(app, queue="mail")
def made_here(user_id: int, /, *cc: str, subject: str = "", **headers: bytes) -> bool:
    return True


@deferred(app, bind=True)
def made_here_bound(self: Task[..., None], user_id: int) -> None: ...


@deferred(app, schema=OrderPlaced, priority=3)
def made_here_by_model(order: OrderPlaced) -> None: ...


@shared_task
def plain(user_id: int) -> None: ...


@app.task
def parent() -> None:
    handle = defer("a", by_model, order_id="o-1", user_id=7)
    assert_type(handle, DeferHandle)
    assert_type(handle.skipped, "str | None")
    handle.abort()
    run_id("3f0c", handle.id)
    assert_type(current_run(), Run)

    defer("b", by_model, order_id="o-1", user_id=7, note="gift")
    defer("c", by_model, order_id=1, user_id=7)  # refused
    defer("d", by_model, order_id="o-1")  # refused
    defer("e", by_model, order_id="o-1", user_id=7, usr=7)  # refused
    defer("f", by_model, OrderPlaced(order_id="o-1", user_id=7))  # refused
    defer(1, by_model, order_id="o-1", user_id=7)  # refused
    defer(by_model, order_id="o-1", user_id=7)  # refused

    defer("g", by_model_bound, order_id="o-1", user_id=7)
    defer("h", by_model_bound, order_id="o-1", user_id="7")  # refused

    defer("i", by_dataclass, page="/", at=datetime.now())
    defer("j", by_dataclass, "/", datetime.now())
    defer("k", by_dataclass, page="/", at="now")  # refused

    defer("l", by_typed_dict, x=1)
    defer("m", by_typed_dict, x=1, y=2)
    defer("n", by_typed_dict, y=2)  # refused by mypy
    defer("o", by_typed_dict, x="1")  # refused by mypy

    defer("p", by_signature, 7, subject="hello")
    defer("q", by_signature, "7")  # refused if typed
    defer("r", by_signature)  # refused if typed
    defer("s", by_signature, 7, subjct="hello")  # refused if typed

    defer("t", made_here, 7, "b@x.org", subject="hello", x_spam=b"no")
    defer("u", made_here, "7")  # refused
    defer("v", made_here, 7, 8)  # refused
    defer("w", made_here, 7, x_spam="no")  # refused
    defer("x", made_here_bound, 7)
    defer("y", made_here_bound, None, 7)  # refused
    defer("z", made_here_by_model, order_id="o-1", user_id=7)
    defer("A", made_here_by_model, order="o-1")  # refused

    defer("B", plain, 7)  # refused if typed
    defer("C", plain.delay, 7)  # refused with stubs
    defer("D", print, 7)  # refused

    defer("E", by_model.with_options(countdown=60, queue="mail"), order_id="o-1", user_id=7)
    defer("F", by_model.with_options(priority=3), order_id="o-1")  # refused
    by_model.with_options(countdwn=60)  # refused
    by_model.with_options(countdown="soon")  # refused
    by_model.with_options(when="later")  # refused
    by_model.with_options(routing_key="a.b", exchange="topics", serializer="json", shadow="mail")
    by_model.with_options(time_limit=30, soft_time_limit=20.5, compression="zlib")
    by_model.with_options(ignore_result=True)
    by_model.with_options(ignore_result="yes")  # refused
    by_model.with_options(link_error="x")  # refused
    twice = by_model.with_options(expires=60).with_options(eta=datetime.now())
    defer("G", twice, user_id=1)  # refused


@deferred(schema=7)  # refused
@app.task
def no_schema(order: OrderPlaced) -> None: ...


@deferred(schma=OrderPlaced)  # refused
@app.task
def no_such_option(order: OrderPlaced) -> None: ...


def annotated(task: DeferredTask[[int], str]) -> str:
    task.delay(7)
    task.apply_async((7,), countdown=3)
    task.s(7)
    defer("a", task, 7)
    defer("b", task, "7")  # refused
    return task(7)


assert_type(made_here(7), bool)


purchase = Event("purchase/completed", OrderPlaced)


def charge(order_id: str, cents: int = 0) -> Visit:
    return Visit(order_id, datetime.now())


@app.task
def with_steps() -> None:
    assert_type(step.run("a", charge, "o-1"), Visit)
    assert_type(step.run("b", charge, "o-1", cents=7), Visit)
    step.run("c", charge, 7)  # refused
    step.run("d", charge)  # refused
    step.run("e", charge, "o-1", dollars=7)  # refused
    step.run("f", 7)  # refused
    assert_type(step.run("g", charge, "o-1", retries=3), Visit)
    assert_type(step.run("h", lambda: 7), int)
    step.run("i", charge, "o-1", retries="many")  # refused

    step.sleep("a", "7d")
    step.sleep("b", 1.5)
    step.sleep("c", timedelta(days=7))
    step.sleep("d", [7])  # refused
    step.sleep_until("e", datetime.now())
    step.sleep_until("f", "tomorrow")  # refused

    typed = step.wait_for_event("a", purchase, timeout="7d", match={"order_id": "o-1"})
    assert_type(typed, Received[OrderPlaced] | None)
    step.wait_for_event("b", "anything", timeout=3)
    step.wait_for_event("c", purchase)  # refused
    step.wait_for_event("d", purchase, timeout="7d", match="o-1")  # refused

    step.send_event("a", purchase, OrderPlaced(order_id="o-1", user_id=7))
    step.send_event("b", purchase, Visit("home", datetime.now()))  # refused
    step.send_event("c", "anything", {"is": "fine"})
    send_event(purchase, OrderPlaced(order_id="o-1", user_id=7), id="p-7")
    send_event(purchase, {"order_id": "o-1", "user_id": 7})
    send_event(purchase, "o-1")  # refused
    send_event(purchase)  # refused
    send_event("anything")
    assert_type(send_event("anything", app=app), Woken)
    assert_type(send_event("anything").is_repeat, bool)
    abs(send_event("anything").is_late)  # refused
    Event("purchase", OrderPlaced, keep="10m")
    Event("purchase", OrderPlaced, keep=[1])  # refused

    assert_type(step.invoke("a", made_here, 7), bool)
    step.invoke("b", made_here, "seven")  # refused
    step.invoke("c", charge, "o-1")  # refused

    assert_type(cancel("o-1"), bool)
    cancel(7)  # refused
    assert_type(wake("o-1"), bool)
    wake(7)  # refused
    assert_type(restart("o-1", from_step="charge"), Sequence[str])
    restart("o-1", "charge")  # refused


def on_commit(hook: Callable[[], object], using: str | None = None) -> None: ...


def view() -> None:
    with deferring() as block:
        assert_type(block, Run)
        defer("a", made_here, 7)
        defer("b", made_here, "seven")  # refused
    with deferring(app, id="order-7", on_commit=on_commit):
        pass
    with deferring(on_commit=print):
        pass
    deferring(id=7)  # refused
    deferring(on_commit=7)  # refused
    deferring(app, "order-7")  # refused


async def async_view() -> None:
    async with deferring() as block:
        assert_type(block, Run)


# -- scores and experiments ------------------------------------------------------------------


@scorer
@shared_task
def judged(reply: str) -> Score:
    return Score("length", len(reply))


@scorer(sample=0.1)
@shared_task
def judged_by_sample(reply: str) -> list[Score] | None:
    return None


@scorer(schema=OrderPlaced, sample=0.5)
@app.task
def judged_by_model(order: OrderPlaced) -> Score | None:
    return Score("has note", order.note is not None, comment=order.note, source="us", step="note")


@scorer(app, queue="scores", sample=0.1)
def judged_here(n: int) -> tuple[Score, ...]:
    return (Score("n", n),)


@scorer(app, schema=OrderPlaced)
def judged_here_by_model(order: OrderPlaced) -> Score:
    return Score("n", order.user_id)


@scorer(app, bind=True)
def judged_bound(self: Task[[int], Score], n: int) -> Score:
    return Score("n", n)


@scorer(app)  # refused if typed
def no_score(n: int) -> str:
    return "great"


@scorer(app)  # refused if typed
def no_scores(n: int) -> list[float]:
    return [0.5]


@scorer(app, schema=OrderPlaced)  # refused
def no_score_of_model(order: OrderPlaced) -> float:
    return 0.5


scorer(app, sample="0.1")  # refused
Score("tone", "high")  # refused
Score("tone", None)  # refused
Score(7, 0.5)  # refused


def one_page() -> int:
    return 1


def scores() -> None:
    defer("a", judged, reply="hello")
    defer("b", judged, reply=7)  # refused if typed
    defer("c", judged_by_sample, reply="hello")
    defer("d", judged_by_sample, text="hello")  # refused if typed
    defer("e", judged_by_model, order_id="o-1", user_id=7)
    defer("f", judged_by_model, order_id="o-1")  # refused
    defer("g", judged_here.with_options(countdown=60), 7)
    defer("h", judged_here, "seven")  # refused
    defer("i", judged_here_by_model, order_id="o-1", user_id=7)
    defer("j", judged_here_by_model, order_id=7, user_id=7)  # refused
    defer("k", judged_bound, n=7)
    defer("l", judged_bound, n="seven")  # refused
    assert_type(step.invoke("m", judged_here, 7), tuple[Score, ...])
    step.score("n", "tone", 0.5, comment="why", source="us")
    step.score("o", "tone", True)
    step.score("o2", "tone", Decimal("0.5"))
    assert_type(Score("tone", Decimal("0.5")).value, bool | int | float)
    Score("tone", np.float32(0.5))
    Score("tone", np.int64(1))
    score("tone", Fraction(1, 2))
    score("tone", "0.5")  # refused
    score("tone", None)  # refused
    step.score("p", "tone", "high")  # refused
    step.score("q", "tone")  # refused


def experiments() -> None:
    taken = experiment("flow", {"one": one_page, "three": lambda: 3}, select=bucket("alice"))
    assert_type(taken, ExperimentResult[int])
    assert_type((taken.variant, taken.result), tuple[str, int])
    experiment("flow", {"one": one_page}, fixed("one"))
    experiment("flow", {"one": one_page}, select=weighted({"one": 1}))
    experiment("flow", {"one": one_page}, select=lambda choice: choice.variants[0])
    experiment("flow", {"one": one_page}, select="one")  # refused
    experiment("flow", {"one": 1})  # refused
    experiment("flow", [one_page])  # refused
    experiment({"one": one_page})  # refused
    weighted({"one": Decimal("0.8"), "two": Fraction(1, 5)})
    bucket("alice", {"one": np.float64(0.8)})
    weighted({"one": "80"})  # refused
    weighted({"one": None})  # refused
    fixed(1)  # refused
    assert_type(current_run().experiments.get("flow"), str | None)


def chooses(choice: Choice) -> str:
    return choice.variants[len(choice.run_id) % 2]


# -- limits ----------------------------------------------------------------------------------


@deferred(concurrency=Concurrency(5, key="user_id"), timeouts=Timeouts(start="1m"))
@shared_task
def limited(user_id: int) -> None: ...


@deferred(schema=Click, batch=Batch(100, timedelta(seconds=1)))
@app.task
def limited_clicks(clicks: list[Click]) -> None: ...


@deferred(schema=OrderPlaced, batch=Batch(100, "10s", key="user_id"), throttle=Throttle(3, "1s"))
@app.task
def limited_orders(orders: list[OrderPlaced]) -> None: ...


@deferred(app, schema=OrderPlaced, batch=Batch(100, 10.0), queue="mail")
def limited_here(orders: Sequence[OrderPlaced]) -> int:
    return len(orders)


@deferred(
    app,
    queue="mail",
    concurrency=(Concurrency(5, key=lambda call: call["n"]), Concurrency(limit=50)),
    throttle=Throttle(100, "1h", burst=3, key="n"),
    singleton=True,
    idempotency=("n", timedelta(days=7)),
    priority=Priority(lambda call: 60 * call["n"]),
    cancel_on=[
        CancelOn(purchase, match={"order_id": "n"}, timeout="1h"),
        CancelOn("stop", {"n": str}),
    ],
    timeouts=Timeouts(finish=timedelta(hours=1)),
    limits="all",
)
def limited_by_all(n: int) -> bool:
    return True


@deferred(app, bind=True, debounce=Debounce("30s", "n", timeout=300), idempotency=str)
def limited_bound(self: Task[..., None], n: int) -> None: ...


@scorer(app, rate_limit=RateLimit(3, "1d", key="n"), singleton=Singleton("n", mode="cancel"))
def judged_and_limited(n: int) -> Score:
    return Score("n", n)


@scorer(sample=0.1, concurrency=Concurrency(3))
@shared_task
def judged_and_limited_too(reply: str) -> Score:
    return Score("length", len(reply))


def with_limits() -> None:
    defer("a", limited, user_id=7)
    defer("b", limited, user_id="7")  # refused if typed
    defer("c", limited_orders, order_id="o-1", user_id=7)
    defer("d", limited_orders, [OrderPlaced(order_id="o-1", user_id=7)])  # refused
    defer("e", limited_here, order_id="o-1", user_id=7, note="gift")
    defer("f", limited_here, orders=[])  # refused
    defer("g", limited_by_all, 7)
    defer("h", limited_by_all, "7")  # refused
    defer("i", limited_bound, n=7)
    defer("j", limited_bound, "7")  # refused
    defer("k", judged_and_limited, 7)
    defer("l", judged_and_limited, "7")  # refused
    defer("m", limited_clicks, x=1)
    defer("n", limited_clicks, x="1")  # refused by mypy
    assert_type(limited_here([]), int)

    # Celery's own are left to Celery.
    deferred(app, rate_limit="10/m", priority=5)

    deferred(concurrency=5)  # refused
    deferred(rate_limit="10/m")  # refused
    deferred(priority=5)  # refused
    deferred(batch=Batch(100, "10s"))  # refused
    deferred(app, batch=Batch(100, "10s"))  # refused
    deferred(app, bind=True, batch=Batch(100, "10s"))  # refused
    deferred(schema=OrderPlaced, batch=100)  # refused
    deferred(app, schema=OrderPlaced, batch=100)  # refused
    deferred(app, concurrency=5)  # refused
    deferred(app, concurrency=(Concurrency(1), Concurrency(2), Concurrency(3)))  # refused
    deferred(app, throttle=RateLimit(3, "1h"))  # refused
    deferred(app, rate_limit=Throttle(3, "1h"))  # refused
    deferred(app, debounce="30s")  # refused
    deferred(app, singleton="n")  # refused
    deferred(app, idempotency=7)  # refused
    deferred(app, priority=len)  # refused
    deferred(app, cancel_on=CancelOn("stop"))  # refused
    deferred(app, cancel_on=["stop"])  # refused
    deferred(app, timeouts="1h")  # refused
    deferred(app, limits="some")  # refused
    scorer(app, concurrency=5)  # refused
    scorer(app, schema=OrderPlaced, batch=Batch(100, "10s"))  # refused
    scorer(schema=OrderPlaced, batch=Batch(100, "10s"))  # refused
    scorer(concurrency=5)  # refused


def values_of_limits() -> None:
    Concurrency("5")  # refused
    Concurrency(5, key=7)  # refused
    Throttle(5)  # refused
    Throttle(5, [1])  # refused
    RateLimit(5, "1h", 3)  # refused
    Debounce("1s", timeout=b"1h")  # refused
    Batch("100", "10s")  # refused
    Batch(100)  # refused
    Singleton(mode="wait")  # refused
    Priority(60)  # refused
    Priority(lambda call: None)  # refused
    CancelOn(7)  # refused
    CancelOn("stop", match="n")  # refused
    Timeouts(end="1h")  # refused
    assert_type(Throttle(5, "1h").period, float)
    assert_type(Timeouts(start="1h").start, float | None)
    Concurrency(5).limit = 6  # refused
