"""What a trial does: how many calls of which function, on which workers, and who is killed."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from tests.worker.flow.app import AT_ONCE, PERIOD, STARTS

__all__ = ["KINDS", "Plan", "plan_of"]

#: With kills, without, and of starts one after the other.
KINDS = ("killed", "calm", "throttle")


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls of one function, and the workers that run them.

    ``seconds`` is what a body takes. Processes die every ``between_kills`` seconds on the average;
    None means that nobody does. ``slack`` is by which part it may take longer than the ideal; None
    means that this is not judged. Calls are sent at a ``rate``, in calls per second; None means all
    at once.
    """

    function: str
    calls: int
    keys: int
    seconds: float
    pools: tuple[str, ...]
    children: int
    between_kills: float | None = None
    slack: float | None = None
    rate: float | None = None

    @property
    def ideal(self) -> float:
        """Seconds from the first start to the last end, if no place and no moment is wasted."""
        of_key = ceil(self.calls / self.keys)
        if self.function == "notify":
            return (of_key - 1) * PERIOD / STARTS
        return ceil(of_key / AT_ONCE) * self.seconds


def plan_of(kind: str, pool: str, broker: str, *, is_quick: bool) -> Plan:
    """Return the plan of a kind, for workers of one pool.

    On RabbitMQ a run that is let through waits behind all messages in its queue, so there calls
    come at twice the rate at which they may run, not all at once.
    """
    rate = None if broker == "redis" or is_quick else 2.0
    if kind == "throttle" and is_quick:
        return Plan("notify", 120, 2, 0.0, (pool,) * 2, 4)
    if kind == "throttle":
        starts = 5 * STARTS / PERIOD
        return Plan(
            "notify", 1_000, 5, 0.0, (pool,) * 4, 4, slack=0.05, rate=rate and rate * starts
        )
    # A process of the pool dies alone, threads only all at once.
    between = 2.0 if is_quick else {"prefork": 6.0, "threads": 9.0}[pool]
    kills = between if kind == "killed" else None
    if is_quick:
        return Plan("sync", 150, 5, 0.3, (pool,) * 2, 12, kills)
    # Bodies wait, as for a partner: eighty processes of two cores can do nothing else at once.
    return Plan("sync", 2_000, 20, 2.0, (pool,) * 4, 20, kills, 0.15, rate and rate * 30)
