"""The history of a run: what the store keeps of it for people to read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from celery_defer.ids import RunId


class RunState(str, Enum):
    """The state of a run, as its record shows it."""

    #: In the outbox, until its parent has ended, or until the broker is back.
    BUFFERED = "buffered"
    #: At the broker.
    PUBLISHED = "published"
    #: Begun by a worker, and not ended.
    RUNNING = "running"
    #: Parked at a step.
    WAITING = "waiting"
    #: Held back by a limit of its function, until it may start.
    HELD = "held"
    #: Ended with a result.
    SUCCEEDED = "succeeded"
    #: Ended with an exception, for good.
    FAILED = "failed"
    #: Refused when it was deferred; there is no run.
    SKIPPED = "skipped"
    #: Its parent has ended in another way than the call waited for; there is no run. Only the
    #: record of the parent has it.
    DROPPED = "dropped"
    #: Withdrawn, cancelled or revoked.
    ABORTED = "aborted"
    #: A later call runs in its place: its function has a debounce.
    REPLACED = "replaced"
    #: Its payload is run with others, in a batch that has a run of its own.
    BATCHED = "batched"
    #: Its record in the outbox could not be read or published.
    QUARANTINED = "quarantined"
    #: Nothing is known of it, or nothing any more.
    UNKNOWN = "unknown"

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended."""
        return self in _OPEN


_OPEN = frozenset(
    {
        RunState.BUFFERED,
        RunState.PUBLISHED,
        RunState.RUNNING,
        RunState.WAITING,
        RunState.HELD,
    }
)
#: The letter of each state in the store.
CODES = dict(zip(RunState, "BPRWHSFKDAEGQX", strict=True))
_UNLISTED = (
    RunState.PUBLISHED,
    RunState.SUCCEEDED,
    RunState.DROPPED,
    RunState.BATCHED,
    RunState.UNKNOWN,
)
#: The states that have a list of their runs; most runs are in the others.
LISTED = tuple(state for state in RunState if state not in _UNLISTED)


class Fact(NamedTuple):
    """What a history is to say of a run from now on, written together with what makes it so.

    ``about`` is what the run is, in JSON; the first fact that has it begins the history, and
    others change it. ``told`` is what the run itself has done. The history lives for ``keep``
    seconds. ``deferred`` and ``started`` say how many seconds ago that was, if known. A run that
    has succeeded keeps that state; one that has begun is neither buffered nor published again. One
    that waits, and is in no attempt, is restarted: its attempts and its start count anew. One that
    is buffered and becomes UNKNOWN is forgotten: its attempt has failed, so it was never made.

    A tuple, because each run makes several, and a frozen dataclass takes four times as long.
    """

    id: RunId
    task: str
    state: RunState
    keep: float
    about: bytes = b""
    told: bytes = b""
    attempt: int = 0
    deferred: float | None = None
    started: float | None = None
    #: Each as ``key=value``: the lists of tagged runs that it joins.
    tags: tuple[str, ...] = ()
    #: The experiments that it carries: each with the variant, and the run that it was assigned to.
    #: An end that does not say what the run is needs none, nor does a restart; a SKIPPED run has
    #: those of a scorer that was left out, because only some runs are scored.
    experiments: tuple[tuple[str, str, RunId], ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a run; times are in seconds since 1970, 0 if they are not known."""

    id: RunId
    state: RunState
    attempts: int = 0
    deferred: float = 0.0
    published: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    about: bytes = b""
    told: bytes = b""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A run's place in a list: later ones are greater."""

    at: float
    number: int
    id: RunId


@dataclass(frozen=True, slots=True)
class Lists:
    """Which lists of runs to read: of *tasks*, in *states* if any are given; or of a *tag*."""

    tasks: tuple[str, ...] = ()
    states: tuple[RunState, ...] = ()
    tag: str | None = None
