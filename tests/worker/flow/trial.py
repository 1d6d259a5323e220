"""One trial from its seed to its report."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from redis import Redis

from celery_defer import defer, deferring, record, run_id
from celery_defer.errors import NoRecordError
from tests.support.processes import CeleryWorker
from tests.worker.flow.app import AT_ONCE, PERIOD, PREFIX, STARTS, app, functions, transport
from tests.worker.flow.plan import Plan
from tests.worker.flow.verdict import (
    busy,
    ends,
    most_at_once,
    most_in_window,
    of_calls,
    of_limit,
    starts,
)
from tests.worker.flow.witness import PORT, Event, Witness
from tests.worker.trial.fleet import Fleet, fleet

__all__ = ["Report", "trial"]

#: How many calls one block defers.
_BLOCK = 100
#: No process dies any more when so much of the work is done: what died comes back in seconds.
_KILLING = 0.7
#: For so long nothing has changed: longer than what a kill delays.
_STUCK = 25.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a trial has shown."""

    plan: Plan
    broker: str
    seed: int
    kills: Counter[str]
    most: int
    #: Of a throttle: the most starts in one period.
    starts: int
    seconds: float
    #: Seconds that the bodies of the slowest key took, with those that were killed.
    worked: float
    lost: int
    again: int
    violations: list[str]

    def lines(self) -> Iterator[str]:
        plan = self.plan
        kinds = " and ".join(dict.fromkeys(plan.pools))
        yield f"{plan.calls} calls of {plan.function} over {plan.keys} keys, {kinds}, {self.broker}"
        yield f"seed {self.seed}, kills {sum(self.kills.values())} {dict(self.kills)}"
        ratio = f"{self.seconds / plan.ideal:.3f} of the ideal {plan.ideal:.1f}"
        if plan.function == "notify":
            yield f"most starts in {PERIOD} s: {self.starts}"
            yield f"last start after {self.seconds:.1f} s, {ratio}"
        else:
            yield f"most executing at once with one key: {self.most}"
            yield (
                f"{self.seconds:.1f} s, {ratio}; {self.seconds / self.worked:.3f} of what bodies "
                f"took, {self.worked:.1f} s"
            )
        yield f"lost in kombu, popped by a killed worker: {self.lost}; ended again: {self.again}"
        yield f"violations: {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations)


def trial(url: str, broker: str, plan: Plan, seed: int, keep_logs: Path | None = None) -> Report:
    """Let calls run, on the empty Redis database at *url*; judge what a witness sees."""
    random = Random(seed)
    is_redis = broker.startswith("redis")
    options = transport(broker)
    app.conf.update(broker_url=broker, result_backend=url, broker_transport_options=options)
    with Witness() as witness:
        urls = {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": url}
        env = {**urls, PORT: str(witness.port), "FLOW_SETTINGS": "{}"}
        make = partial(_workers, plan, env)
        with Redis.from_url(url) as client, fleet(make, random, keep_logs) as workers:
            began = time.monotonic()
            calls = _Calls(plan, random)
            _go(client, calls, plan, witness, workers, random)
            states = {call: _state(id) for id, call in calls.sent.items()}
            workers.stop()
            assert witness.is_running, witness.logs()
            left = list(_of_keys(client))
            kills, lines = workers.kills, list(workers.lines())
        if keep_logs is not None:
            shutil.copy(witness.log, keep_logs / "witness")
        return _judge(
            plan, seed, witness.events(), states, began, kills, is_redis, [*left, *_of_logs(lines)]
        )


def _workers(plan: Plan, env: dict[str, str], folder: Path) -> list[CeleryWorker]:
    return [
        CeleryWorker(
            "tests.worker.flow.app",
            f"flow-{number}@localhost",
            *("--pool", pool, "--concurrency", str(plan.children)),
            env=env,
            folder=folder / f"worker-{number}",
        )
        for number, pool in enumerate(plan.pools)
    ]


class _Calls:
    """The calls of a plan, in no order."""

    def __init__(self, plan: Plan, random: Random) -> None:
        self._plan = plan
        self._calls = [(f"customer-{n % plan.keys}", f"{n}") for n in range(plan.calls)]
        random.shuffle(self._calls)
        self._began = time.monotonic()
        #: The call of each run that was sent.
        self.sent: dict[str, str] = {}

    def send(self) -> list[str]:
        """Defer the calls that are due by now; return their runs."""
        rate, passed = self._plan.rate, time.monotonic() - self._began
        due = len(self._calls) if rate is None else int(rate * passed) + 1
        new = self._calls[len(self.sent) : due]
        return [run for at in range(0, len(new), _BLOCK) for run in self._defer(new[at:][:_BLOCK])]

    def _defer(self, calls: list[tuple[str, str]]) -> list[str]:
        plan, runs = self._plan, list[str]()
        with deferring(app) as parent:
            for customer, call in calls:
                if plan.function == "notify":
                    defer(call, functions.notify, customer=customer, call=call)
                else:
                    seconds = plan.seconds
                    defer(call, functions.sync, customer=customer, call=call, seconds=seconds)
                runs.append(str(run_id(parent.id, call)))
                self.sent[runs[-1]] = call
        return runs


def _go(
    client: Redis, calls: _Calls, plan: Plan, witness: Witness, fleet: Fleet, random: Random
) -> None:
    """Send, kill workers and look, until all is done or nothing changes any more."""
    changed = next_kill = time.monotonic()
    open_runs, seen = set[str](), 0
    while (now := time.monotonic()) - changed < _STUCK and witness.is_running:
        open_runs.update(calls.send())
        events = witness.events()
        if len(events) != seen:
            seen, changed = len(events), now
        ended = ends(events)
        if plan.between_kills and len(ended) < _KILLING * plan.calls and now >= next_kill:
            fleet.kill_one()
            next_kill = now + random.expovariate(1 / plan.between_kills)
        fleet.revive()
        if len(ended) == plan.calls and not (open_runs := _unfinished(client, open_runs)):
            return
        time.sleep(0.1)


def _unfinished(client: Redis, runs: set[str]) -> set[str]:
    """Return which runs have no result yet."""
    ids = list(runs)
    metas: Any = client.mget([f"celery-task-meta-{id}" for id in ids])
    return {
        id
        for id, meta in zip(ids, metas, strict=True)
        if not meta or json.loads(meta)["status"] not in ("SUCCESS", "FAILURE")
    }


def _state(id: str) -> str:
    try:
        return record(id, app=app).run.state.value
    except NoRecordError:
        return "unknown"


def _judge(
    plan: Plan, seed: int, events: Sequence[Event], states: dict[str, str], began: float,
    kills: Counter[str], is_redis: bool, found: list[str],
) -> Report:  # fmt: skip
    ended = ends(events)
    may_lose = kills["whole worker"] if is_redis else 0
    lost = [call for call in states if not ended[call]]
    # Celery runs again what a killed worker had done, and not acknowledged.
    again = kills["child at random"] + kills["whole worker"] * plan.children
    violations = [*found, *of_calls(ended, states, may_lose=may_lose, may_repeat=again)]
    times = starts(events)
    started = max((most_in_window(each, PERIOD) for each in times.values()), default=0)
    if plan.function == "notify":
        first = min(min(each) for each in times.values())
        seconds = max(max(each) for each in times.values()) - first
        if started > STARTS:
            violations.append(f"{started} starts in {PERIOD} s, and {STARTS} may")
    else:
        violations += of_limit(events, AT_ONCE)
        seconds = max(event.at for event in events) - began
    if plan.slack is not None and seconds > (1 + plan.slack) * plan.ideal:
        violations.append(f"it took {seconds:.1f} s, and the ideal is {plan.ideal:.1f} s")
    return Report(
        plan, "Redis" if is_redis else "RabbitMQ", seed, kills,
        max(most_at_once(events).values(), default=0), started, seconds,
        max(busy(events).values(), default=0.0) / AT_ONCE or 1.0,
        len(lost), sum(ended.values()) - len(ended), violations,
    )  # fmt: skip


def _of_logs(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if "Signal handler <" in line or "Unrecoverable error" in line:
            yield line


def _of_keys(client: Redis) -> Iterator[str]:
    for key in client.scan_iter(f"{PREFIX}*"):
        if client.ttl(key) == -1 and not key.endswith(b":due"):
            yield f"a key never expires: {key!r}"
