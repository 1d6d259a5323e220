"""The plain store and the one in Redis give equal answers to equal doings, in any order."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import (
    LISTED,
    NO_SHAPE,
    BatchKind,
    Cancelling,
    Fact,
    History,
    Lists,
    Member,
    MemoryStore,
    Parking,
    Rest,
    Restart,
    RunState,
    ScoreRow,
    SentEvent,
    Store,
    Subscription,
    Watch,
)
from examples.redis_server import own_database, redis_server
from tests.support.standing import StandingStore

_KEEP = 600.0
_PREFIX = "lock-step:"
_RUNS = [RunId("one"), RunId("two"), RunId("{three}:outbox")]
_TASKS = ("charge", "F:charge")

ids = st.sampled_from(_RUNS)
tokens = st.sampled_from(["first", "second", "second.1"])
bodies = st.sampled_from([b"{}", b'{"a":1}', "ä 'quoted'\n".encode()])
# Whole and broken seconds of today's size, where a double has few digits to spare.
times = st.sampled_from([0.0, 1.5, 2.0, 1_790_000_000.123456, 1_790_000_001.0])
steps = st.sampled_from(["charge", "wait", "b\n}:1"])
memos = st.sampled_from([b"null", b'{"result":"1"}', bytes(range(256))])
turns = st.integers(0, 3)
limits = st.integers(1, 3)
keeps = st.sampled_from([0.0, 0.25, 600.0])
names = st.sampled_from(["bought", "left"])
shapes = st.sampled_from([NO_SHAPE, '["a"]', '["b"]'])
values = st.sampled_from(["1", "2"])
subscriptions = st.builds(
    lambda name, shape, value, since, oldest: Subscription(
        name, shape, digest_of(name, shape, value), since, oldest
    ),
    names, shapes, values, times, times,
)  # fmt: skip
parkings = st.builds(
    Parking,
    turn=turns,
    step=steps,
    note=memos,
    token=tokens,
    body=bodies,
    due=times,
    subscription=st.none() | subscriptions,
    early=st.none()
    | st.lists(st.builds(SentEvent, st.sampled_from(["1", "2"]), names, times, memos), max_size=2),
)
events = names.flatmap(
    lambda name: st.builds(
        SentEvent, st.sampled_from([f"{name}-1", f"{name}-2"]), st.just(name), times, memos,
        st.booleans(),
    )
)  # fmt: skip


restarts = st.builds(
    Restart,
    turn=turns,
    step=steps,
    token=tokens,
    body=bodies,
    forgets=st.lists(steps, max_size=2),
    events=st.lists(st.sampled_from(["bought-1", "left-2", "1"]), max_size=2),
    ending=st.sampled_from([b"", b"ending"]),
)
watches = st.builds(
    Watch,
    events=st.lists(st.builds(Cancelling, subscriptions, times | st.just(math.inf)), max_size=2),
    start=st.none() | times,
    finish=st.none() | st.sampled_from([0.5, 2.0, 1_790_000_000.0]),
    start_why=st.just("not started"),
    finish_why=st.just("not finished"),
    begins=st.booleans(),
    has_looked=st.booleans(),
)
rests = st.builds(Rest, ids, tokens, bodies, st.just(_KEEP))


facts = st.builds(
    lambda id, **fields: Fact(id, _TASKS[len(id) % 2], **fields),  # noqa: A006
    id=ids,
    state=st.sampled_from(sorted({*RunState} - {RunState.DROPPED, RunState.UNKNOWN})),
    keep=st.just(_KEEP),
    about=st.sampled_from([b"", b"about", bytes(range(256))]),
    told=st.sampled_from([b"", b"told"]),
    attempt=st.integers(0, 3),
    deferred=st.sampled_from([None, 1.5]),
    started=st.sampled_from([None, 0.5]),
    tags=st.sampled_from([(), ("a=1",)]),
    experiments=st.sampled_from([(), (("exp", "a", RunId("one")),)]),
)
kinds = st.builds(
    BatchKind,
    name=st.sampled_from(["a", "b"]),
    owner=st.sampled_from(["first", "second"]),
    token=tokens,
    head=bodies,
    most=limits,
    most_bytes=st.sampled_from([5, 999]),
    timeout=st.sampled_from([0.5, 2.0]),
)
members = st.builds(Member, st.integers(0, 1), ids, st.sampled_from([b"1\n", b"a line\n"]))
experiments = st.sampled_from(["exp", "b (B)"])
carried = st.dictionaries(experiments, st.tuples(st.just("a"), ids), max_size=2)
scores = st.builds(
    ScoreRow,
    run=st.just(RunId("")),
    name=st.sampled_from(["tone", "it's"]),
    value=st.sampled_from([True, False, 0, 1, 1.0, 0.1]),
    step=st.none() | steps,
    comment=st.sampled_from([None, "why\n"]),
    by=st.none() | ids,
)
keys = st.sampled_from(["", "key", "tone"])


def _without_times(history: History) -> tuple[object, ...]:
    times = (history.deferred, history.published, history.started, history.finished)
    known = [bool(time) for time in times]
    return (history.state, history.attempts, history.about, history.told, known)


def digest_of(name: str, shape: str, value: str) -> str:
    """What stands for the values of an event: its name alone, or nothing if it lacks a value."""
    if shape == NO_SHAPE:
        return name
    return f"{name}{shape}{value}" if value else ""


class LockStep(RuleBasedStateMachine):
    """Does everything twice, and compares."""

    client: ClassVar[Redis]

    def __init__(self) -> None:
        super().__init__()
        for key in self.client.scan_iter(f"{_PREFIX}*"):
            self.client.delete(key)
        self.redis = StandingStore(self.client, _PREFIX)
        self.both: tuple[Store, Store] = (MemoryStore(), self.redis)

    @rule(id=ids, token=tokens, body=bodies, due=times, replaces=st.booleans())
    def stage(self, id: RunId, token: str, body: bytes, due: float, replaces: bool) -> None:
        plain, fast = (
            store.stage(id, token, body, due, _KEEP, replaces=replaces) for store in self.both
        )
        assert plain == fast

    @rule(facts=st.lists(facts, min_size=1, max_size=3))
    def note(self, facts: list[Fact]) -> None:
        for store in self.both:
            store.note(facts)

    @invariant()
    def have_equal_histories(self) -> None:
        plain, fast = (
            [known and _without_times(known) for known in store.histories(_RUNS)]
            for store in self.both
        )
        assert plain == fast
        counted = [store.counts(_TASKS, LISTED) for store in self.both]
        assert counted[0] == counted[1]
        for lists in (Lists(_TASKS), Lists(_TASKS, (RunState.FAILED,)), Lists(tag="a=1")):
            listed = [
                sorted(place.id for place in store.listed(lists, limit=9)) for store in self.both
            ]
            assert listed[0] == listed[1]

    @rule(id=ids, written=st.lists(st.tuples(scores, keys), max_size=3), carried=carried,
          task=st.sampled_from(_TASKS), is_known=st.booleans())  # fmt: skip
    def score(
        self,
        id: RunId,
        written: list[tuple[ScoreRow, str]],
        carried: dict[str, tuple[str, RunId]],
        task: str,
        is_known: bool,
    ) -> None:
        rows = [replace(row, run=id) for row, _ in written]
        keys = [key for _, key in written]
        plain, fast = (
            store.score(rows, keys, task, _KEEP, carried=carried, is_known=is_known)
            for store in self.both
        )
        assert plain == fast

    @rule(id=ids, experiment=experiments, variant=st.sampled_from(["a", "b"]), open_for=keeps)
    def assign(self, id: RunId, experiment: str, variant: str, open_for: float) -> None:
        for_long = _KEEP if open_for else 0.0
        plain, fast = (
            store.assign(id, experiment, variant, _KEEP, for_long) for store in self.both
        )
        assert plain == fast

    @invariant()
    def have_equal_scores(self) -> None:
        plain, fast = self.both
        told = [
            [[replace(row, at=0.0) for row in rows] for rows in store.scores_of(_RUNS)]
            for store in self.both
        ]
        assert told[0] == told[1]
        for list_of in (
            *(lambda store, task=task: store.scored(task, limit=9) for task in (None, *_TASKS)),
            lambda store: store.orphans(limit=9),
        ):
            assert [each.id for each in list_of(plain)] == [each.id for each in list_of(fast)]
        assert plain.experiments() == fast.experiments()
        for name in ("exp", "b (B)"):
            assert sorted(plain.assigned(name)) == sorted(fast.assigned(name))
            assert sorted(map(repr, plain.values(name))) == sorted(map(repr, fast.values(name)))
            assert sorted(plain.scored_in(name)) == sorted(fast.scored_in(name))
            assert plain.open_runs(name) == fast.open_runs(name)
            assert plain.unsampled(name) == fast.unsampled(name)

    @rule(id=ids, token=st.none() | tokens)
    def settle(self, id: RunId, token: str | None) -> None:
        for store in self.both:
            store.settle(id, token)

    @rule(now=times, until=times, limit=limits)
    def take(self, now: float, until: float, limit: int) -> None:
        plain, fast = (store.take(now, until, limit) for store in self.both)
        assert plain == fast

    @rule(id=ids, token=tokens, due=times, body=st.none() | bodies)
    def postpone(self, id: RunId, token: str, due: float, body: bytes | None) -> None:
        for store in self.both:
            store.postpone(id, token, due, body)

    @rule(id=ids, token=tokens, reason=st.text(max_size=5))
    def quarantine(self, id: RunId, token: str, reason: str) -> None:
        for store in self.both:
            store.quarantine(id, token, reason, _KEEP)

    @rule(id=ids, token=tokens, body=bodies, due=times)
    def release(self, id: RunId, token: str, body: bytes, due: float) -> None:
        plain, fast = (store.release(id, token, body, due, _KEEP) for store in self.both)
        assert plain == fast

    @rule(id=ids)
    def discard(self, id: RunId) -> None:
        plain, fast = (store.discard(id) for store in self.both)
        assert plain == fast

    @rule(id=ids, now=times)
    def hasten(self, id: RunId, now: float) -> None:
        plain, fast = (store.hasten(id, now) for store in self.both)
        assert plain == fast

    @rule(id=ids, restart=restarts, due=times)
    def restart(self, id: RunId, restart: Restart, due: float) -> None:
        turn = self.redis.recall(id, None, _KEEP).turn
        for each in (restart, replace(restart, turn=turn)):
            plain, fast = (store.restart(id, each, due, _KEEP) for store in self.both)
            assert plain == fast

    @rule(kinds=st.tuples(kinds, kinds), members=st.lists(members, max_size=4), now=times,
          until=times)  # fmt: skip
    def gather(
        self, kinds: tuple[BatchKind, BatchKind], members: list[Member], now: float, until: float
    ) -> None:
        pair = [replace(kind, name=f"{kind.name}{at}") for at, kind in enumerate(kinds)]
        plain, fast = (
            store.gather(pair, members, now=now, until=until, keep=_KEEP, claims=_KEEP)
            for store in self.both
        )
        assert plain == fast

    @rule(id=ids, owner=tokens)
    def withdraw(self, id: RunId, owner: str) -> None:
        plain, fast = (store.withdraw(id, owner, b"-", _KEEP) for store in self.both)
        assert plain == fast

    @rule(id=ids, owner=tokens, settles=st.booleans())
    def claim(self, id: RunId, owner: str, settles: bool) -> None:
        plain, fast = (store.claim(id, owner, _KEEP, settles=settles) for store in self.both)
        assert plain == fast

    @rule(runs=st.lists(st.tuples(ids, tokens, times), max_size=3))
    def expect(self, runs: list[tuple[RunId, str, float]]) -> None:
        for store in self.both:
            store.expect(runs)

    @rule(id=ids, now=st.none() | times)
    def recall(self, id: RunId, now: float | None) -> None:
        plain, fast = (store.recall(id, now, _KEEP) for store in self.both)
        assert plain == fast

    @rule(id=ids, turn=turns, owner=tokens)
    def resume(self, id: RunId, turn: int, owner: str) -> None:
        plain, fast = (store.resume(id, turn, owner, _KEEP) for store in self.both)
        assert plain == fast

    @rule(id=ids, memos=st.dictionaries(steps, memos, min_size=1))
    def remember(self, id: RunId, memos: dict[str, bytes]) -> None:
        plain, fast = (store.remember(id, memos, _KEEP) for store in self.both)
        assert plain == fast

    @rule(id=ids, parking=parkings, now=times)
    def park(self, id: RunId, parking: Parking, now: float) -> None:
        plain, fast = (store.park(id, parking, now, _KEEP) for store in self.both)
        assert plain == fast

    @rule(id=ids, parking=parkings, now=times)
    def park_in_its_turn(self, id: RunId, parking: Parking, now: float) -> None:
        turn = self.redis.recall(id, None, _KEEP).turn
        self.park(id, replace(parking, turn=turn), now)

    @rule(id=ids, until=times, only_parked=st.booleans())
    def cancel(self, id: RunId, until: float, only_parked: bool) -> None:
        plain, fast = (
            store.cancel(id, _KEEP, until, only_parked=only_parked) for store in self.both
        )
        assert plain == fast

    @rule(id=ids, watch=watches, now=times)
    def watch(self, id: RunId, watch: Watch, now: float) -> None:
        plain, fast = (store.watch(id, watch, now, _KEEP) for store in self.both)
        assert plain == fast

    @rule(id=ids)
    def unwatch(self, id: RunId) -> None:
        for store in self.both:
            store.unwatch(id, _KEEP)

    @rule(event=events, known=st.lists(shapes, unique=True), value=values | st.just(""),
          now=times, until=times, limit=limits, keep=keeps, most=limits,
          rest=st.none() | rests)  # fmt: skip
    def emit(
        self,
        event: SentEvent,
        known: list[str],
        value: str,
        now: float,
        until: float,
        limit: int,
        keep: float,
        most: int,
        rest: Rest | None,
    ) -> None:
        for _ in range(2):  # as a sender does who is told the shapes
            digests = {shape: digest_of(event.name, shape, value) for shape in [NO_SHAPE, *known]}
            plain, fast = (
                store.emit(
                    event,
                    digests,
                    now=now,
                    until=until,
                    limit=limit,
                    keep=keep,
                    most=most,
                    rest=rest,
                )
                for store in self.both
            )
            assert plain == fast
            known = list(fast.unknown_shapes or ())

    @rule(
        name=names, shape=shapes, value=values, since=times, before=times, skip=limits, limit=limits
    )
    def past(
        self, name: str, shape: str, value: str, since: float, before: float, skip: int, limit: int
    ) -> None:
        digest = digest_of(name, shape, value)
        plain, fast = (
            store.past(name, digest, since, before, skip=skip, limit=limit) for store in self.both
        )
        assert plain == fast

    @rule(id=ids, step=steps, now=times, until=times)
    def arrive(self, id: RunId, step: str, now: float, until: float) -> None:
        plain, fast = (store.arrive(id, step, now, until) for store in self.both)
        assert plain == fast

    @invariant()
    def they_show_the_same(self) -> None:
        plain, fast = self.both
        assert [plain.waiting(), plain.waiting(1.5)] == [fast.waiting(), fast.waiting(1.5)]
        assert plain.next_due() == fast.next_due()
        assert plain.quarantined() == fast.quarantined()
        # Those that are due at one time are in no order.
        for store in self.both:
            assert len(store.peek(2)) == min(store.waiting(), 2)

    def teardown(self) -> None:
        """What is left in the end expires, or is an index of what does."""
        keys = {key.decode() for key in self.client.scan_iter(f"{_PREFIX}*")}
        lasting = {key for key in keys if int(self.client.ttl(key)) < 0}  # type: ignore[arg-type]
        assert lasting <= {f"{_PREFIX}due", f"{_PREFIX}waits"}
        assert self.client.zcard(f"{_PREFIX}due") == self.both[0].waiting()
        self.none_waits_who_is_not_parked()

    def none_waits_who_is_not_parked(self) -> None:
        waiting = self.client.zrange(f"{_PREFIX}waits", 0, -1)
        assert set(waiting) <= set(self.client.zrange(f"{_PREFIX}due", 0, -1))


@pytest.fixture(scope="module", autouse=True)
def _redis() -> Iterator[None]:
    with redis_server() as server, own_database(server) as url, Redis.from_url(url) as client:
        LockStep.client = client
        yield


TestLockStep = LockStep.TestCase
TestLockStep.settings = settings(
    max_examples=int(os.environ.get("DEFER_MODEL_EXAMPLES", "150")),
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
