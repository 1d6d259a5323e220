"""One soak from its seed to its report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from celery.states import READY_STATES
from redis import Redis

from celery_defer.store import RedisStore
from tests.soak.app import PREFIX, QUEUE, app
from tests.soak.events import EVENTS, Event, Plan, draw, kinds
from tests.soak.verdict import State, Verdict, judge
from tests.soak.workers import Fleet, fleet

__all__ = ["QUICK", "Report", "Size", "soak"]

#: So many messages wait at most: a longer queue would only make the end late.
_QUEUED = 100
_DRAIN_SECONDS = 60
#: Nothing has happened for so long: longer than a worker's start, than kombu's time-out.
_QUIET_SECONDS = 3.0
_TOGETHER = 500


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
            ("kills", self.kills),
            ("in the logs", self.logged),
        ]
        for title, counts in groups:
            yield f"{title}: {sum(counts.values()) if title != 'in the logs' else ''}".rstrip(": ")
            yield from (f"  {count:>7}  {name}" for name, count in sorted(counts.items()))
        yield f"records of parents that Celery has lost, which expire: {self.abandoned}"
        yield f"violations: {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations)


def soak(url: str, seed: int, size: Size, keep_logs: Path | None = None) -> Report:
    """Load and kill workers on the empty Redis database at *url*; judge what came of it."""
    random = Random(seed)
    app.conf.update(broker_url=url, result_backend=url)
    with Redis.from_url(url) as client:
        with fleet(url, random, keep_logs) as workers:
            sent = _load_and_kill(client, workers, random, size)
            runs = {run: kind for id, plan in sent.items() for run, kind in kinds(id, plan)}
            stuck = _drain(client, workers, runs)
            workers.stop()
            logged = workers.count_in_logs(
                **{
                    "records published by a relay": "the relay has published",
                    "duplicates refused": "this message is ignored",
                    "errors logged by the package": ": ERROR/MainProcess] celery_defer",
                    "successes whose worker was lost": "succeeded before the worker was lost",
                }
            )
        events = [Event.unpack(body) for body in client.lrange(EVENTS, 0, -1)]
        states = _states(client, {event.id for event in events} | sent.keys())
        verdict = judge(sent, events, states, workers.killed)
        abandoned = RedisStore(client, PREFIX).waiting()
        workers.kills.update(event.id for event in events if event.kind == "killed")
        whole = sum(count for kind, count in workers.kills.items() if kind.startswith("whole"))
        violations = [
            *verdict.violations,
            *stuck,
            *_left_behind(client, runs),
            *_lost_in_kombu(verdict, whole),
        ]
        return Report(seed, verdict, dict(workers.kills), logged, abandoned, violations)


# -- under fire ------------------------------------------------------------------------------


def _load_and_kill(client: Redis, workers: Fleet, random: Random, size: Size) -> dict[str, Plan]:
    sent: dict[str, Plan] = {}
    end = time.monotonic() + size.seconds
    next_kill = time.monotonic()
    with app.producer_pool.acquire(block=True) as producer:
        while (now := time.monotonic()) < end:
            if now >= next_kill:
                workers.revive()
                workers.kill_one()
                next_kill = now + random.expovariate(1 / size.between_kills)
            if int(client.llen(QUEUE)) < _QUEUED:  # type: ignore[arg-type]
                _send(producer, random, sent)
            else:
                time.sleep(0.01)
    return sent


def _send(producer: Any, random: Random, sent: dict[str, Plan]) -> None:
    plan, id = draw(random), str(UUID(int=random.getrandbits(128), version=4))
    sent[id] = plan
    task = app.tasks[f"parent.{plan.kind}"]
    task.apply_async((plan.model_dump(),), task_id=id, producer=producer)


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


def _left_behind(client: Redis, runs: Mapping[str, str]) -> Iterator[str]:
    store = RedisStore(client, PREFIX)
    yield from (f"in quarantine: {entry.id}: {entry.reason}" for entry in store.quarantined())
    yield from (f"in the outbox: {id}" for id in _open(client, runs))
    for key in client.scan_iter(f"{PREFIX}*"):
        if not key.endswith((b":owner", b":outbox")) and key != f"{PREFIX}due".encode():
            yield f"a key is left: {key!r}"
        elif key.endswith((b":owner", b":outbox")) and client.ttl(key) <= 0:  # type: ignore[operator]
            yield f"a key never expires: {key!r}"
    abandoned = store.waiting()
    if len(list(client.scan_iter(f"{PREFIX}*:outbox"))) != abandoned:
        yield f"the index of the outbox has {abandoned} entries, which is not what there is"


def _lost_in_kombu(verdict: Verdict, whole_kills: int) -> Iterator[str]:
    """A worker pops one message at a time, so its death loses one at most."""
    lost = verdict.runs["lost in kombu, popped by a killed worker"]
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
