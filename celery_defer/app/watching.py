"""What ends a run before its body does: events that cancel it, and deadlines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from celery.app.task import Context
from celery.states import FAILURE, IGNORED, SUCCESS

from celery_defer import durations, guard, subject
from celery_defer.errors import StoreAwayError
from celery_defer.events import kept_for, wanted
from celery_defer.flow import Limits
from celery_defer.ids import RunId
from celery_defer.outbox import end_early
from celery_defer.run import Scope, fact_of_run, report_revoked, signals
from celery_defer.steps import earlier_events, journal_of, report_to_invoker
from celery_defer.store import Cancelling, RunState, Store, Subscription, Watch, by_event, by_run

logger = guard.logger(__name__)


def refusal(
    run: Scope, args: Sequence[Any], kwargs: Mapping[str, Any], *, begins: bool = True
) -> str | None:
    """Return why a run that has arrived does not go on, which is logged; None if it does.

    It is late, or an event has cancelled it; then it ends as REVOKED. If not, it is watched from
    now on. With *begins* its body begins next; else a limit holds it back. Without a store it is
    tried again, for the reason in ``run.problem``.
    """
    limits = limits_of(run)
    if limits is None or run.store is None or run.problem is not None:
        return None
    with guard.logged(
        logger, "run %s: the store is away, so it is retried", run.run.id, about=run.about
    ):
        why = _reason(run, run.store, limits, args, kwargs, begins=begins)
        if why:
            facts = dict(run.request)
            run.context = Context(facts, args=args, kwargs=kwargs, called_directly=False)
            return end(run, why)
        return None
    run.problem = StoreAwayError(
        f"run {run.run.id} cannot ask what may end it early: the store is away; it is retried"
    )
    return None


def limits_of(run: Scope) -> Limits | None:
    """Return the limits of a run that something may end early; None for most runs."""
    if run.guarded is None or run.store is None or run.is_eager:
        return None
    limits: Limits = run.guarded.limits
    is_held = run.header is not None or run.wake is not None or limits.applies_to_all
    return limits if is_held else None


def end(run: Scope, why: str) -> str:
    """End a run as REVOKED whose body does not begin, or go on; return what has become of it."""
    extra = {**run.about, "reason": why}
    logger.info("run %s (%s) is REVOKED: %s", run.run.id, run.run.task, why, extra=extra)
    end_early(run, why)
    if run.invoker:
        # If this fails, a relay finds the end.
        with guard.logged(
            logger, "run %s: its invoker does not know of its end", run.run.id, about=run.about
        ):
            report_to_invoker(run)
    return f"run {run.run.id} is REVOKED: {why}"


def end_cancelled(run: Scope) -> None:
    """End a run as REVOKED that was cancelled, and has come to its next step."""
    store, why = run.store, ""
    if store is not None:
        why = guard.attempt(lambda: store.recall(run.run.id, None, 0.0).why, "")
    if why:
        end_early(run, why, is_revoked=why.startswith(by_run(RunId(""))))
        return
    report_revoked(run.app, run.task.backend, run.task.request)
    signals.send_aborted(run)


def leave(run: Scope, traced: Any) -> None:
    """Watch a run no more whose attempt was its last, as Celery's tracer tells it."""
    if run.watched and not run.ending.has_expiry and _is_over(run, traced):
        forget(run, run.run.id)


def forget(run: Scope, id: RunId) -> None:
    """Watch a run no more that has ended: *run*, or another one of its function."""
    if run.guarded is None or run.store is None:
        return
    with guard.logged(
        logger, "run %s: an event or a deadline may find it still", id, about=subject.of(id)
    ):
        run.store.unwatch(id, run.settings.end_keeps)


# -- private ------------------------------------------------------------------------------


def _reason(
    run: Scope,
    store: Store,
    limits: Limits,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    begins: bool,
) -> str:
    """Return why a run ends at once; nothing if it goes on, and is watched."""
    is_again = False
    if run.wake is not None:
        journal = journal_of(run)
        if journal.is_cancelled:
            return journal.why
        if journal.is_watched and (journal.has_begun or limits.timeouts is None):
            run.watched = journal.watched or _deadlines(limits)
            return ""
        is_again = not journal.is_watched  # it was restarted, say
    events = list(_events(run, limits, args, kwargs, is_again=is_again))
    watch = _watch(run, limits, events, begins=begins, is_again=is_again)
    keep = run.settings.run_keeps + max(watch.finish or 0.0, (watch.start or 0.0) - run.now())
    facts = fact_of_run(run, RunState.RUNNING) if begins else []
    watched = store.watch(run.run.id, watch, run.now(), keep, facts=facts)
    if watched.looks:
        for look in watched.looks:
            until = next(each.until for each in events if each.subscription is look.subscription)
            for event in earlier_events(store, look.subscription, look):
                if event.at <= until:
                    why = by_event(event.name)
                    store.cancel(run.run.id, run.settings.run_keeps, run.now(), why=why)
                    return why
        looked = replace(watch, has_looked=True)
        watched = store.watch(run.run.id, looked, run.now(), keep, facts=facts)
    run.watched = tuple(each.subscription.digest for each in events) or _deadlines(limits)
    return watched.why


def _deadlines(limits: Limits) -> Sequence[str]:
    """Return what stands for a deadline among the digests of events: no digest is empty."""
    return ("",) if limits.timeouts and limits.timeouts.finish else ()


def _events(
    run: Scope,
    limits: Limits,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    is_again: bool,
) -> Iterator[Cancelling]:
    """Return the events that cancel a run; one whose values cannot be read does not."""
    now, deferred = run.now(), run.header.at if run.header else run.now()
    cancels: list[Any] = []
    with guard.logged(logger, "run %s: an event does not cancel it", run.run.id, about=run.about):
        cancels = limits.cancels(args, kwargs, run.guarded.contract)
    for cancel, values in cancels:
        with guard.logged(
            logger, "run %s: an event does not cancel it", run.run.id, about=run.about
        ):
            event: Any = cancel.event
            match = wanted(event, values)
            oldest = now - kept_for(event, run.settings.event_retention)
            since = now if is_again else deferred
            wait = Subscription(cancel.name, match.shape, match.digest, since, oldest)
            yield Cancelling(wait, since + cancel.timeout if cancel.timeout else math.inf)


def _watch(
    run: Scope, limits: Limits, events: Sequence[Cancelling], *, begins: bool, is_again: bool
) -> Watch:
    times = limits.timeouts
    if times is None:
        return Watch(events, begins=begins)
    start = None if is_again or times.start is None or run.header is None else times.start
    return Watch(
        events,
        start=None if start is None or run.header is None else run.header.at + start,
        finish=times.finish,
        start_why=f"not started within {_shown(times.start)}",
        finish_why=f"not finished within {_shown(times.finish)}",
        begins=begins,
    )


def _shown(seconds: float | None) -> str:
    return durations.words(seconds or 0.0)


def _is_over(run: Scope, traced: Any) -> bool:
    """Whether an attempt has ended its run; one without an outcome was interrupted."""
    if traced is None:
        return False
    state = SUCCESS if traced.info is None else traced.info.state
    # The body may raise Ignore itself; a run that has parked or was cancelled has left.
    return state in (SUCCESS, FAILURE) or (state == IGNORED and not run.ending.has_left)
