"""The values of what ends a run before its body does: events that cancel it, and deadlines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from celery_defer.ids import RunId
from celery_defer.store.values.events import Subscription

#: Why a run has ended that a person has cancelled.
CANCELLED = "cancelled"
_REPLACED = "replaced by run "


@dataclass(frozen=True, slots=True)
class Cancelling:
    """An event that cancels a run, if it is sent by *until*."""

    subscription: Subscription
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Watch:
    """What ends a run early.

    Its body is to begin by the time ``start``, and to end within ``finish`` seconds of that, with
    all its waits; ``start_why`` and ``finish_why`` say so to people. ``begins`` says that the body
    begins now, for the first time or again. ``has_looked`` says that the caller has looked for
    events that were sent before anybody compared their values.
    """

    events: Sequence[Cancelling] = ()
    start: float | None = None
    finish: float | None = None
    start_why: str = ""
    finish_why: str = ""
    begins: bool = True
    has_looked: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """For which subscription the caller has to look for events, and of which time."""

    subscription: Subscription
    since: float
    known_since: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What a run hears that is to be watched: ``why`` it ends; nothing if it goes on.

    With ``looks`` nothing is watched yet: the caller looks for events, and asks again.
    """

    why: str = ""
    looks: Sequence[Look] = ()


def by_run(id: RunId) -> str:
    """Return why a run ends in whose place another one runs."""
    return f"cancelled by run {id}"


def in_place_of(id: RunId) -> str:
    """Return why a run ends that has waited for a debounce, as another one runs in its place."""
    return f"{_REPLACED}{id}"


def replacing(why: str) -> RunId | None:
    """Return which run is in the place of one that has ended, if that is *why* it has."""
    return RunId(why[len(_REPLACED) :]) if why.startswith(_REPLACED) else None


def by_event(name: str) -> str:
    """Return why a run ends that an event cancels."""
    return f"cancelled by event {name!r}"
