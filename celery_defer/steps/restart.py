"""Which steps of a run that has ended are run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from celery_defer.errors import RestartError
from celery_defer.events import unique
from celery_defer.run import Memo
from celery_defer.steps.replay import Span
from celery_defer.store import Recalled

# The first character of the key of what is no step: what the body has done, and has caught.
_OF_BODY, _CAUGHT = "\0", "\1"


@dataclass(frozen=True, slots=True)
class Repeat:
    """The steps that are run again, in the order in which they began.

    ``forgets`` has the keys of all that the store forgets, and ``events`` the events that the
    steps have received, and may receive again.
    """

    steps: Sequence[str]
    forgets: Sequence[str]
    events: Sequence[str]


def repeat(run: str, recalled: Recalled, from_step: str | None, now: float) -> Repeat:
    """Return what is run again from a step on.

    Without one, it is the last step, if that has failed, or if its wait was not over.

    Raises RestartError if the run has no such step.
    """
    memos = {key: Memo.unpack(body) for key, body in recalled.memos.items() if not _is_none(key)}
    began = dict(sorted(_began(recalled, memos), key=lambda step: step[1]))
    steps = list(began)
    if from_step is None:
        is_open = _ends_in_failure(steps, memos) or _waits_on(steps, memos, recalled, now)
        first = len(steps) - is_open
    elif from_step in began:
        first = steps.index(from_step)
    else:
        known = ", ".join(map(repr, steps)) or "none"
        raise RestartError(f"run {run} has no step {from_step!r}; its steps are: {known}")
    again = steps[first:]
    caught = [key for key in recalled.memos if key.startswith(_CAUGHT)]
    received = [event for key in again if (event := _event_of(memos.get(key)))]
    return Repeat(again, [*again, *caught], received)


def _is_none(key: str) -> bool:
    return key.startswith((_OF_BODY, _CAUGHT))


def _began(recalled: Recalled, memos: Mapping[str, Memo]) -> Iterator[tuple[str, float]]:
    """Yield when each step began; a step that has parked has begun before that."""
    spans = {key: Span.unpack(recalled.spans.get(key)) for key in recalled.waits}
    for key in dict.fromkeys([*memos, *spans]):  # of one millisecond, what waits came last
        times = [spans[key].since] if key in spans else []
        times += [memos[key].began] if key in memos and memos[key].began else []
        yield key, min(times, default=0.0)


def _ends_in_failure(steps: Sequence[str], memos: Mapping[str, Memo]) -> bool:
    last = memos.get(steps[-1]) if steps else None
    return last is not None and last.failure is not None


def _waits_on(
    steps: Sequence[str], memos: Mapping[str, Memo], recalled: Recalled, now: float
) -> bool:
    """Whether the run was cancelled in the wait of its last step."""
    if not steps or steps[-1] in memos:
        return False
    return Span.unpack(recalled.spans.get(steps[-1])).until > now


def _event_of(memo: Memo | None) -> str | None:
    """Return the id of the event that a step has received."""
    event = from_json(memo.result) if memo and memo.kind == "wait_for_event" else None
    return unique(event["name"], event["id"]) if event else None
