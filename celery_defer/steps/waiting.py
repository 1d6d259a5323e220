"""How a step waits: for a time, for an event, for another run."""

from __future__ import annotations

from celery_defer.errors import StepError
from celery_defer.run import memo
from celery_defer.run.memo import NOTHING, Memo
from celery_defer.steps import invoke as invocation
from celery_defer.steps.base import Step
from celery_defer.steps.chord import chord_end
from celery_defer.steps.storage import ask
from celery_defer.steps.wait import Wait
from celery_defer.store import Subscription
from celery_defer.store import match as matching

__all__ = ["ended", "give_up", "sleep_until", "wait_for"]


def sleep_until(step: Step, at: float) -> None:
    if step.note is None and at > step.scope.now():
        step.park(Wait("sleep", at))


def wait_for(step: Step, name: str, wanted: matching.Match, longest: float) -> Memo:
    about = {"event": name, "match": dict(wanted.values)}
    wait = Wait(
        "event",
        step.scope.now() + longest,
        about,
        subscription=_subscription(step, name, wanted),
    )
    return memo.unpack(step.park(wait))


def give_up(step: Step, name: str, wanted: matching.Match) -> Memo:
    """Answer what has come at last; nothing, in most cases."""
    run, store, nothing = step.scope, step.scope.store, memo.pack(NOTHING)
    assert store is not None  # noqa: S101
    step.keep_pending()
    wait, keep = _subscription(step, name, wanted), run.settings.claim_keeps
    kept = ask(run, step.key, lambda: store.give_up(run.run.id, step.key, wait, nothing, keep))
    step.replay.memos[step.key] = kept
    return memo.unpack(kept)


def _subscription(step: Step, name: str, wanted: matching.Match) -> Subscription:
    run = step.scope
    since = run.run.deferred_at.timestamp() if run.run.deferred_at else step.replay.since
    # An event that is older than events are kept for may still be there.
    since = max(since, run.now() - run.settings.event_retention)
    return Subscription(name, wanted.shape, wanted.digest, since)


def ended(step: Step, child: tuple[str, str]) -> Memo:
    """Answer what a run has come to that this one has invoked; park until it has ended."""
    found = invocation.outcome(step.scope, step.key, child)
    if found is not None:
        return step.keep(found)
    now, end = step.scope.now(), chord_end(step.scope)
    if end is not None and now >= end:
        raise StepError(
            f"step {step.key!r} has waited for run {child[0]} for as long as the chord counts "
            "that it is in: set result_chord_expires (before Celery 5.7: result_expires) to "
            "more than such a run may take",
            step.key,
        )
    longest = now + invocation.LONGEST
    wait = Wait(
        "run",
        longest if end is None else min(longest, end),
        {"run": child[0], "task": child[1]},
        child=child,
        look=now + invocation.FIRST_LOOK,
        is_over=lambda: invocation.outcome(step.scope, step.key, child) is not None,
    )
    return memo.unpack(step.park(wait))
