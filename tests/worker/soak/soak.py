"""One soak from its seed to its report."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from celery.states import READY_STATES
from redis import Redis

from celery_defer import send_event
from celery_defer.store import RedisStore
from tests.worker.soak.app import PREFIX, QUEUE, app, journey, tell_publications, teller
from tests.worker.soak.events import EVENTS, Event, Plan, draw, kinds
from tests.worker.soak.journeys import (
    EVENT,
    LOST,
    Journey,
    JourneyVerdict,
    draw_journey,
    judge_journeys,
)
from tests.worker.soak.verdict import State, Verdict, judge
from tests.worker.soak.workers import Fleet, fleet

__all__ = ["QUICK", "Report", "Size", "soak"]

#: So many messages wait at most: a longer queue would only make the end late.
_QUEUED = 100
_DRAIN_SECONDS = 60
#: Nothing has happened for so long: longer than a worker's start, than kombu's time-out.
_QUIET_SECONDS = 3.0
_TOGETHER = 500
#: How many of all runs have steps; how often an event is sent; for which of the last waits.
_JOURNEYS = 0.3
_EVENTS = 0.5
_AWAITED = 60
# Keys that stay for a while: of who waits for an event, none may be left.
_OF_A_RUN = (":owner", ":outbox", ":run")
_OF_EVENTS = ("came:", "shapes:", "event-id:")
_OF_RECORDS = ("log:", "runs:", "tag:")


@dataclass(frozen=True, slots=True)
class Size:
    """Seconds of load under fire, and between two kills on the average."""

    seconds: float
    between_kills: float = 0.3


#: Half a minute in all.
QUICK = Size(seconds=8)


@dataclass
class Report:
    """What a soak has found."""

    seed: int
    verdict: Verdict
    journeys: JourneyVerdict
    kills: dict[str, int]
    logged: dict[str, int]
    #: Records of runs that Celery has lost before it stored a result; they expire.
    abandoned: int = 0
    violations: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"seed {self.seed}"
        groups = [
            ("parents", self.verdict.parents),
            ("deferred runs", self.verdict.runs),
            ("runs with steps", self.journeys.runs),
            ("kills", self.kills),
            ("in the logs", self.logged),
        ]
        for title, counts in groups:
            has_sum = title not in {"in the logs", "runs with steps"}
            yield f"{title}: {sum(counts.values()) if has_sum else ''}".rstrip(": ")
            yield from (f"  {count:>7}  {name}" for name, count in sorted(counts.items()))
        yield f"records of parents that Celery has lost, which expire: {self.abandoned}"
        yield f"violations: {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations)


#: Celery logs it and goes on, so that the soak would test less than it says.
_RAISED = "receivers of signals that raised"


def soak(url: str, seed: int, size: Size, keep_logs: Path | None = None) -> Report:
    """Load and kill workers on the empty Redis database at *url*; judge what came of it."""
    random = Random(seed)
    app.conf.update(broker_url=url, result_backend=url)
    tell_publications()  # who sends an event publishes the wake-ups
    with Redis.from_url(url) as client:
        with fleet(url, random, keep_logs) as workers:
            load = Load(random)
            _load_and_kill(client, workers, load, size)
            sent = load.plans
            runs = {run: kind for id, plan in sent.items() for run, kind in kinds(id, plan)}
            stuck = _drain(client, workers, runs)
            workers.stop()
            logged = workers.count_in_logs(
                **{
                    "records published by a relay": "the relay has published",
                    "duplicates refused": "this message is ignored",
                    "errors logged by the package": ": ERROR/MainProcess] celery_defer",
                    "successes whose worker was lost": "succeeded before the worker was lost",
                    _RAISED: "Signal handler <",
                }
            )
        events = [Event.unpack(body) for body in client.lrange(EVENTS, 0, -1)]
        states = _states(client, {event.id for event in events} | sent.keys())
        own = [event for event in events if event.id not in load.journeys]
        verdict = judge(sent, own, states, workers.killed)
        journeys = judge_journeys(load.journeys, events, states, load.woken)
        abandoned = RedisStore(client, PREFIX).waiting()
        workers.kills.update(event.id for event in events if event.kind == "killed")
        whole = sum(count for kind, count in workers.kills.items() if kind.startswith("whole"))
        violations = [
            *verdict.violations,
            *journeys.violations,
            *stuck,
            *_left_behind(client, runs),
            *(["a receiver of signals has raised"] if logged[_RAISED] else []),
            *_lost_in_kombu(verdict.runs[LOST] + journeys.runs[LOST], whole),
        ]
        return Report(seed, verdict, journeys, dict(workers.kills), logged, abandoned, violations)


# -- under fire ------------------------------------------------------------------------------


@dataclass
class Load:
    """What was sent, and what the senders of events were answered."""

    random: Random
    plans: dict[str, Plan] = field(default_factory=dict)
    journeys: dict[str, Journey] = field(default_factory=dict)
    woken: Counter[tuple[str, int]] = field(default_factory=Counter)
    _awaited: list[tuple[str, int]] = field(default_factory=list)

    def send(self, producer: Any) -> None:
        id = str(UUID(int=self.random.getrandbits(128), version=4))
        if self.random.random() < _JOURNEYS:
            plan = self.journeys[id] = draw_journey(self.random)
            self._awaited += [(id, leg) for leg in plan.waits()]
            journey.apply_async((plan.model_dump(),), task_id=id, producer=producer)
        else:
            other = self.plans[id] = draw(self.random)
            task = app.tasks[f"parent.{other.kind}"]
            task.apply_async((other.model_dump(),), task_id=id, producer=producer)

    def tell(self) -> None:
        """Send an event that a run may wait for, will wait for, or waits for no longer.

        Some are sent again, some by a task that may be killed, some without an id.
        """
        if not self._awaited:
            return
        awaited = self.random.choice(self._awaited[-_AWAITED:])
        data = {"run": awaited[0], "leg": awaited[1]}
        id = self.random.choice([None, f"{awaited[0]}/{awaited[1]}"])
        if self.random.random() < 0.3:
            teller.apply_async((data, id))
        else:
            self.woken[awaited] += send_event(EVENT, data, id=id)


def _load_and_kill(client: Redis, workers: Fleet, load: Load, size: Size) -> None:
    end = time.monotonic() + size.seconds
    next_kill = time.monotonic()
    with app.producer_pool.acquire(block=True) as producer:
        while (now := time.monotonic()) < end:
            if now >= next_kill:
                workers.revive()
                workers.kill_one()
                next_kill = now + load.random.expovariate(1 / size.between_kills)
            if int(client.llen(QUEUE)) < _QUEUED:  # type: ignore[arg-type]
                load.send(producer)
            else:
                time.sleep(0.01)
            if load.random.random() < _EVENTS:
                load.tell()


# -- when the fire has ceased ----------------------------------------------------------------


def _drain(client: Redis, workers: Fleet, runs: Mapping[str, str]) -> list[str]:
    """Wait until nothing is left and nothing happens; answer what is in the way."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    seen, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        workers.revive()
        left = {
            "messages in the queue": int(client.llen(QUEUE)),  # type: ignore[arg-type]
            "unacknowledged messages": int(client.hlen("unacked")),  # type: ignore[arg-type]
            "records in the outbox": list(_open(client, runs)),
        }
        happened = int(client.llen(EVENTS))  # type: ignore[arg-type]
        if happened != seen or any(left.values()):
            seen, since = happened, time.monotonic()
        elif time.monotonic() - since > _QUIET_SECONDS:
            return []
        time.sleep(0.1)
    return [f"after {_DRAIN_SECONDS} s: {left}"]


def _open(client: Redis, runs: Mapping[str, str]) -> Iterator[str]:
    """The records that must still go: of runs that have ended, or that Celery will run again."""
    rows: Any = client.zrange(f"{PREFIX}due", 0, -1)
    ids = [row.decode() for row in rows]
    states = _states(client, ids)
    for id in ids:
        if states.get(id, State()).name in READY_STATES or runs.get(id) != "early":
            yield id


def _without_end(client: Redis, key: bytes) -> Iterator[str]:
    """A key that is left; the record of a run may be, as long as it expires."""
    name = key.decode().removeprefix(PREFIX)
    if not (name.endswith(":history") or name.startswith(_OF_RECORDS) or name == "tasks"):
        yield f"a key is left: {key!r}"
    elif client.ttl(key) == -1:
        yield f"a key of a record never expires: {key!r}"


def _left_behind(client: Redis, runs: Mapping[str, str]) -> Iterator[str]:
    store = RedisStore(client, PREFIX)
    yield from (f"in quarantine: {entry.id}: {entry.reason}" for entry in store.quarantined())
    yield from (f"in the outbox: {id}" for id in _open(client, runs))
    for key in client.scan_iter(f"{PREFIX}*"):
        name = key.decode().removeprefix(PREFIX)
        if not name.endswith(_OF_A_RUN) and not name.startswith(_OF_EVENTS) and name != "due":
            yield from _without_end(client, key)
        elif name != "due" and client.ttl(key) <= 0:  # type: ignore[operator]
            yield f"a key never expires: {key!r}"
    abandoned = store.waiting()
    if len(list(client.scan_iter(f"{PREFIX}*:outbox"))) != abandoned:
        yield f"the index of the outbox has {abandoned} entries, which is not what there is"


def _lost_in_kombu(lost: int, whole_kills: int) -> Iterator[str]:
    """A worker pops one message at a time, so its death loses one at most."""
    if lost > whole_kills:
        yield f"{lost} published runs were never received, by {whole_kills} killed workers"


def _states(client: Redis, ids: Iterable[str]) -> dict[str, State]:
    """Read the stored results, many at a time."""
    states: dict[str, State] = {}
    rest = iter(ids)
    while some := list(islice(rest, _TOGETHER)):
        metas: Any = client.mget([f"celery-task-meta-{id}" for id in some])
        states.update({id: _state(meta) for id, meta in zip(some, metas, strict=True) if meta})
    return states


def _state(meta: bytes) -> State:
    stored = json.loads(meta)
    is_failure = stored["status"] == "FAILURE"
    return State(stored["status"], stored["result"]["exc_type"] if is_failure else "")
