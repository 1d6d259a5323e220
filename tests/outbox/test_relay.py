"""Rules 5.1 to 5.3: what becomes of a record that no worker has settled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from celery import Celery

from celery_defer import run_id
from celery_defer.ids import RunId
from celery_defer.model import HEADER, Call, Options, Outcome
from celery_defer.outbox import DeferredCalls, ParkedRun, pack
from celery_defer.outbox.plan import (
    ContinueFanOut,
    Drop,
    Postpone,
    Publish,
    Quarantine,
    WakeRun,
    plan,
)
from celery_defer.outbox.records import SPARE, FanOut, Record
from celery_defer.outbox.relay import LEASE, LIMIT, Relay
from celery_defer.store import Leased, SentEvent
from tests.support.inside import WatchedStore, Worker, ids_of

NOW = 1_000.0
KEEP = 600.0

pytestmark = pytest.mark.usefixtures("ship")


def a_record(*calls: Call, parent: str = "parent", **changes: Any) -> DeferredCalls:
    kept = DeferredCalls(
        parent=RunId(parent),
        root=RunId("root"),
        task="process",
        depth=0,
        verdict=None,
        at=NOW,
        inherited={},
        calls=calls or (call(),),
    )
    return replace(kept, **changes)


def call(id: str = "ship", task: str = "ship", n: int = 1, **options: Any) -> Call:
    return Call(id, task, b'[[],{"n":%d}]' % n, NOW, Options(**options))


def taken(kept: DeferredCalls, tries: int = 1) -> Leased:
    return Leased(kept.parent, "token", pack(kept), tries)


# -- plan ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "outcome"), [("SUCCESS", Outcome.SUCCESS), ("FAILURE", Outcome.FAILURE)]
)
def test_the_stored_state_of_the_parent_decides(state: str, outcome: Outcome) -> None:
    kept = a_record()

    assert plan(NOW, taken(kept), KEEP, lambda *_: state) == Publish(kept, outcome)


@pytest.mark.parametrize("outcome", Outcome)
def test_5_1_a_parent_that_keeps_no_result_is_judged_by_its_record(outcome: Outcome) -> None:
    kept = a_record(verdict=outcome)

    def state_of(id: str, task: str) -> str:
        raise AssertionError(f"nobody need read the state of {id}")

    assert plan(NOW, taken(kept), KEEP, state_of) == Publish(kept, outcome)


def test_what_a_revoked_parent_deferred_is_dropped() -> None:
    action = plan(NOW, taken(a_record()), KEEP, lambda *_: "REVOKED")

    assert action == Drop("its parent was revoked")


@pytest.mark.parametrize("state", ["PENDING", "RECEIVED", "STARTED", "RETRY", "PROGRESS"])
@pytest.mark.parametrize(("tries", "pause"), [(1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (99, 60)])
def test_a_parent_that_has_not_ended_is_waited_for_ever_longer(
    state: str, tries: int, pause: float
) -> None:
    action = plan(NOW, taken(a_record(), tries), KEEP, lambda *_: state)

    assert action == Postpone(NOW + pause)


def test_a_parent_may_be_waited_for_as_often_as_a_week_of_minutes_takes() -> None:
    action = plan(NOW, taken(a_record(), tries=7 * 24 * 60), KEEP, lambda *_: "RETRY")

    assert action == Postpone(NOW + 60)


@pytest.mark.parametrize(("left", "kind"), [(SPARE + 1, Postpone), (SPARE, Drop)])
def test_a_parent_is_waited_for_as_long_as_records_are_kept(left: float, kind: type) -> None:
    lease = replace(taken(a_record()), left=left)

    assert isinstance(plan(NOW, lease, KEEP, lambda *_: "STARTED"), kind)


def test_no_record_is_dropped_because_a_clock_is_wrong() -> None:
    action = plan(NOW + 99 * KEEP, taken(a_record()), KEEP, lambda *_: "STARTED")

    assert action == Postpone(NOW + 99 * KEEP + 2)


def test_a_verdict_is_good_however_old_the_record_is() -> None:
    kept = a_record()

    assert plan(NOW + 9 * KEEP, taken(kept), KEEP, lambda *_: "SUCCESS") == Publish(
        kept, Outcome.SUCCESS
    )


def test_what_the_store_cannot_read_is_quarantined() -> None:
    action = plan(NOW, Leased(RunId("x"), "", b"other", 1), KEEP, lambda *_: "SUCCESS")

    assert action == Quarantine("the record cannot be read: its key holds b'other'")


def test_what_is_no_record_is_quarantined() -> None:
    action = plan(NOW, Leased(RunId("x"), "token", b"garbage", 1), KEEP, lambda *_: "SUCCESS")

    assert isinstance(action, Quarantine)
    assert action.reason.startswith("the record cannot be read: ")


A_PARKED_RUN = ParkedRun(RunId("nap"), "nap", 1, options={"root_id": "nap"})
AN_EVENT = SentEvent("id", "paid", NOW, b"{}")
OF_EACH_KIND = [a_record(verdict=Outcome.SUCCESS), A_PARKED_RUN, FanOut(AN_EVENT)]


def of_a_later_version(record: Record) -> bytes:
    """A record that a worker of a later release has left."""
    tag, _version, *_ = pack(record)
    return bytes([tag, 2]) + b"whatever is in there"


@pytest.mark.parametrize("record", OF_EACH_KIND)
@pytest.mark.parametrize("tries", [1, 99])
def test_a_record_of_a_later_version_is_left_alone(record: Record, tries: int) -> None:
    lease = Leased(RunId("x"), "token", of_a_later_version(record), tries)

    assert plan(NOW + 9 * KEEP, lease, KEEP, lambda *_: "REVOKED") == Postpone(NOW + 9 * KEEP + 60)


def test_a_record_with_a_tag_that_is_not_known_is_quarantined() -> None:
    lease = Leased(RunId("x"), "token", b"Z" + pack(A_PARKED_RUN)[1:], 1)

    assert isinstance(plan(NOW, lease, KEEP, lambda *_: "SUCCESS"), Quarantine)


@pytest.mark.parametrize(
    ("record", "action"),
    [(A_PARKED_RUN, WakeRun(A_PARKED_RUN)), (FanOut(AN_EVENT), ContinueFanOut(AN_EVENT))],
)
def test_what_waits_for_no_parent_goes_on_when_it_is_due(record: Record, action: Any) -> None:
    lease = Leased(RunId("nap"), "token", pack(record), 1)

    assert plan(NOW, lease, KEEP, lambda *_: "PENDING") == action


@pytest.mark.parametrize(
    ("state", "left", "expected"),
    [
        ("STARTED", 10, Postpone(NOW + 2)),
        ("STARTED", 1, Postpone(NOW + 1)),
        ("STARTED", 0, WakeRun),
        ("SUCCESS", 10, WakeRun),
        ("FAILURE", 10, WakeRun),
        ("REVOKED", 10, WakeRun),
    ],
)
def test_a_run_that_has_invoked_another_waits_for_its_end_or_for_its_own_time(
    state: str, left: float, expected: Any
) -> None:
    run = replace(A_PARKED_RUN, child=("child", "bill"))
    lease = Leased(run.id, "token", pack(run), 1, left=KEEP + left)

    action = plan(NOW, lease, KEEP, lambda *asked: state if asked == run.child else "")

    assert action == (WakeRun(run) if expected is WakeRun else expected)


# -- tick ---------------------------------------------------------------------------------


@pytest.fixture
def relay(app: Celery, store: WatchedStore) -> Relay:
    return relay_of(app, store)


def relay_of(app: Celery, store: Any) -> Relay:
    return Relay(app, store, app._celery_defer.settings)


def stage(store: Any, kept: DeferredCalls, due: float = NOW) -> None:
    store.stage(kept.parent, f"token of {kept.parent}", pack(kept), due, KEEP + SPARE)


def end(app: Celery, parent: str, state: str = "SUCCESS") -> None:
    app.backend.store_result(parent, None, state)


def test_a_successful_parents_calls_are_published(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    stage(store, a_record(call("a", n=1), call("b", n=2), call("c", when="failure")))
    end(app, "parent")

    assert relay.tick(NOW) == 1

    messages = worker.published()
    assert [m.headers["id"] for m in messages] == [run_id("parent", "a"), run_id("parent", "b")]
    assert {(m.headers["parent_id"], m.headers["root_id"]) for m in messages} == {
        ("parent", "root")
    }
    assert store.waiting() == 0


def test_a_failed_parents_calls_are_those_that_wait_for_it(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    stage(store, a_record(call("a"), call("b", when="failure"), call("c", when="always")))
    end(app, "parent", "FAILURE")

    relay.tick(NOW)

    assert ids_of(worker.published()) == ["b", "c"]
    assert store.waiting() == 0


def test_each_publication_bears_another_token(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    stage(store, a_record())
    end(app, "parent")
    store.away = {"settle", "postpone"}
    with pytest.raises(ConnectionError):
        relay.tick(NOW)
    store.away = set()

    relay.tick(NOW + LEASE)

    first, second = worker.published()
    assert first.headers["id"] == second.headers["id"]
    assert first.headers[HEADER]["token"] != second.headers[HEADER]["token"]


def test_a_revoked_parents_record_is_dropped_with_a_word(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker, caplog: Any
) -> None:
    stage(store, a_record())
    end(app, "parent", "REVOKED")

    relay.tick(NOW)

    assert worker.published() == []
    assert store.waiting() == 0
    assert "what run parent deferred is dropped: its parent was revoked" in caplog.text


def test_a_running_parent_is_looked_at_again_with_growing_pauses(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    stage(store, a_record())
    looks, now = [], NOW
    while now < NOW + 200:
        if relay.tick(now):
            looks.append(now - NOW)
        now += 1

    assert looks == [0, 2, 6, 14, 30, 62, 122, 182]
    end(app, "parent")
    assert relay.tick(NOW + 242) == 1
    assert ids_of(worker.published()) == ["ship"]


def test_a_broker_that_is_away_is_not_tried_for_each_record(
    nowhere: Celery, store: WatchedStore, caplog: Any
) -> None:
    for n in range(3):
        stage(store, a_record(parent=f"parent-{n}"), due=NOW - 3 + n)
        end(nowhere, f"parent-{n}")
    relay = relay_of(nowhere, store)

    assert relay.tick(NOW) == 3

    for minute in range(5):
        assert relay.tick(NOW + 60 * minute) == 0

    assert caplog.text.count("the broker is away: ") == 1
    assert store.waiting() == 3


def test_large_records_are_published_a_few_at_a_time(
    relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    for n in range(10):
        large = replace(call(), payload=b'[[],{"n":1}]' + b" " * 2**20)
        stage(store, a_record(large, parent=f"parent-{n}", verdict=Outcome.SUCCESS))

    counts = list(iter(lambda: relay.tick(NOW), 0))

    assert sum(counts) == len(worker.published()) == 10
    assert max(counts) < 5


def test_when_the_broker_is_back_the_relay_says_so_once_and_publishes(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    stage(store, a_record(verdict=Outcome.SUCCESS))
    relay.broker.begins()

    assert [relay.tick(NOW), relay.tick(NOW)] == [1, 0]

    assert caplog.text.count("the broker is back") == 1
    assert ids_of(worker.published()) == ["ship"]


def test_results_that_cannot_be_read_are_told_of_once(
    app: Celery, relay: Relay, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(20):
        stage(store, a_record(parent=f"parent-{n}"))
        app.backend.set(app.backend.get_key_for_task(f"parent-{n}"), b"garbage")

    for minute in range(3):
        assert relay.tick(NOW + 60 * minute) == 20

    assert len(caplog.records) == 1
    assert caplog.text.count("\n") == 1


def test_the_parents_end_is_kept_with_what_could_not_be_published(
    app: Celery, nowhere: Celery, store: WatchedStore, worker: Worker
) -> None:
    calls = (call("a"), call("b", when="failure"))
    stage(store, a_record(*calls))
    end(nowhere, "parent", "FAILURE")
    relay_of(nowhere, store).tick(NOW)
    nowhere.backend.forget("parent")

    assert relay_of(app, store).tick(NOW + 2) == 1

    assert ids_of(worker.published()) == ["b"]
    assert store.waiting() == 0


def test_an_unreadable_record_is_put_aside_and_holds_back_no_other(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker, caplog: Any
) -> None:
    store.stage(RunId("bad"), "token", b"\xff garbage", NOW - 1, KEEP)
    stage(store, a_record())
    end(app, "parent")

    relay.tick(NOW)

    assert ids_of(worker.published()) == ["ship"]
    (entry,) = store.quarantined()
    assert entry.id == "bad"
    assert "cannot be read" in entry.reason
    assert "what run bad deferred is quarantined: the record cannot be read" in caplog.text


@pytest.mark.parametrize("record", OF_EACH_KIND)
def test_a_relay_leaves_a_record_of_a_later_version_where_it_is(
    relay: Relay, store: WatchedStore, worker: Worker, record: Record
) -> None:
    body = of_a_later_version(record)
    store.stage(RunId("later"), "token", body, NOW, 9 * KEEP)

    for minute in range(20):
        relay.tick(NOW + minute * 60)

    assert (worker.published(), store.quarantined()) == ([], [])
    (lease,) = store.take(NOW + 20 * 60, NOW + 21 * 60, LIMIT)
    assert (lease.id, lease.token, lease.body) == ("later", "token", body)


@pytest.mark.parametrize("record", OF_EACH_KIND)
def test_a_record_of_a_version_that_nobody_reads_any_more_is_put_aside_and_not_dropped(
    relay: Relay, store: WatchedStore, record: Record
) -> None:
    tag, _version, *rest = pack(record)
    body = bytes([tag, 0, *rest])
    store.stage(RunId("old"), "token", body, NOW, KEEP)

    relay.tick(NOW)

    assert [(entry.id, entry.body) for entry in store.quarantined()] == [("old", body)]


def test_a_relay_puts_a_record_aside_whose_tag_is_not_known(
    relay: Relay, store: WatchedStore
) -> None:
    store.stage(RunId("odd"), "token", b"Z\x01{}", NOW, KEEP)

    relay.tick(NOW)

    (entry,) = store.quarantined()
    assert (entry.id, entry.body) == ("odd", b"Z\x01{}")
    assert store.waiting() == 0


def test_a_call_of_an_unknown_task_is_put_aside_and_the_others_go(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    """Not at once: another worker may know it, as while a new version is rolled out."""
    stage(store, a_record(call("gone", "gone"), call("ship")))
    end(app, "parent")

    for minute in range(5):
        relay.tick(NOW + minute * 60)
        assert store.quarantined() == []
    relay.tick(NOW + 5 * 60)

    assert ids_of(worker.published()) == ["ship"]
    (entry,) = store.quarantined()
    assert entry.id == "parent"
    assert entry.reason == "cannot be published: 'gone' (gone): no worker has its task"
    assert store.waiting() == 0


@pytest.mark.parametrize("verdict", [None, Outcome.SUCCESS])
def test_an_unknown_task_has_its_minutes_however_long_its_record_has_waited(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker, verdict: Outcome | None
) -> None:
    """For a parent that ran for hours, or for workers that were all switched off."""
    stage(store, a_record(call("gone", "gone"), verdict=verdict))
    for _ in range(20):  # looks
        store.take(NOW, NOW, LIMIT)
    end(app, "parent")

    relay.tick(NOW + KEEP)
    assert store.quarantined() == []
    relay.tick(NOW + KEEP + 299)
    assert store.quarantined() == []
    relay.tick(NOW + KEEP + 360)

    assert [entry.id for entry in store.quarantined()] == ["parent"]


@pytest.mark.parametrize(
    "payload", [b"garbage", b"", b"1", b"{}", b"[]", b"[1,{}]", b"[[],[1]]", b"[[],{},[]]"]
)
def test_a_payload_that_no_message_can_carry_is_put_aside_and_holds_back_no_other(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker, payload: bytes
) -> None:
    bad = replace(call("bad"), payload=payload)
    stage(store, a_record(bad, parent="a-bad-one"), due=NOW - 1)
    stage(store, a_record(parent="good"))
    end(app, "a-bad-one")
    end(app, "good")

    relay.tick(NOW)

    assert [m.headers["parent_id"] for m in worker.published()] == ["good"]
    assert [entry.id for entry in store.quarantined()] == ["a-bad-one"]


def test_a_reason_names_the_calls_and_what_their_messages_raise(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> None:
        if kwargs["n"] > 1:
            raise LookupError("no such tenant")

    app.conf.task_routes = (route,)
    stage(store, a_record(call("bad", n=2), call("good"), call("worse", n=3)))
    end(app, "parent")

    relay.tick(NOW)

    assert ids_of(worker.published()) == ["good"]
    (entry,) = store.quarantined()
    whole = "cannot be published: 'bad' (ship), 'worse' (ship): LookupError('no such tenant')"
    assert entry.reason == whole
    assert whole in str(app.AsyncResult(run_id("parent", "bad")).result)


def test_a_run_that_cannot_be_woken_is_put_aside_with_what_its_message_raises(
    app: Celery, relay: Relay, store: WatchedStore
) -> None:
    def route(*_: Any, **__: Any) -> None:
        raise LookupError("no such tenant")

    app.conf.task_routes = (route,)
    body = pack(ParkedRun(RunId("parked"), "ship", 1))
    store.stage(RunId("parked"), "token", body, NOW, KEEP)

    for minute in range(10):
        relay.tick(NOW + minute * 60)

    (entry,) = store.quarantined()
    assert entry.reason == "its message cannot be made: LookupError('no such tenant')"


def test_a_parent_whose_result_cannot_be_read_holds_back_no_other(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    for parent in ("a-bad-one", "good"):
        stage(store, a_record(parent=parent))
    app.backend.set(app.backend.get_key_for_task("a-bad-one"), b"garbage")
    end(app, "good")

    for tick in range(3):
        tick_anyway(relay, NOW + tick * LEASE)

    assert [m.headers["parent_id"] for m in worker.published()] == ["good"]


def tick_anyway(relay: Relay, now: float) -> None:
    """Do as the relay's thread does: what a tick raises is logged, and the next tick comes."""
    try:
        relay.tick(now)
    except Exception as error:
        print(f"the tick raised {error!r}")


def test_two_relays_share_the_work(app: Celery, store: WatchedStore, worker: Worker) -> None:
    first, second = relay_of(app, store), relay_of(app, store)
    for n in range(LIMIT + 5):
        stage(store, a_record(parent=f"parent-{n}", verdict=Outcome.SUCCESS))

    assert [first.tick(NOW), second.tick(NOW), first.tick(NOW)] == [LIMIT, 5, 0]

    messages = worker.published()
    assert len({message.headers["id"] for message in messages}) == len(messages) == LIMIT + 5


def test_a_relay_that_dies_leaves_its_share_to_another(
    app: Celery, store: WatchedStore, worker: Worker
) -> None:
    stage(store, a_record(verdict=Outcome.SUCCESS))
    store.take(NOW, NOW + LEASE, LIMIT)  # and then it was killed

    relay = relay_of(app, store)

    assert relay.tick(NOW + LEASE - 1) == 0
    assert relay.tick(NOW + LEASE) == 1
    assert ids_of(worker.published()) == ["ship"]


def test_what_is_not_due_is_left(app: Celery, relay: Relay, store: WatchedStore) -> None:
    stage(store, a_record(verdict=Outcome.SUCCESS), due=NOW + 1)

    assert relay.tick(NOW) == 0
    assert store.waiting() == 1


def test_5_2_a_worker_lost_between_success_and_signal_loses_nothing(
    app: Celery, relay: Relay, store: WatchedStore, worker: Worker
) -> None:
    stage(store, a_record())

    assert relay.tick(NOW) == 1
    assert worker.published() == []
    end(app, "parent")
    relay.tick(NOW + 2)

    (message,) = worker.published()
    worker.trace(message)
    assert app.AsyncResult(run_id("parent", "ship")).get() == 1
