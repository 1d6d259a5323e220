"""One trial from its seed to its report."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from redis import Redis

from celery_defer import Comparison, compare, send_event
from tests.worker.trial.app import DIED, PREFIX, PURCHASE, REDIS_OPTIONS, app, visit
from tests.worker.trial.fleet import Fleet, fleet, two_prefork
from tests.worker.trial.ledger import Ledger
from tests.worker.trial.visitors import EXPERIMENT, RATES, Visitor, draw

__all__ = ["Report", "trial"]

#: So many visits have not ended, at most.
_AT_ONCE = 60
_BETWEEN_KILLS, _BETWEEN_LOOKS = 0.7, 0.3
#: For so long nothing has changed: longer than what a kill delays.
_STUCK = 25.0


@dataclass
class Report:
    """What a trial has shown."""

    seed: int
    comparison: Comparison
    kills: Counter[str]
    looks: int
    most_pending: int
    lost: int
    seconds: float
    violations: list[str]

    def lines(self) -> Iterator[str]:
        yield f"seed {self.seed}, {self.seconds:.0f} seconds"
        for row in self.comparison.variants:
            yield (
                f"{row.variant}: assigned {row.assigned}, scored {row.scored}, "
                f"pending {row.pending}, missing {row.missing}, not sampled {row.not_sampled}"
            )
        yield from self.comparison.sentences
        yield f"looks at it while it ran: {self.looks}, with up to {self.most_pending} pending"
        yield f"kills: {sum(self.kills.values())}"
        yield from (f"{count:>7}  {name}" for name, count in sorted(self.kills.items()))
        yield f"lost in kombu, popped by a killed worker: {self.lost}"
        yield f"violations: {len(self.violations)}"
        yield from (f"  {violation}" for violation in self.violations)


def trial(url: str, broker: str, seed: int, visits: int, keep_logs: Path | None = None) -> Report:
    """Let visitors come, on the empty Redis database at *url*; judge what the comparison says."""
    began, random = time.monotonic(), Random(seed)
    options = REDIS_OPTIONS if broker.startswith("redis") else {}
    app.conf.update(broker_url=broker, result_backend=url, broker_transport_options=options)
    crowd = _Crowd(list(draw(random, visits)))
    make = partial(two_prefork, url, broker)
    with Redis.from_url(url) as client, fleet(make, random, keep_logs) as workers:
        ledger = Ledger(client, crowd.sent)
        _go(client, crowd, ledger, workers, random)
        workers.stop()
        died: Any = client.smembers(DIED)
        kills = workers.kills + Counter(f"child, {_moment(each)}" for each in died)
        comparison = compare(EXPERIMENT, app=app)
        lost = ledger.judge(may_lose=kills["whole worker"] if options else 0)
        violations = [*ledger.violations, *_of_intervals(comparison), *_of_keys(client)]
        violations += [line for line in workers.lines() if "Signal handler <" in line]
    seconds = time.monotonic() - began
    return Report(
        seed, comparison, kills, ledger.looks, ledger.most_pending, lost, seconds, violations
    )


@dataclass
class _Crowd:
    """Who is to come, who has come, and who may buy."""

    coming: list[Visitor]
    sent: dict[str, Visitor] = field(default_factory=dict)
    here: dict[str, Visitor] = field(default_factory=dict)
    buying: list[tuple[float, Visitor, float]] = field(default_factory=list)

    def send(self, producer: Any) -> None:
        while self.coming and len(self.here) < _AT_ONCE:
            one = self.coming.pop()
            self.sent[one.id] = self.here[one.id] = one
            visit.apply_async((one.plan, dict(one.patience)), task_id=one.id, producer=producer)

    def leave(self, client: Redis) -> None:
        """Note which visits have ended; in a variant that suits, their visitors will buy."""
        ids = list(self.here)
        metas: Any = client.mget([f"celery-task-meta-{id}" for id in ids]) if ids else []
        for id, meta in zip(ids, metas, strict=True):
            result = json.loads(meta) if meta else {"status": ""}
            if result["status"] in ("SUCCESS", "FAILURE"):
                visitor = self.here.pop(id)
                spent = visitor.spends.get(str(result["result"]), 0.0)
                if spent:
                    self.buying.append((time.monotonic() + visitor.after, visitor, spent))

    def buy(self) -> None:
        now = time.monotonic()
        for at, visitor, spent in self.buying:
            if at <= now:
                send_event(PURCHASE, {"visit": visitor.id, "amount": spent}, id=visitor.id)
        self.buying = [each for each in self.buying if each[0] > now]


def _go(client: Redis, crowd: _Crowd, ledger: Ledger, workers: Fleet, random: Random) -> None:
    """Send visitors, kill workers and look, until all is scored or nothing changes any more."""
    next_kill = next_look = changed = time.monotonic()
    seen: object = None
    with app.producer_pool.acquire(block=True) as producer:
        while (now := time.monotonic()) - changed < _STUCK:
            crowd.send(producer)
            crowd.leave(client)
            crowd.buy()
            if now >= next_kill and crowd.coming:
                workers.kill_one()
                next_kill = now + random.expovariate(1 / _BETWEEN_KILLS)
            if now >= next_look:
                workers.revive()
                has_open = ledger.look()
                next_look = time.monotonic() + _BETWEEN_LOOKS
                if not (crowd.coming or crowd.here or crowd.buying or has_open):
                    return
            state = (len(crowd.here), len(crowd.buying), ledger.counts)
            if state != seen:
                seen, changed = state, now
            time.sleep(0.02)


def _moment(member: bytes) -> str:
    return member.decode().partition(":")[0]


def _of_intervals(comparison: Comparison) -> Iterator[str]:
    """Return which 95% interval misses the true difference."""
    true = {"bought": RATES["variant"] - RATES["control"], "spent": 0.0}
    shown = {each.score: each for each in comparison.differences}
    for score, value in true.items():
        each = shown.get(score)
        if each is None or each.low is None or each.high is None:
            yield f"there is no interval of {score}"
        elif not each.low <= value <= each.high:
            yield f"the interval of {score}, {each.low:.3f} to {each.high:.3f}, misses {value}"


def _of_keys(client: Redis) -> Iterator[str]:
    for key in client.scan_iter(f"{PREFIX}*"):
        if client.ttl(key) == -1 and not key.endswith(b":due"):
            yield f"a key never expires: {key!r}"
