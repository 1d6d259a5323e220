"""Events: sent from anywhere, received by the runs that wait, early ones too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, Task
from pydantic import BaseModel

from celery_defer import Event, EventError, Received, StepError, StoreError, send_event, step
from tests.support.inside import WatchedStore
from tests.support.stage import Stage


class Purchase(BaseModel):
    order: UUID
    total: Decimal
    at: datetime | None = None


purchase = Event("purchase/completed", Purchase)


@dataclass(frozen=True)
class Click:
    x: int
    raw: bytes = b"\xff"


@pytest.fixture
def waiter(app: Celery) -> Any:
    """A task that waits for an event, and answers what it has received."""

    @app.task(name="waiter")
    def waiter(match: Any = None, timeout: Any = 3_600) -> Any:
        found = step.wait_for_event("wait", "event", timeout=timeout, match=match)
        return found and found.data

    return waiter


# -- a wait -----------------------------------------------------------------------------------


def test_a_wait_answers_the_event(app: Celery, stage: Stage) -> None:
    found = []

    @app.task
    def parent() -> None:
        found.append(step.wait_for_event("wait", "event", timeout=60))
        step.sleep("nap", 5)

    stage.begin(parent)
    stage.now += 10
    at = stage.now
    assert send_event("event", {"n": [1]}, id="e-1") == 1
    stage.worker.drain()
    stage.go_on()

    expected = Received("e-1", "event", datetime.fromtimestamp(at, timezone.utc), {"n": [1]})
    assert found == [expected, expected]


def test_a_wait_answers_none_when_its_time_is_over(app: Celery, stage: Stage) -> None:
    found = []

    @app.task
    def parent() -> str:
        found.append(step.wait_for_event("wait", "event", timeout="1m"))
        step.sleep("nap", 5)
        return "done"

    result = stage.begin(parent)
    stage.wake(59)
    assert result.state == "WAITING"
    stage.wake(1)
    stage.go_on()

    assert result.result == "done"
    assert found == [None, None]


@pytest.mark.parametrize("timeout", [0, -1, "0s"])
def test_a_wait_without_time_looks_for_early_events_alone(
    app: Celery, stage: Stage, timeout: Any
) -> None:
    @app.task
    def parent() -> list[Any]:
        step.sleep("nap", 5)
        found = [step.wait_for_event("wait", "event", timeout=timeout) for _ in range(2)]
        return [each and each.data for each in found]

    result = stage.begin(parent)
    send_event("event", 1)
    stage.go_on()

    assert result.result == [1, None]


def test_a_waiting_run_tells_what_it_waits_for(waiter: Any, stage: Stage) -> None:
    result = stage.begin(waiter, {"user.id": UUID(int=1)}, 60)

    until = datetime.fromtimestamp(stage.now + 60, timezone.utc).isoformat(timespec="milliseconds")
    assert result.info == {
        "step": "wait",
        "waiting_for": "event",
        "event": "event",
        "match": {"user.id": str(UUID(int=1))},
        "until": until,
    }


def test_one_event_wakes_every_matching_wait_and_no_other(waiter: Any, stage: Stage) -> None:
    matches = [None, {"n": 1}, {"n": 2}, {"n": 1, "m.0": "a"}, {"m.0": "b"}, {"n": 1.0}]
    results = [stage.begin(waiter, match) for match in matches]

    woken = send_event("event", {"n": 1, "m": ["a"]})
    stage.worker.drain()

    assert woken == 4
    assert [each.state for each in results] == [
        "SUCCESS", "SUCCESS", "WAITING", "SUCCESS", "WAITING", "SUCCESS",
    ]  # fmt: skip


def test_an_event_of_another_name_wakes_nobody(waiter: Any, stage: Stage) -> None:
    result = stage.begin(waiter)

    assert send_event("events") == 0
    assert result.state == "WAITING"


def test_an_event_without_data_is_an_event(waiter: Any, app: Celery, stage: Stage) -> None:
    found = []

    @app.task
    def parent() -> None:
        found.append(step.wait_for_event("wait", "event", timeout=60))

    stage.begin(parent)
    assert send_event("event") == 1
    stage.worker.drain()

    assert found[0].data is None
    assert UUID(found[0].id)


class NarrowStore(WatchedStore):
    """Wakes two runs at most by one question."""

    def __getattr__(self, name: str) -> Any:
        ask = super().__getattr__(name)
        return partial(self._emit, ask) if name == "emit" else ask

    def _emit(self, ask: Any, *args: Any, **kwargs: Any) -> Any:
        return ask(*args, **{**kwargs, "limit": 2})


def test_more_runs_than_one_question_takes_are_all_woken(waiter: Any, stage: Stage) -> None:
    stage.extension.store = store = NarrowStore()
    results = [stage.begin(waiter) for _ in range(5)]

    assert send_event("event", 1, id="e") == 5
    assert store.asked.count("emit") == 3
    stage.worker.drain()
    assert send_event("event", 1, id="e") == 0

    assert {each.result for each in results} == {1}


def test_two_events_wake_a_run_once_and_the_first_counts(waiter: Any, stage: Stage) -> None:
    result = stage.begin(waiter)

    assert [send_event("event", n) for n in (1, 2)] == [1, 0]
    (message,) = stage.worker.published()
    stage.worker.trace(message)

    assert result.result == 1
    assert stage.later(3_600) == []


def test_each_wait_of_a_run_receives_another_event(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> list[Any]:
        found = [step.wait_for_event("wait", "event", timeout=60) for _ in range(3)]
        return [each and each.data for each in found]

    result = stage.begin(parent)
    for n in range(3):
        stage.now += 1
        send_event("event", n)
    stage.worker.drain()

    assert result.result == [0, 1, 2]


def test_each_wait_of_a_run_receives_another_early_event_of_new_values(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> list[Any]:
        step.sleep("nap", 30)
        match = {"user": 1}
        found = [step.wait_for_event("wait", "event", timeout=60, match=match) for _ in range(3)]
        return [each and each.data["n"] for each in found]

    result = stage.begin(parent)
    for n in range(4):
        stage.now += 1
        send_event("event", {"user": n % 2, "n": n})
    stage.wake(30)
    assert result.state == "WAITING"
    stage.go_on()

    assert result.result == [1, 3, None]


def test_a_timed_out_wait_leaves_the_event_to_the_next_wait(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> list[Any]:
        found = [step.wait_for_event("wait", "event", timeout=10) for _ in range(2)]
        return [each and each.data for each in found]

    result = stage.begin(parent)
    stage.wake(10)
    send_event("event", 1)
    stage.worker.drain()

    assert result.result == [None, 1]


def test_an_event_between_a_wake_up_and_its_pass_is_still_the_steps(
    waiter: Any, stage: Stage
) -> None:
    result = stage.begin(waiter, None, 60)
    (message,) = stage.later(60)

    send_event("event", 1)
    stage.worker.trace(message)

    assert result.state == "SUCCESS"


# -- early events -----------------------------------------------------------------------------


@pytest.mark.parametrize("match", [None, {"user": 1}])
def test_an_event_before_the_wait_counts_if_the_run_was_there(
    app: Celery, stage: Stage, match: Any
) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        found = step.wait_for_event("wait", "event", timeout=60, match=match)
        return found and found.data

    result = stage.begin(parent)
    stage.now += 10
    assert send_event("event", {"user": 1}) == 0
    stage.wake(50)

    assert result.result == {"user": 1}


def test_an_event_before_the_run_was_seen_does_not_count(waiter: Any, stage: Stage) -> None:
    send_event("event", 1)
    stage.now += 1
    result = stage.begin(waiter, None, 60)
    assert result.state == "WAITING"
    stage.go_on()

    assert result.state == "SUCCESS"
    assert result.result is None


def test_an_event_between_defer_and_the_start_counts(app: Celery, stage: Stage) -> None:
    from celery_defer import defer, deferred  # noqa: PLC0415

    @deferred
    @app.task(shared=False)
    def child() -> Any:
        found = step.wait_for_event("wait", "event", timeout=60)
        return found and found.data

    @app.task
    def parent() -> str:
        return defer("child", child).id

    send_event("event", "before")
    stage.now += 1
    result = stage.begin(parent)
    stage.now += 5
    send_event("event", "early")
    stage.worker.drain()

    assert app.AsyncResult(result.result).result == "early"


@pytest.mark.parametrize("match", [None, {"user": 1}])
def test_an_event_older_than_the_retention_does_not_count(
    app: Celery, stage: Stage, match: Any
) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", "25h")
        found = step.wait_for_event("wait", "event", timeout=60, match=match)
        return found and found.data

    result = stage.begin(parent)
    stage.now += 3_000
    send_event("event", {"user": 1, "is": "old"})
    stage.now += 3_000
    send_event("event", {"user": 1, "is": "young"})
    stage.wake(25 * 3_600 - 6_000)
    stage.go_on()

    assert result.result == {"user": 1, "is": "young"}


def test_an_early_event_shows_the_run_at_work_again(app: Celery, stage: Stage) -> None:
    states = []

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> None:
        step.run("send", lambda: send_event("event", 1))
        stage.now += 1
        step.wait_for_event("wait", "event", timeout=60)
        states.append(app.AsyncResult(self.request.id).state)

    stage.begin(parent)

    assert states == ["STARTED"]


def test_of_several_early_events_the_first_counts(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        found = step.wait_for_event("wait", "event", timeout=60)
        return found and found.data

    result = stage.begin(parent)
    for n in range(3):
        stage.now += 10
        send_event("event", n)
    stage.wake(30)

    assert result.result == 0


# -- what is sent -----------------------------------------------------------------------------


def test_the_same_id_counts_once_for_a_name(waiter: Any, stage: Stage) -> None:
    first = stage.begin(waiter)
    assert send_event("event", 1, id="e") == 1
    stage.worker.drain()
    stage.now += 1
    second = stage.begin(waiter)

    assert send_event("event", 2, id="e") == 0
    assert send_event("other", 2, id="e") == 0
    assert second.state == "WAITING"
    assert send_event("event", 3, id="f") == 1
    assert first.result == 1


@pytest.mark.parametrize("name", ["", "a\nb", None, 3, "\ud800"])
def test_a_name_is_a_line_of_text(stage: Stage, app: Celery, name: Any) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", name, timeout=5)

    with pytest.raises(EventError, match="is no name of an event"):
        send_event(name)
    with pytest.raises(EventError, match="is no name of an event"):
        Event(name, int)
    assert isinstance(stage.begin(parent).result, EventError)


@pytest.mark.parametrize("id", ["", "a\nb", 3])
def test_an_id_is_a_line_of_text(stage: Stage, id: Any) -> None:
    assert stage.parked() == 0
    with pytest.raises(EventError, match="is no id of an event"):
        send_event("event", id=id)


@pytest.mark.parametrize("data", [object(), {object()}, {"a": lambda: 1}])
def test_data_without_json_is_an_error(stage: Stage, data: Any) -> None:
    assert stage.parked() == 0
    with pytest.raises(EventError, match=r"event 'event' .* is not JSON"):
        send_event("event", data)


def test_without_a_store_an_event_is_an_error(app: Celery) -> None:
    assert app._celery_defer.store is None
    with pytest.raises(StoreError, match="set defer_store_url"):
        send_event("event")


def test_without_defer_an_event_is_an_error() -> None:
    Celery("plain", set_as_current=True)

    with pytest.raises(StoreError, match=r"no Defer\(app\)"):
        send_event("event")


def test_a_store_that_is_away_is_an_error_for_who_sends(stage: Stage, store: WatchedStore) -> None:
    assert stage.parked() == 0
    store.away = {"emit"}

    with pytest.raises(StoreError, match="event 'event' finds no store"):
        send_event("event")


def test_an_event_whose_wake_up_cannot_be_settled_is_sent_all_the_same(
    waiter: Any, stage: Stage, store: WatchedStore
) -> None:
    result = stage.begin(waiter)
    store.away = {"settle_all"}
    assert send_event("event", 1) == 1
    store.away = set()
    stage.worker.drain()
    stage.wake(30)

    assert result.result == 1


# -- typed events -----------------------------------------------------------------------------


def test_a_typed_event_is_received_as_it_was_sent(app: Celery, stage: Stage) -> None:
    found = []

    @app.task
    def parent() -> None:
        received = step.wait_for_event(
            "wait", purchase, timeout=60, match={"order": UUID(int=1), "total": Decimal("1.50")}
        )
        found.append(received and received.data)
        step.sleep("nap", 5)

    stage.begin(parent)
    at = datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert send_event(purchase, Purchase(order=UUID(int=2), total=Decimal("1.50"))) == 0
    sent = Purchase(order=UUID(int=1), total=Decimal("1.50"), at=at)
    assert send_event(purchase, sent) == 1
    stage.worker.drain()
    stage.go_on()

    assert found == [sent, sent]


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (Click, Click(1)),
        (int, 2**70),
        (bytes, b"\xff\x00"),
        (list[UUID], [UUID(int=1)]),
        (dict[str, Decimal], {"a": Decimal("0.10")}),
        (datetime, datetime(2030, 1, 1, tzinfo=timezone.utc)),
    ],
)
def test_data_of_any_type_of_pydantics_comes_back_equal(
    app: Celery, stage: Stage, schema: Any, data: Any
) -> None:
    event, found = Event("event", schema), []

    @app.task
    def parent() -> None:
        received = step.wait_for_event("wait", event, timeout=60)
        found.append(received and received.data)

    stage.begin(parent)
    send_event(event, data)
    stage.worker.drain()

    assert found == [data]


@pytest.mark.parametrize("data", [{"order": "x"}, None, 3, {}])
def test_data_that_is_not_of_the_events_type_is_not_sent(stage: Stage, data: Any) -> None:
    assert stage.parked() == 0
    with pytest.raises(EventError, match=r"event 'purchase/completed' \("):
        send_event(purchase, data)


def test_untyped_data_that_a_typed_wait_cannot_read_is_an_error_that_names_the_step(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", purchase, timeout=60)

    result = stage.begin(parent)
    send_event("purchase/completed", {"order": "x"}, id="e-1")
    stage.worker.drain()

    assert isinstance(result.result, StepError)
    assert "step 'wait' has received event 'purchase/completed' (e-1)" in str(result.result)
    assert "total: Field required" in str(result.result)


def test_an_event_shows_its_name() -> None:
    assert repr(purchase) == "Event('purchase/completed')"


# -- from a step ------------------------------------------------------------------------------


def test_a_step_sends_its_event_once_in_a_run(app: Celery, waiter: Any, stage: Stage) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.send_event("tell", "event", 1))
        step.sleep("nap", 5)

    first = stage.begin(waiter)
    stage.begin(parent)
    stage.worker.drain()
    stage.now += 1
    second = stage.begin(waiter)
    stage.go_on()

    assert answers == [1, 1]
    assert first.result == 1
    assert second.result is None


def test_each_run_and_each_step_sends_an_event_of_its_own(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        for _ in range(2):
            step.send_event("tell\nall", "event", 1)

    @app.task
    def receiver() -> list[Any]:
        found = [step.wait_for_event("wait", "event", timeout=60) for _ in range(5)]
        return [each.id for each in found if each]

    result = stage.begin(receiver)
    for _ in range(2):
        assert stage.begin(parent).state == "SUCCESS"
        stage.worker.drain()
    stage.go_on()

    assert len(set(result.result)) == 4


def test_a_step_that_died_after_sending_does_not_send_again(
    app: Celery, stage: Stage, store: WatchedStore
) -> None:
    @app.task
    def parent() -> int:
        return step.send_event("tell", "event", 1)

    @app.task
    def receiver() -> list[Any]:
        found = [step.wait_for_event("wait", "event", timeout=60) for _ in range(2)]
        return [each and each.data for each in found]

    received = stage.begin(receiver)
    store.away = {"remember"}
    result = stage.begin(parent)
    store.away = set()
    stage.worker.drain()
    stage.go_on()

    assert result.state == "SUCCESS"
    assert received.result == [1, None]


def test_a_step_sends_a_typed_event(app: Celery, stage: Stage) -> None:
    @app.task
    def parent(total: Any) -> int:
        return step.send_event("tell", purchase, Purchase(order=UUID(int=1), total=total))

    @app.task
    def bad() -> int:
        return step.send_event("tell", purchase, 3)  # type: ignore[arg-type]

    assert stage.begin(parent, 2).result == 0
    assert isinstance(stage.begin(bad).result, EventError)


def test_a_run_does_not_wait_for_itself_in_vain(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> Any:
        step.send_event("tell", "event", 1)
        found = step.wait_for_event("wait", "event", timeout=60)
        return found and found.data

    assert stage.begin(parent).result == 1


# -- what an error tells ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "match"),
    [
        ("", None),
        ("event", 3),
        ("event", {"": 1}),
        (purchase, {"of": 1}),
        (purchase, {"total": "x"}),
    ],
)
def test_a_wait_that_cannot_be_one_names_its_step(
    app: Celery, stage: Stage, event: Any, match: Any
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("first", event, timeout=60, match=match)

    result = stage.begin(parent).result

    assert type(result) is EventError
    assert str(result).startswith("step 'first': ")


@pytest.mark.parametrize("limit", [9, 10])
def test_an_events_data_is_held_to_the_limit_of_payloads(
    app: Celery, stage: Stage, limit: int
) -> None:
    app.conf.defer_max_payload_bytes = limit
    data = "ß" * 4  # 8 bytes, and the quotes
    assert stage.parked() == 0

    if limit == 10:
        assert send_event("event", data) == 0
    else:
        with pytest.raises(EventError, match=r"event 'event' \(e-1\) has 10 bytes .*_bytes = 9 is"):
            send_event("event", data, id="e-1")


def test_a_step_that_sends_too_much_is_named(app: Celery, stage: Stage) -> None:
    app.conf.defer_max_payload_bytes = 9
    told = []

    @app.task
    def parent() -> None:
        try:
            step.send_event("tell", "event", "12345678")
        except EventError as error:
            told.append(str(error))
        step.sleep("nap", 5)

    stage.finish(parent)

    assert len(told) == 2
    assert told[0] == told[1]
    assert told[0].startswith("step 'tell': event 'event' (")


def test_a_class_in_place_of_an_event_is_an_error_that_tells_to_declare_one(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", Purchase, timeout=5)  # type: ignore[call-overload]

    fix = r"Purchase is no name of an event: declare one, Event('name', Purchase)"
    assert fix in str(stage.begin(parent).result)
    with pytest.raises(EventError) as caught:
        send_event(Purchase)  # type: ignore[call-overload]
    assert fix in str(caught.value)


@pytest.mark.parametrize("schema", [5, "Unheard", list["Unheard"]])  # type: ignore[name-defined]  # noqa: F821
def test_what_is_no_type_for_pydantic_is_an_error_that_names_the_event(schema: Any) -> None:
    with pytest.raises(EventError, match=r"event 'purchase': .* is no type of data"):
        Event("purchase", schema)


def test_a_store_that_is_away_is_told_with_its_place_and_the_fix(
    stage: Stage, store: WatchedStore
) -> None:
    assert stage.parked() == 0
    store.away = {"emit"}

    with pytest.raises(
        StoreError, match=r"\(ConnectionError: the store is away\): send it again"
    ) as e:
        send_event("event")
    assert isinstance(e.value.__cause__, ConnectionError)
