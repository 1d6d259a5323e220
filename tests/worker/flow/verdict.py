"""What the events of a witness say: how many were executing at once, and how starts lay in time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.worker.flow.witness import Event

__all__ = [
    "busy", "ends", "most_at_once", "most_in_window", "of_calls", "of_limit", "starts",
]  # fmt: skip


def most_at_once(events: Iterable[Event]) -> dict[str, int]:
    """Return how many bodies of each key were executing at once, at most."""
    now: Counter[str] = Counter()
    most: dict[str, int] = defaultdict(int)
    for event in events:
        now[event.key] += 1 if event.what == "enter" else -1
        most[event.key] = max(most[event.key], now[event.key])
    return dict(most)


def busy(events: Iterable[Event]) -> dict[str, float]:
    """Return the seconds that the bodies of each key took, all added up."""
    taken: dict[str, float] = defaultdict(float)
    for event in events:
        taken[event.key] += -event.at if event.what == "enter" else event.at
    return dict(taken)


def starts(events: Iterable[Event]) -> dict[str, list[float]]:
    """Return when the bodies of each key began."""
    began: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.what == "enter":
            began[event.key].append(event.at)
    return dict(began)


def ends(events: Iterable[Event]) -> Counter[str]:
    """Return how often the body of each call has come to its end."""
    return Counter(event.call for event in events if event.what == "leave")


def most_in_window(times: Sequence[float], period: float) -> int:
    """Return how many of *times*, in their order, lie in one window of *period* seconds."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - period:
            first += 1
        most = max(most, last - first + 1)
    return most


def of_limit(events: Sequence[Event], limit: int) -> Iterator[str]:
    """Return for which keys more were executing than may."""
    for key, most in most_at_once(events).items():
        if most > limit:
            yield f"{most} of key {key} were executing at once, and {limit} may"


def of_calls(
    ended: Mapping[str, int], states: Mapping[str, str], *, may_lose: int, may_repeat: int
) -> Iterator[str]:
    """Return which calls were lost, or came to their end more often than kills explain.

    *states* has the state of each call in its record.
    """
    lost = [call for call in states if not ended.get(call)]
    if len(lost) > may_lose:
        yield f"{len(lost)} calls never ended, of which kombu may have lost {may_lose}: {lost[:9]}"
    again = sum(count - 1 for count in ended.values())
    if again > may_repeat:
        yield f"bodies ended {again} times too often, which kills explain {may_repeat} times"
    for call, state in states.items():
        if state != "succeeded" and call not in lost:
            yield f"the record of call {call} says {state}"
    for call in ended.keys() - states.keys():
        yield f"call {call} was never made"
