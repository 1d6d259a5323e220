"""Which limits of a function contradict each other, and why."""

from __future__ import annotations

from collections.abc import Iterator

from celery_defer.flow.limits import Limits

# Two limits, and why a function cannot have both.
_PAIRS = {
    ("debounce", "rate_limit"): "a call that replaces others could be dropped: use one of them",
    ("debounce", "idempotency"): "the first call counts for one, the last for the other",
    ("debounce", "singleton"): "a run that waits for later calls would keep them out",
    ("batch", "debounce"): "one keeps all calls, the other the last one",
    ("batch", "singleton"): "a dropped run would drop the calls of a whole batch",
    ("batch", "idempotency"): "a dropped run would drop the calls of a whole batch",
    ("batch", "rate_limit"): "a dropped run would drop the calls of a whole batch; use throttle",
    ("batch", "priority"): "a priority is read from one payload, and a batch has many",
    ("batch", "cancel_on"): "an event would cancel the calls of a whole batch",
}


def conflict(limits: Limits) -> str | None:
    """Return why a function cannot have these limits; None if it can."""
    return next(_conflicts(limits), None)


def _conflicts(limits: Limits) -> Iterator[str]:
    for (one, other), reason in _PAIRS.items():
        if getattr(limits, one) and getattr(limits, other):
            yield f"{one} and {other} contradict each other: {reason}"
    keys = [each.key for each in limits.concurrency]
    if len(keys) > 1 and keys[0] == keys[1]:
        name = "no key" if keys[0] is None else f"the key {keys[0]!r}"
        yield f"both limits of concurrency have {name}, so only the lower would count: leave one"
    if limits.priority and not (limits.concurrency or limits.throttle):
        yield "nothing waits, so priority has no effect: add concurrency or throttle"
    if limits.debounce and limits.timeouts and limits.timeouts.start is not None:
        start, period = limits.timeouts.start, limits.debounce.period
        if start <= period:
            yield (
                f"timeouts ends a run that has not started {start:g} seconds after its call, and "
                f"debounce lets none start before {period:g}: give a longer start="
            )
    if limits.applies_to_all and limits.batch:
        yield "limits='all' and batch contradict each other: only defer() gathers calls"
    if limits.applies_to_all and limits == Limits(applies_to_all=True):
        yield "limits='all' has no effect without a limit: add one, such as concurrency="
    if limits.batch:
        yield from _batched_keys(limits)


def _batched_keys(limits: Limits) -> Iterator[str]:
    """A run of a batch has one value of a key only if the batch is of one value."""
    batch = limits.batch.key if limits.batch else None
    for name in ("concurrency", "throttle"):
        of_name = getattr(limits, name) or ()
        for limit in of_name if isinstance(of_name, tuple) else (of_name,):
            if limit.key is not None and limit.key != batch:
                yield (
                    f"{name} has the key {limit.key!r}, whose values may differ within a batch: "
                    "give Batch the same key"
                )
