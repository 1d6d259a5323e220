"""What ``celery_defer.testing`` promises to a user's suite."""

from __future__ import annotations

import doctest
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from celery import Celery, Task, _state, chain, chord, exceptions, group
from celery.backends.base import DisabledBackend
from celery.signals import task_postrun
from pydantic import BaseModel, StringConstraints

import celery_defer
from celery_defer import (
    Defer,
    Event,
    PayloadError,
    RetryAfter,
    StepError,
    abort,
    cancel,
    current_run,
    defer,
    deferred,
    step,
)
from celery_defer.testing import Simulation, SimulationError, Waiting

MONDAY = datetime(2030, 1, 7, 9, tzinfo=timezone.utc)
Begin = Callable[..., Simulation]


EXAMPLES = [
    name
    for name, documented in vars(Simulation).items()
    if ">>>" in (documented.__doc__ or "") and not name.startswith("_")
]


class OrderPlaced(BaseModel):
    order_id: str
    at: datetime


class GatewayDown(Exception):
    pass


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """An app as it stands in production: nothing answers where its servers would be."""
    monkeypatch.setattr("celery._state._on_app_finalizers", set(_state._on_app_finalizers))
    app = Celery(
        f"shop-{uuid.uuid4().hex}",
        broker="redis://127.0.0.1:1/0",
        backend="redis://127.0.0.1:1/1",
    )
    Defer(app)
    return app


@pytest.fixture
def sim(shop: Celery) -> Iterator[Simulation]:
    with Simulation(shop, now=MONDAY) as simulation:
        yield simulation


@pytest.fixture
def mail(shop: Celery) -> Any:
    @deferred
    @shop.task(name="mail")
    def mail(to: str) -> str:
        return f"mail to {to}"

    return mail


# -- what a run has deferred ---------------------------------------------------------------


def test_a_run_shows_its_result_and_what_it_has_deferred(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order(id: int) -> int:
        defer("receipt", mail.with_options(queue="post"), to="ada")
        return id

    run = sim.run(order, id=7)

    assert (run.state, run.result, run.passes) == ("SUCCESS", 7, 1)
    receipt = run.deferred["receipt"]
    assert (receipt.id, receipt.task, receipt.state) == ("receipt", "mail", "PUBLISHED")
    assert receipt.payload == {"to": "ada"}
    assert receipt.options.queue == "post"


def test_nothing_else_runs_until_the_test_says_so(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def order() -> None:
        defer("receipt", mail, to="ada")

    receipt = sim.run(order).deferred["receipt"].run
    before = receipt.state
    ran = sim.drain()

    assert (before, receipt.state, receipt.result) == ("PENDING", "SUCCESS", "mail to ada")
    assert ran == [receipt]


def test_a_payload_with_a_schema_is_shown_as_the_object_that_the_function_is_given(
    shop: Celery, sim: Simulation
) -> None:
    @deferred(schema=OrderPlaced)
    @shop.task
    def track(order: OrderPlaced) -> None: ...

    @shop.task
    def parent() -> None:
        defer("track", track, order_id="o-1", at=MONDAY)

    run = sim.run(parent)

    assert run.deferred["track"].payload == OrderPlaced(order_id="o-1", at=MONDAY)


def test_deferred_runs_of_deferred_runs_lead_down_and_up(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @deferred
    @shop.task
    def middle() -> None:
        defer("last", mail, to="ada")

    @shop.task
    def first() -> None:
        defer("middle", middle)

    run = sim.run(first)
    sim.drain()

    last = run.deferred["middle"].run.deferred["last"].run
    assert last.result == "mail to ada"
    assert last.parent is not None
    assert last.parent.parent == run
    assert run.parent is None
    assert run.children == [last.parent]


def test_a_skipped_call_has_its_reason_and_no_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def order() -> None:
        defer("receipt", mail, to=7)
        defer("copy", mail, to="ada")
        defer("copy", mail, to="bob")

    run = sim.run(order)

    receipt = run.deferred["receipt"]
    assert (receipt.state, receipt.payload) == ("SKIPPED", None)
    assert "Input should be a valid string" in str(receipt.reason)
    assert [call.id for call in run.skipped] == ["receipt", "copy"]
    assert run.deferred["copy"].payload == {"to": "ada"}
    with pytest.raises(SimulationError, match=r"SKIPPED.* has no run: .*valid string"):
        _ = receipt.run


def test_an_aborted_call_is_shown_as_such_before_and_after_its_publication(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> None:
        defer("early", mail, to="ada").abort()
        defer("late", mail, to="ada")

    run = sim.run(order)
    assert abort(run.id, "late")
    sim.drain()

    assert [call.state for call in run.deferred.values()] == ["ABORTED", "ABORTED"]
    assert run.deferred["late"].run.state == "ABORTED"
    assert run.deferred["late"].run.passes == 0


def test_a_call_whose_parent_did_not_end_as_it_asked_is_dropped(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order(fails: bool) -> None:
        defer("receipt", mail, to="ada")
        defer("apology", mail.with_options(when="failure"), to="ada")
        if fails:
            raise GatewayDown

    good, bad = sim.run(order, fails=False), sim.run(order, fails=True)

    assert {id: call.state for id, call in good.deferred.items()} == {
        "receipt": "PUBLISHED",
        "apology": "DROPPED",
    }
    assert {id: call.state for id, call in bad.deferred.items()} == {
        "receipt": "DROPPED",
        "apology": "PUBLISHED",
    }
    assert bad.state == "FAILURE"


def test_a_call_that_was_published_at_once_is_shown_of_a_parent_that_fails_too(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> None:
        defer("alarm", mail.with_options(when="now"), to="ada")
        raise GatewayDown

    run = sim.run(order)

    alarm = run.deferred["alarm"]
    assert (run.state, alarm.state, alarm.options.when) == ("FAILURE", "PUBLISHED", "now")
    assert alarm.payload == {"to": "ada"}


def test_a_deferred_function_runs_alone_with_a_parsed_payload(
    shop: Celery, sim: Simulation
) -> None:
    got = []

    @deferred(schema=OrderPlaced)
    @shop.task
    def track(order: OrderPlaced) -> str:
        got.append((order, current_run().deferred_at))
        return order.order_id

    run = sim.run_deferred(track, order_id="o-1", at=MONDAY)

    assert (run.result, run.parent) == ("o-1", None)
    assert got == [(OrderPlaced(order_id="o-1", at=MONDAY), MONDAY)]
    with pytest.raises(PayloadError, match="at"):
        sim.run_deferred(track, order_id="o-1", at="never")  # type: ignore[arg-type]


# -- time ----------------------------------------------------------------------------------


def test_advancing_runs_what_sleeps_at_its_time(shop: Celery, sim: Simulation) -> None:
    woke = []

    @shop.task
    def nap(name: str, duration: str) -> None:
        step.sleep("nap", duration)
        woke.append((name, sim.now - MONDAY))

    sim.run(nap, "long", "2d")
    short = sim.run(nap, "short", "1h")
    waits_for = short.waits_for
    sim.advance("3d")

    assert waits_for == Waiting("nap", "sleep", MONDAY + timedelta(hours=1))
    assert woke == [("short", timedelta(hours=1)), ("long", timedelta(days=2))]
    assert sim.now == MONDAY + timedelta(days=3)
    assert (short.state, short.waits_for, short.passes) == ("SUCCESS", None, 2)


def test_a_run_sleeps_until_its_very_moment(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    run = sim.run(nap)
    sim.advance(59.5)
    before = run.state
    sim.advance(timedelta(seconds=0.5))

    assert (before, run.state) == ("WAITING", "SUCCESS")


@pytest.mark.parametrize("duration", [-5, -0.5, timedelta(seconds=-1)])
def test_time_does_not_go_back(sim: Simulation, duration: Any) -> None:
    with pytest.raises(ValueError, match=r"advance\(.*\): time does not go back"):
        sim.advance(duration)

    assert sim.now == MONDAY


@pytest.mark.parametrize("duration", ["7 days", None, float("nan")])
def test_what_is_no_duration_is_told_of_advance(sim: Simulation, duration: Any) -> None:
    with pytest.raises(ValueError, match=r"^advance\(.*\): give seconds, a timedelta, or text"):
        sim.advance(duration)


@pytest.mark.parametrize("now", [datetime(2030, 1, 7, 9), "2030-01-07T09:00:00Z"])
def test_a_time_without_a_zone_is_told_of_now(shop: Celery, now: Any) -> None:
    with pytest.raises(ValueError, match=r"^now=.*: give a datetime with a time zone"):
        Simulation(shop, now=now)


def test_a_countdown_is_counted_in_the_simulations_time(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> None:
        defer("reminder", mail.with_options(countdown=3600), to="ada")

    reminder = sim.run(order).deferred["reminder"].run
    assert sim.drain() == []
    assert sim.advance("59m") == []

    assert sim.advance("1m") == [reminder]


def test_a_message_that_has_expired_does_not_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    result = mail.apply_async(("ada",), expires=60)
    late = mail.apply_async(("ada",), expires=60, countdown=120)
    sim.drain()
    sim.advance("1h")

    assert (sim.find(result.id).state, sim.find(late.id).state) == ("SUCCESS", "REVOKED")
    assert late.state == "REVOKED"


def test_retries_of_celery_run_when_their_pause_is_over(shop: Celery, sim: Simulation) -> None:
    attempts = []

    @shop.task(autoretry_for=(GatewayDown,), retry_kwargs={"countdown": 60, "max_retries": 5})
    def charge() -> str:
        attempts.append(sim.now - MONDAY)
        if len(attempts) < 3:
            raise GatewayDown
        return "paid"

    run = sim.run(charge)
    before = run.state
    sim.advance("10m")

    assert (before, run.result, run.passes) == ("RETRY", "paid", 3)
    assert attempts == [timedelta(minutes=n) for n in range(3)]


def test_a_run_that_is_invoked_may_take_its_time(shop: Celery, sim: Simulation) -> None:
    @deferred
    @shop.task(name="slow")
    def slow(n: int) -> int:
        step.sleep("long", "90d")
        return 2 * n

    @shop.task
    def parent() -> int:
        return step.invoke("double", slow, 21)

    run = sim.run(parent)
    (child,) = run.children
    waits_for = run.waits_for
    sim.advance("90d")

    assert waits_for == Waiting("double", "run", None, run=child.id)
    assert (run.result, run.passes) == (42, 2)


# -- events --------------------------------------------------------------------------------


def test_an_event_runs_those_that_wait_for_it(shop: Celery, sim: Simulation, mail: Any) -> None:
    bought = Event("purchase/completed", OrderPlaced)

    @shop.task
    def follow(id: str) -> datetime | None:
        found = step.wait_for_event("buy", bought, timeout="7d", match={"order_id": id})
        defer("thanks", mail, to="ada")
        return found and found.data.at

    run, other = sim.run(follow, "o-1"), sim.run(follow, "o-2")
    waits_for = run.waits_for
    woken = sim.send_event(bought, OrderPlaced(order_id="o-1", at=MONDAY))

    until = MONDAY + timedelta(days=7)
    wanted = {"order_id": "o-1"}
    assert waits_for == Waiting("buy", "event", until, "purchase/completed", match=wanted)
    assert (woken, run.result, other.state) == (1, MONDAY, "WAITING")
    assert run.deferred["thanks"].run.state == "PENDING"


@pytest.mark.parametrize("ignores_result", [False, True])
def test_a_wait_shows_the_values_that_it_compares_as_json_has_them(
    shop: Celery, sim: Simulation, ignores_result: bool
) -> None:
    placed = Event("order/placed", OrderPlaced)

    @shop.task(ignore_result=ignores_result)
    def follow() -> str:
        found = step.wait_for_event("first", placed, timeout="7d", match={"at": MONDAY})
        step.wait_for_event("second", placed, timeout="7d")
        return found.data.order_id if found else "nothing"

    run = sim.run(follow)
    first = run.waits_for
    sim.send_event(placed, OrderPlaced(order_id="o-1", at=MONDAY))
    second = run.waits_for
    sim.send_event(placed, OrderPlaced(order_id="o-2", at=MONDAY))

    assert first is not None
    assert second is not None
    assert (first.step, first.match) == ("first", {"at": "2030-01-07T09:00:00Z"})
    assert (second.step, second.match) == ("second", {})
    assert run.result == "o-1"


def test_a_wait_is_shown_after_the_simulation_too(shop: Celery) -> None:
    @shop.task
    def follow() -> None:
        step.wait_for_event("buy", "purchase/completed", timeout="7d", match={"order_id": "o-1"})

    with Simulation(shop) as sim:
        run = sim.run(follow)

    assert run.waits_for is not None
    assert run.waits_for.match == {"order_id": "o-1"}
    assert hash(run.waits_for)


def test_a_wait_reads_its_values_by_the_rules_of_the_events_fields(
    shop: Celery, sim: Simulation
) -> None:
    class Clicked(BaseModel):
        email: Annotated[str, StringConstraints(to_lower=True)]

    clicked = Event("clicked", Clicked)

    @shop.task
    def follow() -> bool:
        found = step.wait_for_event("click", clicked, timeout="7d", match={"email": "Ada@X.org"})
        return found is not None

    run = sim.run(follow)
    woken = sim.send_event(clicked, Clicked(email="Ada@X.org"))

    assert (woken, run.result) == (1, True)


def test_an_event_that_other_code_sends_wakes_a_run_which_then_waits_its_turn(
    shop: Celery,
) -> None:
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("buy", "purchase/completed", timeout="7d") is not None

    Celery("other", set_as_current=True)
    with Simulation(shop) as sim:
        run = sim.run(follow)
        woken = celery_defer.send_event("purchase/completed")
        before = run.state
        sim.drain()

    assert (woken, before, run.result) == (1, "WAITING", True)


def test_a_wait_that_is_over_answers_none(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("buy", "purchase/completed", timeout="7d") is None

    run = sim.run(follow)
    sim.advance("7d")

    assert run.result is True
    assert sim.send_event("purchase/completed") == 0


def test_a_simulation_shows_what_was_sent_in_order(shop: Celery, sim: Simulation) -> None:
    bought = Event("purchase/completed", OrderPlaced)

    @shop.task
    def ship(id: str) -> None:
        step.send_event("tell", "order/shipped", {"order_id": id})
        step.sleep("nap", 60)

    sim.run(ship, "o-1")
    sim.advance("1h")
    sim.send_event(bought, OrderPlaced(order_id="o-2", at=MONDAY), id="p-1")
    sim.advance("1h")
    sim.send_event(bought, OrderPlaced(order_id="o-2", at=MONDAY), id="p-1")

    shipped, paid = sim.events
    assert (shipped.name, shipped.data) == ("order/shipped", {"order_id": "o-1"})
    assert (shipped.at, paid.at) == (MONDAY, MONDAY + timedelta(hours=1))
    assert (paid.id, paid.data) == ("p-1", {"order_id": "o-2", "at": "2030-01-07T09:00:00Z"})


def test_an_event_that_wakes_a_crowd_is_shown_once(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow(n: int) -> None:
        step.wait_for_event("any", "opened", timeout="7d", match={"n": n} if n % 2 else None)

    for n in range(3):
        sim.run(follow, n)
    for _ in range(600):
        follow.delay(0)
    sim.drain()

    assert sim.send_event("opened", {"n": 1}) == 603
    assert [event.data for event in sim.events] == [{"n": 1}]


def test_an_event_before_the_run_was_deferred_does_not_count(shop: Celery, sim: Simulation) -> None:
    @deferred
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("buy", "purchase/completed", timeout="7d") is None

    @shop.task
    def parent() -> None:
        defer("follow", follow)

    sim.send_event("purchase/completed")
    sim.advance("1h")
    run = sim.run(parent).deferred["follow"].run
    sim.drain()

    assert run.state == "WAITING"


# -- steps ---------------------------------------------------------------------------------


def test_a_step_is_called_once_over_all_passes(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow() -> None:
        step.run("charge", int)
        step.sleep("nap", 60)
        step.run("ship", int)

    run = sim.run(follow)
    before = run.steps
    sim.advance(60)

    assert before == {"charge": 1}
    assert run.steps == {"charge": 1, "ship": 1}


def test_a_step_fails_as_often_as_the_test_says(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> int:
        return step.run("charge", int, "12", retries=3)

    sim.fail_step("charge", GatewayDown("no answer"), times=2)
    run = sim.run(order)
    waits_for = run.waits_for
    sim.advance("1m")

    assert waits_for is not None
    assert (waits_for.step, waits_for.kind) == ("charge", "retry")
    assert (run.result, run.steps) == (12, {"charge": 3})


def test_a_step_that_always_fails_uses_up_its_tries(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        try:
            return str(step.run("charge", int, retries=1))
        except StepError as error:
            return repr(error.__cause__)

    sim.fail_step("charge", RetryAfter("1h"), times=None)
    run = sim.run(order)
    sim.advance("1h")

    assert (run.result, run.steps) == ("RetryAfter('1h')", {"charge": 2})


def test_a_step_fails_in_runs_of_one_task_only(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def one() -> int:
        return step.run("charge", int)

    @shop.task
    def other() -> int:
        return step.run("charge", int)

    sim.fail_step("charge", GatewayDown, task=other)

    assert sim.run(one).result == 0
    with pytest.raises(GatewayDown):
        assert sim.run(other).result


def charge() -> str:
    raise GatewayDown("the real one was called")


def test_a_step_has_the_tests_answer_and_its_function_is_not_called(
    shop: Celery, sim: Simulation
) -> None:
    @shop.task
    def order() -> str:
        charged = step.run("charge", charge)
        step.sleep("nap", 60)
        return charged

    sim.answer_step("charge", "ch_1")
    run, other = sim.run(order), sim.run(order)
    sim.advance("1m")

    assert (run.result, other.result) == ("ch_1", "ch_1")
    assert (run.steps, run.passes) == ({"charge": 1}, 2)


def test_an_answer_goes_through_json_by_the_type_that_the_function_answers(
    shop: Celery, sim: Simulation
) -> None:
    got = []

    def place() -> OrderPlaced:
        raise GatewayDown

    @shop.task
    def order() -> None:
        got.extend([step.run("place", place), step.run("count", sum, [])])

    answer = OrderPlaced(order_id="o-1", at=MONDAY)
    sim.answer_step("place", answer)
    sim.answer_step("count", (1, 2))

    assert sim.run(order).state == "SUCCESS"
    assert got == [answer, [1, 2]]
    assert got[0] is not answer


@pytest.mark.parametrize("wrong", [7, {"id": "ch_1"}, object()])
def test_an_answer_that_the_function_could_not_give_fails_the_run(
    shop: Celery, sim: Simulation, wrong: Any
) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge, retries=3)

    sim.answer_step("charge", wrong)

    with pytest.raises(StepError, match=rf"'charge' returned .*{type(wrong).__name__}"):
        assert sim.run(order).result


def test_an_answer_for_so_many_times_is_used_up(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge)

    sim.answer_step("charge", "ch_1", times=1)
    sim.answer_step("charge", "ch_2", times=1)

    assert [sim.run(order).result, sim.run(order).result] == ["ch_1", "ch_2"]
    with pytest.raises(GatewayDown, match="the real one"):
        assert sim.run(order).result


@pytest.mark.parametrize("fails_first", [True, False])
def test_a_step_fails_so_often_and_then_has_its_answer_in_whatever_order_that_was_said(
    shop: Celery, sim: Simulation, fails_first: bool
) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge, retries=3)

    said: list[Callable[[], None]] = [
        lambda: sim.fail_step("charge", GatewayDown("no answer"), times=2),
        lambda: sim.answer_step("charge", "ch_1"),
    ]
    for say in said if fails_first else reversed(said):
        say()
    run = sim.run(order)
    sim.advance("1m")

    assert (run.result, run.steps) == ("ch_1", {"charge": 3})


def test_a_test_says_otherwise_than_its_fixtures(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge)

    sim.answer_step("charge", "of a fixture")
    sim.answer_step("charge", "of the test")

    assert sim.run(order).result == "of the test"


def test_a_step_is_answered_in_runs_of_one_task_only(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def one() -> int:
        return step.run("charge", int)

    @shop.task
    def other() -> int:
        return step.run("charge", int)

    sim.answer_step("charge", 7, task=other)

    assert (sim.run(one).result, sim.run(other).result) == (0, 7)


def test_a_step_of_an_eager_run_is_answered_too(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge)

    sim.answer_step("charge", "ch_1")

    assert order.apply().get() == "ch_1"


def test_a_step_that_sends_an_event_sends_none_if_it_is_answered(
    shop: Celery, sim: Simulation
) -> None:
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("shipped", "order/shipped", timeout="1h") is None

    @shop.task
    def order() -> int:
        return step.send_event("tell", "order/shipped")

    sim.answer_step("tell", 3)
    waiting = sim.run(follow)

    assert sim.run(order).result == 3
    assert sim.drain() == []
    assert sim.events == []
    assert waiting.state == "WAITING"


@pytest.mark.parametrize("said", ["fail_step", "answer_step"])
def test_what_was_said_of_a_step_that_did_not_run_is_told(shop: Celery, said: str) -> None:
    @shop.task
    def order() -> int:
        return step.run("charge", int)

    simulation = Simulation(shop)
    told = rf"{said}\('chrge'\): .*there were \['charge'\]"
    with pytest.raises(SimulationError, match=told), simulation:
        _ = (getattr(simulation, said)("chrge", GatewayDown), simulation.run(order))


def test_a_failed_run_is_told_before_the_steps_that_it_did_not_come_to(shop: Celery) -> None:
    @shop.task
    def order() -> str:
        raise ValueError("no such order")

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="has failed"), simulation:
        _ = (simulation.answer_step("charge", "ch_1"), simulation.run(order))


@pytest.mark.parametrize("said", ["fail_step", "answer_step"])
@pytest.mark.parametrize("name", ["nap", "answer", "mail"])
def test_what_was_said_of_a_step_without_a_function_is_told_as_such(
    shop: Celery, mail: Any, name: str, said: str
) -> None:
    @shop.task
    def order() -> None:
        step.sleep("nap", 60)
        step.wait_for_event("answer", "answered", timeout="1h")
        step.invoke("mail", mail, "ada")

    simulation = Simulation(shop)
    told = rf"{said}\('{name}'\): this step has no function"
    with pytest.raises(SimulationError, match=told), simulation:
        _ = (
            getattr(simulation, said)(name, GatewayDown),
            simulation.run(order),
            simulation.advance("2h"),
        )


def test_a_failure_of_another_tasks_step_without_a_function_is_no_such_step(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        step.sleep("nap", 60)

    @shop.task
    def other() -> None: ...

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="no such step has run"), simulation:
        _ = (simulation.fail_step("nap", GatewayDown, task=other), simulation.run(order))


@pytest.mark.parametrize("error", ["no answer", None, int])
def test_a_step_fails_with_an_exception_only(sim: Simulation, error: Any) -> None:
    with pytest.raises(TypeError, match=r"fail_step\('charge'\): .* is no exception"):
        sim.fail_step("charge", error)


@pytest.mark.parametrize("times", [0, -1, 0.5, "2"])
def test_a_step_fails_at_least_once(sim: Simulation, times: Any) -> None:
    with pytest.raises(ValueError, match=r"fail_step\('charge'\): times=.*give 1 or more"):
        sim.fail_step("charge", GatewayDown, times=times)


def test_a_task_is_not_given_by_its_name(sim: Simulation, mail: Any) -> None:
    told = r"'mail' is not a task: give the task itself; app.tasks\[…\]"

    with pytest.raises(TypeError, match=told):
        sim.fail_step("charge", GatewayDown, task=mail.name)
    with pytest.raises(TypeError, match=told):
        sim.answer_step("charge", 7, task=mail.name)
    with pytest.raises(TypeError, match=told):
        sim.answer_run(mail.name, 7)
    with pytest.raises(TypeError, match=told):
        sim.runs_of(mail.name)


def test_what_is_no_task_is_not_run(sim: Simulation, mail: Any) -> None:
    with pytest.raises(TypeError, match=r"run\(<function charge at .*put @app.task on top"):
        sim.run(charge)
    with pytest.raises(TypeError, match="goes to run_deferred"):
        sim.run(mail.with_options(countdown=5), to="ada")


# -- runs without their bodies -------------------------------------------------------------


@pytest.fixture
def backup(shop: Celery) -> Any:
    @deferred
    @shop.task(name="backup", autoretry_for=(GatewayDown,), retry_kwargs={"countdown": 60})
    def backup(disk: str) -> int:
        raise ZeroDivisionError("the real one was called")

    return backup


def test_a_run_has_the_tests_answer_and_its_body_does_not_run(
    shop: Celery, sim: Simulation, backup: Any
) -> None:
    @shop.task
    def nightly() -> int:
        defer("other", backup, disk="b")
        return step.invoke("backup", backup, disk="a")

    sim.answer_run(backup, 5)
    run, alone, sent = sim.run(nightly), sim.run_deferred(backup, disk="c"), backup.delay("d")
    sim.drain()

    assert (run.result, alone.result, sent.get()) == (5, 5, 5)
    assert run.deferred["other"].run.result == 5


def test_a_run_that_is_answered_for_has_its_payload_checked(
    sim: Simulation, mail: Any, shop: Celery
) -> None:
    @shop.task
    def order() -> None:
        defer("receipt", mail, to=7)

    sim.answer_run(mail, "sent")
    run = sim.run(order)

    assert sim.run(mail, "ada").result == "sent"
    assert run.deferred["receipt"].state == "SKIPPED"


def test_a_run_is_answered_for_so_many_times_and_then_has_its_body_again(
    sim: Simulation, mail: Any
) -> None:
    sim.answer_run(mail, "sent", times=1)
    answers = [sim.run(mail, "ada").result, sim.run(mail, "ada").result]

    assert answers == ["sent", "mail to ada"]


def test_a_run_fails_in_place_of_its_body_and_is_tried_again_as_its_task_says(
    shop: Celery, sim: Simulation, backup: Any
) -> None:
    @shop.task
    def nightly() -> int:
        return step.invoke("backup", backup, disk="a")

    sim.fail_run(backup, GatewayDown("no answer"))
    sim.answer_run(backup, 5)
    run = sim.run(nightly)
    sim.drain()
    before = run.children[0].state
    sim.advance("1m")

    assert (before, run.children[0].passes, run.result) == ("RETRY", 2, 5)


def test_the_invoker_of_a_run_that_fails_receives_that(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> str:
        try:
            return step.invoke("mail", mail, to="ada")
        except StepError as error:
            return str(error)

    sim.fail_run(mail, GatewayDown("no answer"))
    run = sim.run(order)
    sim.drain()

    assert "no answer" in run.result


def test_a_body_that_is_called_by_its_task_is_answered_for_too(
    shop: Celery, sim: Simulation
) -> None:
    class Counted(Task):
        calls = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            type(self).calls += 1
            return super().__call__(*args, **kwargs)

    @shop.task(base=Counted, bind=True)
    def count(self: Any, n: int) -> int:
        return n + len(self.name)

    sim.answer_run(count, 5, times=1)
    answered, real = sim.run(count, 7), sim.run(count, 7)

    assert (answered.result, real.result) == (5, 7 + len(count.name))
    assert type(shop.tasks[count.name]).calls == 2


@pytest.mark.parametrize("said", ["fail_run", "answer_run"])
def test_what_was_said_of_a_run_that_did_not_begin_is_told(
    shop: Celery, mail: Any, said: str
) -> None:
    @shop.task(name="order")
    def order() -> None: ...

    simulation = Simulation(shop)
    told = rf"{said}\(mail\): no such run has begun since; there were runs of \['order'\]"
    with pytest.raises(SimulationError, match=told), simulation:
        _ = (getattr(simulation, said)(mail, GatewayDown), simulation.run(order))


# -- failures ------------------------------------------------------------------------------


def test_a_failed_runs_result_raises_what_it_failed_with(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown("no answer")

    run = sim.run(order)

    with pytest.raises(GatewayDown, match="no answer"):
        assert run.result
    assert (run.state, repr(run.exception)) == ("FAILURE", "GatewayDown('no answer')")
    assert "in order" in str(run.traceback)


def test_a_run_that_waits_has_no_result_and_says_why(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("a week", "7d")

    run = sim.run(nap)

    with pytest.raises(
        SimulationError, match=r"WAITING.* has no result: it waits at step 'a week'"
    ):
        assert run.result


def test_what_a_run_waits_for_is_said_in_words(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def follow(what: str) -> None:
        if what == "event":
            step.wait_for_event("answer", "bought", timeout="7d", match={"id": "o-1", "n": 2})
        if what == "any":
            step.wait_for_event("answer", "bought", timeout="7d")
        if what == "run":
            step.invoke("mail", mail, to="ada")
        if what == "retry":
            step.run("charge", charge, retries=1)

    def said(what: str) -> str:
        with pytest.raises(SimulationError) as told:
            assert sim.run(follow, what).result
        return str(told.value).partition(" has no result: ")[2]

    sim.fail_step("charge", RetryAfter("1h"))
    monday = "until 2030-01-14T09:00:00+00:00"
    wanted = "event 'bought' with id = 'o-1' and n = 2"
    assert said("event") == f"it waits at step 'answer' for {wanted} {monday}"
    assert said("any") == f"it waits at step 'answer' for event 'bought' {monday}"
    assert said("run") == f"it waits at step 'mail' for run {sim.runs_of(mail)[0].id}"
    hour = "until 2030-01-07T10:00:00+00:00"
    assert said("retry") == f"it waits at step 'charge', to try it again, {hour}"


def test_a_failure_that_the_test_has_not_looked_at_is_told(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown("no answer")

    with pytest.raises(SimulationError, match="has failed") as told, Simulation(shop) as sim:
        sim.run(order)

    assert isinstance(told.value.__cause__, GatewayDown)


def test_a_failure_that_the_test_has_looked_at_is_not_told(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown

    with Simulation(shop) as sim:
        run = sim.run(order)
        assert run.state == "FAILURE"


def test_a_failure_that_the_invoker_has_received_is_not_told(shop: Celery) -> None:
    @deferred
    @shop.task
    def charge() -> None:
        raise GatewayDown

    @shop.task
    def order() -> str:
        try:
            step.invoke("charge", charge)
        except StepError:
            return "unpaid"
        return "paid"

    with Simulation(shop) as sim:
        run = sim.run(order)
        sim.drain()
        assert run.result == "unpaid"


def test_a_failure_that_passes_through_the_invoker_is_told_of_the_invoker(shop: Celery) -> None:
    @deferred
    @shop.task(name="charge")
    def charge() -> None:
        raise GatewayDown

    @shop.task(name="order")
    def order() -> None:
        step.invoke("charge", charge)

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="run of order: FAILURE"), simulation:
        _ = (simulation.run(order), simulation.drain())


def test_a_failure_that_the_invoker_has_not_received_is_told(shop: Celery) -> None:
    @deferred
    @shop.task(name="charge")
    def charge() -> None:
        raise GatewayDown

    @shop.task
    def order() -> None:
        step.invoke("charge", charge)

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="run of charge: FAILURE"), simulation:
        _ = (cancel(simulation.run(order).id), simulation.drain())


def test_the_tests_own_error_is_not_hidden_by_a_failed_run(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown

    with pytest.raises(ZeroDivisionError), Simulation(shop) as sim:
        assert sim.run(order).passes / 0


def test_a_task_that_sends_itself_for_ever_is_found_out(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def again() -> None:
        again.delay()

    sim.most_at_once = 20
    with pytest.raises(SimulationError, match=r"20 runs.*does .*again send itself"):
        again.delay().get()
    assert len(sim.runs) == 21


# -- what is real --------------------------------------------------------------------------


def test_what_other_code_sends_waits_and_is_found(shop: Celery, sim: Simulation, mail: Any) -> None:
    result = mail.delay("ada")
    (run,) = sim.runs_of(mail)
    before = run.state
    sim.drain()

    assert before == "PENDING"
    assert run == sim.find(result.id)
    assert (result.state, result.get()) == ("SUCCESS", "mail to ada")
    with pytest.raises(SimulationError, match="no run nobody"):
        sim.find("nobody")


def test_whoever_waits_for_a_result_lets_the_simulation_run(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    assert mail.delay("ada").get() == "mail to ada"
    with pytest.raises(exceptions.TimeoutError, match="no time passes"):
        nap.delay().get()


def test_a_task_may_not_wait_for_another(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def waits() -> Any:
        return mail.delay("ada").get()

    run = sim.run(waits)

    with pytest.raises(RuntimeError, match=r"Never call result.get"):
        assert run.result


def test_chains_groups_chords_and_callbacks_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def listed(*names: Any) -> str:
        return ", ".join(map(str, names))

    chained = chain(mail.s("ada"), listed.s("eve"))()
    grouped = group(mail.s("ada"), mail.s("bob"))()
    joined = chord([mail.s("ada"), mail.s("bob")])(listed.s())
    linked = mail.apply_async(("ada",), link=listed.s("linked"))
    sim.drain()

    assert chained.get() == "mail to ada, eve"
    assert grouped.get() == ["mail to ada", "mail to bob"]
    assert joined.get() == "['mail to ada', 'mail to bob']"
    (child,) = sim.find(linked.id).children
    assert child.result == "mail to ada, linked"


def test_a_revoked_run_does_not_run_and_a_parked_one_ends(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    sent, parked, other = mail.delay("ada"), sim.run(nap), sim.run(nap)
    sent.revoke()
    shop.AsyncResult(parked.id).revoke()
    assert cancel(other.id)
    before = parked.state
    sim.advance("1h")

    assert before == "REVOKED"
    assert [sim.find(sent.id).state, parked.state, other.state] == ["REVOKED"] * 3
    assert [sent.state, shop.AsyncResult(parked.id).state] == ["REVOKED"] * 2


def test_a_run_learns_that_the_one_it_has_invoked_was_revoked(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def parent() -> str:
        return step.invoke("mail", mail, "ada")

    run = sim.run(parent)
    shop.AsyncResult(run.children[0].id).revoke()
    sim.advance("1h")

    assert run.children[0].state == "REVOKED"
    assert isinstance(run.exception, StepError)


def test_a_module_of_tasks_is_imported_when_a_message_needs_it(
    shop: Celery, sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    monkeypatch.setattr(shop.loader, "import_default_modules", lambda: shop.task(add, name="add"))
    result = shop.send_task("add", (1, 2))
    unknown = shop.send_task("subtract", (1, 2))
    with pytest.raises(exceptions.NotRegistered, match="subtract"):
        sim.drain()

    assert sim.find(result.id).result == 3
    assert sim.find(unknown.id).state == "PENDING"


def test_an_app_without_a_backend_is_left_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery._state._on_app_finalizers", set(_state._on_app_finalizers))
    app = Celery("bare", broker="redis://127.0.0.1:1/0")
    Defer(app)

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    with Simulation(app) as sim:
        assert sim.run(add, 1, 2).result == 3
        assert isinstance(app.backend, DisabledBackend)


def test_a_task_with_a_result_backend_of_its_own_keeps_off_it(shop: Celery) -> None:
    theirs = shop._get_backend()

    @shop.task(backend=theirs)
    def add(a: int, b: int) -> int:
        return a + b

    with Simulation(shop) as sim:
        assert sim.run(add, 1, 2).result == 3
        assert add.backend is not theirs

    assert add.backend is theirs


def test_eager_mode_is_off_in_a_simulation(shop: Celery) -> None:
    shop.conf.task_always_eager = True

    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    with Simulation(shop) as sim:
        assert sim.run(nap).state == "WAITING"

    assert shop.conf.task_always_eager is True


def test_a_simulation_takes_the_settings_as_they_are_when_it_begins(shop: Celery) -> None:
    assert shop._celery_defer.settings.strict is False

    @shop.task
    def order() -> None:
        defer("", order)

    shop.conf.defer_strict = True
    with Simulation(shop) as sim, pytest.raises(celery_defer.DeferError):
        assert sim.run(order).result

    assert shop._celery_defer.settings.strict is False


def test_everything_is_put_back(shop: Celery) -> None:
    @shop.task
    def order() -> None: ...

    def use() -> None:
        with Simulation(shop) as sim:
            assert sim.run(order).result is None
            shop.AsyncResult("x").revoke()

    def parts() -> list[Any]:
        own = [vars(shop), vars(shop._celery_defer), vars(shop.amqp), vars(shop.tasks[order.name])]
        return [*map(dict, own), dict(shop.conf.changes), set(task_postrun.receivers)]

    other = Celery("other", set_as_current=True)
    use()  # now Celery has made what it makes once
    before = parts()
    use()

    assert parts() == before
    assert not {"_connection", "now"} & vars(shop).keys()
    assert (shop._pool, shop._backend_cache, shop.amqp._producer_pool) == (None, None, None)
    assert shop.connection_for_write().transport_cls == "redis"
    assert _state.get_current_app() is other


def test_two_simulations_know_nothing_of_each_other(shop: Celery, mail: Any) -> None:
    with Simulation(shop):
        mail.delay("ada")
    with Simulation(shop) as sim:
        assert sim.drain() == []
        assert sim.runs == []


def test_an_app_is_in_one_simulation_at_a_time(shop: Celery, mail: Any) -> None:
    with Simulation(shop) as sim:
        with pytest.raises(SimulationError, match="is in a simulation: use that one"):
            Simulation(shop).__enter__()

        assert sim.run(mail, "ada").result == "mail to ada"


def test_an_app_without_defer_is_refused() -> None:
    with pytest.raises(SimulationError, match=r"has no Defer\(app\)"):
        Simulation(Celery("plain"))


@pytest.fixture
def tasks(shop: Celery) -> dict[str, Any]:
    """What the examples of the docstrings speak of."""

    @deferred
    @shop.task
    def receipt(order_id: int) -> None: ...

    @deferred
    @shop.task
    def track_analytics(order_id: str, user_id: str) -> None: ...

    @deferred
    @shop.task
    def make_invoice(order_id: int) -> None: ...

    @shop.task
    def process_order(order_id: int) -> dict[str, str]:
        defer("receipt", receipt, order_id=order_id)
        return step.run("charge", dict)

    known = [track_analytics, make_invoice, process_order]
    return {task.__name__: task for task in known} | {"GatewayDown": GatewayDown}


def run_examples(documented: object, names: dict[str, Any]) -> None:
    for example in doctest.DocTestParser().get_examples(documented.__doc__ or ""):
        exec(example.source, names)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_docstrings_run(shop: Celery, tasks: dict[str, Any], name: str) -> None:
    with Simulation(shop) as sim:
        sim.run(tasks["process_order"], 7)
        run_examples(vars(Simulation)[name], {**tasks, "sim": sim})
        sim.run(tasks["process_order"], 8)
        sim.run(tasks["make_invoice"], 8)

        assert {run.state for run in sim.runs} <= {"SUCCESS", "PENDING", "FAILURE"}


def test_the_example_of_the_class_runs(shop: Celery, tasks: dict[str, Any]) -> None:
    names = {**tasks, "app": shop, "Simulation": Simulation}

    run_examples(Simulation, names)

    assert names["order"].state == "SUCCESS"


# -- the plugin ----------------------------------------------------------------------------


def test_the_fixture_gives_a_simulation(shop: Celery, defer_simulation: Begin, mail: Any) -> None:
    sim = defer_simulation(shop, now=MONDAY)

    assert (sim.now, sim.run(mail, "ada").result) == (MONDAY, "mail to ada")
    assert shop._celery_defer.store is not None
