"""What becomes of a run that asks to start, from how its gates stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from celery_defer.flow.admission import Admission, Drop, Go, Later, Reason
from celery_defer.flow.gate import Gate, Kind
from celery_defer.ids import RunId

#: The name of the gate at which runs stand while their function is paused.
PAUSE = "pause"
#: In seconds: for how long a worker waits for a throttle with a run in hand that was let through.
PATIENCE = 1.0
#: In seconds: by how much those who wait for a throttle are let through early, for they are
#: published first. When they start is decided as they arrive. A worker waits no longer than this
#: with any other run: while it waits it can run nothing else.
AHEAD = 0.1
# By which part of its period a throttle is slower than it may be; and by how many seconds at most.
_RESERVE, _MOST_RESERVE = 0.025, 0.1

_ORDER = [Kind.IDEMPOTENCY, Kind.SINGLETON, Kind.RATE_LIMIT, Kind.DEBOUNCE]
_DROPS = {
    Kind.IDEMPOTENCY: Reason.IDEMPOTENCY,
    Kind.SINGLETON: Reason.SINGLETON,
    Kind.RATE_LIMIT: Reason.RATE_LIMIT,
    Kind.DEBOUNCE: Reason.REPLACED,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How one gate stands for a run that asks; its numbers are those in force.

    ``used`` counts the places that others have, or their starts in the period. ``by`` is the run
    that stands in the way, or that is to be cancelled. ``wait`` is in how many seconds it may pass.
    """

    gate: Gate
    used: int = 0
    by: RunId | None = None
    wait: float = 0.0
    #: Whether the run was let through here, and its place waits for it.
    is_reserved: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Where a run stands that asks: has it been let through, or is somebody before it?"""

    is_paused: bool = False
    has_places: bool = False
    #: The name and the key of the gate for which those before it wait.
    behind: tuple[str, str] | None = None


def admit(standings: Sequence[Standing], line: Line) -> Admission:
    """Return what becomes of the run."""
    early = sorted(
        (each for each in standings if each.gate.kind in _ORDER),
        key=lambda each: _ORDER.index(each.gate.kind),
    )
    for each in early:
        if _drops(each):
            gate = each.gate
            return Drop(_DROPS[gate.kind], gate.name, gate.key, each.by)
    cancels = next((each.by for each in early if each.gate.cancels), None)
    for each in early:
        if each.gate.kind is Kind.DEBOUNCE and each.wait:
            return Later(each.gate.name, each.gate.key, each.wait, cancels)
    return _start([each for each in standings if each not in early], line, cancels)


def _drops(standing: Standing) -> bool:
    gate = standing.gate
    if gate.kind is Kind.RATE_LIMIT:
        return standing.used >= gate.limit
    return standing.by is not None and not gate.cancels


def _start(standings: Sequence[Standing], line: Line, cancels: RunId | None) -> Go | Later:
    if line.is_paused:
        return Later(PAUSE, cancels=cancels)
    if line.behind and not line.has_places:
        return Later(*line.behind, cancels=cancels)
    for each in standings:
        gate = each.gate
        is_full = gate.kind is Kind.CONCURRENCY and each.used >= gate.limit
        if is_full and not each.is_reserved:
            return Later(gate.name, gate.key, cancels=cancels)
    wait = max((each.wait for each in standings), default=0.0)
    for each in standings:
        if each.wait > (PATIENCE if each.is_reserved else AHEAD):
            due = None if each.wait == math.inf else each.wait
            return Later(each.gate.name, each.gate.key, due, cancels)
    return Go(wait, cancels)


def in_force(gate: Gate, override: Mapping[str, float] | None) -> Gate:
    """Return a gate with the numbers in force."""
    if not override:
        return gate
    return replace(
        gate,
        limit=int(override.get("limit", gate.limit)),
        period=float(override.get("period", gate.period)),
        burst=int(override.get("burst", gate.burst)),
    )


def opens(before: Gate, after: Gate) -> bool:
    """Return whether somebody may start with new numbers whom the old ones hold back."""
    if after.kind is Kind.CONCURRENCY or before.limit <= 0 or after.limit <= 0:
        return after.limit > before.limit
    at_once = (before.burst - 1) * interval(before), (after.burst - 1) * interval(after)
    return interval(after) < interval(before) or at_once[1] > at_once[0]


def with_reserve(gate: Gate) -> Gate:
    """Return a throttle that is a little slower than it may be.

    A start reaches a partner who counts sooner or later by chance, and none of his periods may have
    one too many.
    """
    if gate.kind is not Kind.THROTTLE:
        return gate
    return replace(gate, reserve=min(gate.period * _RESERVE, _MOST_RESERVE))


def interval(gate: Gate) -> float:
    """Return the seconds between two starts that a throttle lets through."""
    return (gate.period + gate.reserve) / gate.limit if gate.limit > 0 else math.inf


def ready(gate: Gate, tat: float) -> float:
    """Return when a throttle lets the next run start.

    *tat* is when it would if all had come evenly: the "theoretical arrival time" of the generic
    cell rate algorithm (ITU-T I.371).
    """
    return tat - (gate.burst - 1) * interval(gate) if gate.limit > 0 else math.inf


def patience(lease: float, tries: int) -> float:
    """Return for how many seconds places are reserved for a run that was published."""
    return min(2 * lease * 2.0 ** min(tries, 20), 3_600.0)
