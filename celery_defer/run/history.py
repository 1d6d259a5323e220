"""What the histories of runs are told: facts of a call, and of a run that starts, parks or ends."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from celery_defer.ids import RunId, run_id
from celery_defer.model import NOT_SAMPLED, Call, CallState
from celery_defer.run.about import Taken, about_call, about_run, listed, taken
from celery_defer.run.headers import StepsHeader
from celery_defer.run.scope import Scope
from celery_defer.run.told import WITHDRAWN
from celery_defer.settings import Settings
from celery_defer.store import Fact, RunState

#: The list of calls of what is no task of the app.
NO_TASK = "?"

_WITHOUT_RUN = {CallState.SKIPPED: RunState.SKIPPED, CallState.ABORTED: RunState.ABORTED}


def facts_of_calls(
    settings: Settings,
    calls: Iterable[Call],
    state: RunState,
    *,
    parent: RunId,
    root: RunId,
    now: float,
) -> list[Fact]:
    """Return what the histories of the runs of *calls* are to say."""
    if not settings.record:
        return []
    return [
        Fact(
            run_id(parent, call.id),
            call.task,
            _WITHOUT_RUN.get(call.state, state),
            settings.result_expires + _delay(call, now),
            about_call(settings, parent, root, call),
            WITHDRAWN if call.state is CallState.ABORTED else b"",
            deferred=now - call.at,
            tags=listed(call.tags),
            experiments=_counted(call) if call.experiments else (),
        )
        for call in calls
    ]


def fact_of_run(run: Scope, state: RunState, *, told: bytes = b"", wait: float = 0.0) -> list[Fact]:
    """Return what the history of a run in progress is to say; it waits for *wait* seconds."""
    if not run.settings.record:
        return []
    header = run.header
    return [
        Fact(
            run.run.id,
            run.run.task,
            state,
            run.settings.result_expires + wait,
            b"" if _ends_elsewhere(run, state) else about_run(run),
            told,
            attempt=run.run.attempt,
            deferred=run.now() - header.at if header else None,
            started=monotonic() - run.opened,
            tags=listed(run.tags) if told or header is None else (),
            experiments=taken(run.experiments) if run.experiments else (),
        )
    ]


def fact_before_start(
    run: Scope, state: RunState, *, told: bytes = b"", wait: float = 0.0
) -> list[Fact]:
    """Return what the history of a run is to say whose attempt does not begin: a limit is in force.

    A run that goes on after a wait has begun, and so has one that is tried again.
    """
    attempt = run.run.attempt if run.goes_on else run.run.attempt - 1
    return [
        fact._replace(attempt=attempt, started=fact.started if attempt else None)
        for fact in fact_of_run(run, state, told=told, wait=wait)
    ]


def facts_without_run(run: Scope) -> list[Fact]:
    """Return what is to be known of the run's calls that were skipped or aborted."""
    calls = run.buffer.without_run()[:100] if run.has_deferred else []
    if not calls:
        return []
    id, root = run.run.id, run.run.root_id
    facts = facts_of_calls(
        run.settings, calls, RunState.SKIPPED, parent=id, root=root, now=run.now()
    )
    # What was to be deferred may be no task, and its text any text.
    tasks = run.app.tasks
    return [fact if fact.task in tasks else fact._replace(task=NO_TASK) for fact in facts]


# -- private ------------------------------------------------------------------------------


def _delay(call: Call, now: float) -> float:
    """Return in how many seconds the run of a call starts at the earliest."""
    eta = call.options.eta
    return call.options.countdown or (max(eta.timestamp() - now, 0.0) if eta else 0.0)


def _counted(call: Call) -> Taken:
    """Return the experiments in which a call counts; not one that was refused, and has no run."""
    is_refused = call.state is CallState.SKIPPED and call.reason != NOT_SAMPLED
    return () if is_refused else taken(call.experiments)


def _ends_elsewhere(run: Scope, state: RunState) -> bool:
    """Whether a run that has waited ends before it comes to the experiment that it has begun.

    The store looks up what it carries if the end does not say what the run is.
    """
    is_later = run.turn > 0 and not run.experiments and not state.is_open
    return is_later and StepsHeader.of(run.request).variants > 0
