"""How a step waits for an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery_defer.durations import Duration, seconds
from celery_defer.events import Event, Received, kept_for, received, typed, wanted
from celery_defer.run import Memo
from celery_defer.steps.base import Step
from celery_defer.steps.recall import ask, store_of
from celery_defer.steps.wait import Wait
from celery_defer.store import Match, Subscription


def wait_for_event(
    step: Step, event: Event[Any] | str, timeout: Duration, values: Mapping[str, Any] | None
) -> Received[Any] | None:
    """Return the event that a step waits for, in this turn or a later one; None after *timeout*."""
    with step.named():
        (_, kind), match = typed(event), wanted(event, values)
    longest = seconds(step.key, timeout)
    memo = step.memo
    if memo is None and step.note is not None:
        memo = _give_up(step, _subscription(step, event, match))
    if memo is None:
        memo = _wait(step, event, match, longest)
    return received(step.key, memo, kind)


def _wait(step: Step, event: Event[Any] | str, match: Match, longest: float) -> Memo:
    subscription = _subscription(step, event, match)
    about = {"event": subscription.name, "match": dict(match.values)}
    wait = Wait("event", step.scope.now() + longest, about, subscription=subscription)
    return step.park(wait)


def _give_up(step: Step, wait: Subscription) -> Memo:
    """End the wait, whose time is up; return its memo, which has no event in most cases.

    It has how long the wait really took: a person may have ended it before its time.
    """
    run, store = step.scope, store_of(step.scope)
    step.keep_pending()
    keep, began = run.settings.run_keeps, step.span.since
    took = run.now() - began if began else 0.0
    nothing = step.pack(Memo(began=began, took=took))
    memo = ask(run, step.key, lambda: store.give_up(run.run.id, step.key, wait, nothing, keep))
    return step.learn(memo)


def _subscription(step: Step, event: Event[Any] | str, match: Match) -> Subscription:
    run = step.scope
    since = run.header.at if run.header else step.replay.since
    # An event that is older than its retention may still be in the store.
    oldest = run.now() - kept_for(event, run.settings.event_retention)
    return Subscription(typed(event)[0], match.shape, match.digest, since, oldest)
