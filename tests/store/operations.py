"""Each operation of a store, asked once; one that is not here fails a test."""

from __future__ import annotations

from collections.abc import Callable

from celery_defer.flow import Ask, Gate, Kind
from celery_defer.ids import RunId
from celery_defer.store import Fact, Lists, RedisStore, Restart, RunState, ScoreRow, Watch
from celery_defer.store.values import Hold, Holding
from celery_defer.testing.store_contract.shorthand import (
    KEEP,
    emit,
    event,
    gather,
    park,
    past,
    stage,
    wait_for,
)

__all__ = ["LOCAL", "OPERATIONS"]

_RUN = RunId("run")
_GATE = Gate(Kind.CONCURRENCY, "concurrency")
_ASK = Ask("task", _RUN, "owner", (_GATE,), lease=30)
_HOLDING = Holding(0, "token", b"body", 99)

#: By the name of the store's method.
OPERATIONS: dict[str, Callable[[RedisStore], object]] = {
    "stage": lambda store: stage(store, "run", due=10),
    "settle": lambda store: store.settle(_RUN, "token"),
    "expect": lambda store: store.expect([(_RUN, "token", 99)]),
    "take": lambda store: store.take(10, 20, 9),
    "postpone": lambda store: store.postpone(_RUN, "token", 9),
    "quarantine": lambda store: store.quarantine(_RUN, "token", "bad", KEEP),
    "quarantined": lambda store: store.quarantined(),
    "waiting": lambda store: store.waiting(),
    "depth": lambda store: store.depth(10),
    "risks": lambda store: store.risks(),
    "peek": lambda store: store.peek(9),
    "details": lambda store: store.details(),
    "claim": lambda store: store.claim(_RUN, "owner", KEEP),
    "turn": lambda store: store.turn(_RUN),
    "recall": lambda store: store.recall(_RUN, 10, KEEP),
    "resume": lambda store: store.resume(_RUN, 0, "owner", KEEP),
    "remember": lambda store: store.remember(_RUN, {"charge": b"memo"}, KEEP),
    "expire": lambda store: store.expire(_RUN, 0, KEEP),
    "park": lambda store: park(store, wait=wait_for()),
    "give_up": lambda store: store.give_up(_RUN, "wait", wait_for(), b"nothing", KEEP),
    "cancel": lambda store: store.cancel(_RUN, KEEP, 9e9),
    "next_due": lambda store: store.next_due(),
    "emit": lambda store: emit(store, event()),
    "past": past,
    "release": lambda store: store.release(_RUN, "token", b"body", 9, KEEP),
    "discard": lambda store: store.discard(_RUN),
    "hasten": lambda store: store.hasten(_RUN, 9),
    "restart": lambda store: store.restart(_RUN, Restart(0, "wait", "token", b"body"), 9, KEEP),
    "histories": lambda store: store.histories([_RUN]),
    "note": lambda store: store.note([Fact(_RUN, "task", RunState.RUNNING, KEEP, b"{}")]),
    "tasks": lambda store: store.tasks(),
    "listed": lambda store: store.listed(Lists(("task",)), limit=9),
    "counts": lambda store: store.counts(["task"], [RunState.RUNNING]),
    "score": lambda store: store.score([ScoreRow(_RUN, "tone", 1.0)], [""], "task", KEEP),
    "assign": lambda store: store.assign(_RUN, "exp", "a", KEEP, KEEP),
    "scores_of": lambda store: store.scores_of([_RUN]),
    "scored": lambda store: store.scored("task", limit=9),
    "orphans": lambda store: store.orphans(limit=9),
    "experiments": lambda store: store.experiments(),
    "assigned": lambda store: list(store.assigned("exp")),
    "values": lambda store: list(store.values("exp")),
    "scored_in": lambda store: list(store.scored_in("exp")),
    "open_runs": lambda store: store.open_runs("exp"),
    "unsampled": lambda store: store.unsampled("exp"),
    "watch": lambda store: store.watch(_RUN, Watch(finish=9), 10, KEEP),
    "unwatch": lambda store: store.unwatch(_RUN, KEEP),
    "gather": lambda store: gather(store, "run"),
    "withdraw": lambda store: store.withdraw(_RUN, "aborted", b"-", KEEP),
    "hold": lambda store: store.hold(_ASK, _HOLDING, now=9, until=20, keep=KEEP),
    "give_back": lambda store: store.give_back(
        _RUN, "task", (_GATE,), "owner", ended=False, now=9, until=20, limit=9
    ),
    "renew": lambda store: store.renew([Hold("task", _RUN, "owner", (_GATE,))], 30),
    "drain": lambda store: store.drain(9, 20, 9),
    "flow_due": lambda store: store.flow_due(),
    "keep_limits": lambda store: store.keep_limits({"task": []}),
    "set_limit": lambda store: store.set_limit("task", "concurrency", {"limit": 2}),
    "pause": lambda store: store.pause("task", is_paused=True),
    "flow": lambda store: store.flow(["task"]),
    "in_line": lambda store: store.in_line([_RUN]),
    "arrive": lambda store: store.arrive(_RUN, "wait", 20, 30),
}
#: They do not raise if the server is away.
LOCAL = {"expiry", "unwatching", "facts", "giving", "refusal", "reaches", "alarm"}
