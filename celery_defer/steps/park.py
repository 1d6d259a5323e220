"""How a run leaves its worker: its wait is stored and reported, and its message acknowledged."""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex

from celery_defer import guard
from celery_defer.commands import Commands
from celery_defer.errors import Cancelled, StepError, Suspended
from celery_defer.outbox import LEASE, ending_of, wake
from celery_defer.run import (
    Phase,
    Scope,
    announce_waiting,
    fact_of_run,
    report_started,
    report_waiting,
    signals,
    told_by,
    tracing,
    waiting_commands,
)
from celery_defer.steps.chord import check_chord
from celery_defer.steps.earlier import earlier_events
from celery_defer.steps.leaving import record_of
from celery_defer.steps.recall import ask, check_current, journal_of, store_of
from celery_defer.steps.replay import Note, Replay, Span
from celery_defer.steps.variants import variants_in_progress
from celery_defer.steps.wait import Wait
from celery_defer.store import (
    Arrival,
    Parking,
    RunState,
    Store,
    Verdict,
)

logger = guard.logger(__name__)

# The tasks whose runs are lost in a kill, as this process has said.
_warned: set[str] = set()


def park(run: Scope, step: str, wait: Wait, note: Note) -> bytes:
    """Park the run until *wait* is over, with a *note* of the step.

    Raises Suspended, which ends the turn, or returns the memo of an event that was sent before.
    """
    check_chord(run, step, wait)
    store, replay = store_of(run), journal_of(run)
    parking, report = _parking(run, replay, step, wait, note), _report(run, store, step, wait)
    arrival = _attempt(run, store, parking, wait, report)
    if arrival.verdict is Verdict.ARRIVED:
        if report is None:
            report_started(run)
        return arrival.memo or b""
    run.drop(Phase.PARKED)
    if arrival.verdict is Verdict.CANCELLED:
        raise cancelled(run)
    if arrival.verdict is Verdict.SUPERSEDED:
        raise Suspended(f"run {run.run.id} goes on in another delivery of it")
    replay.waits_for = wait.about
    _warn_of_loss(run)
    signals.send_parked(run, step, wait.kind, None if wait.child else wait.until)
    _check_over(run, store, step, wait)
    raise Suspended(f"run {run.run.id} waits at step {step!r} {wait.words}")


def cancelled(run: Scope) -> Cancelled:
    """Mark the run as cancelled, and return the exception that ends it."""
    run.drop(Phase.PARKED)
    journal_of(run).is_cancelled = True
    return Cancelled(f"run {run.run.id} was cancelled")


def suspended(run: Scope) -> Suspended:
    """Return the exception that ends a body that goes on although its run has parked."""
    if run.journal is not None and run.journal.is_cancelled:
        return cancelled(run)
    return Suspended(f"run {run.run.id} has left its worker")


# -- private ------------------------------------------------------------------------------


def _report(run: Scope, store: Store, step: str, wait: Wait) -> Commands | None:
    """Report that the run waits; return the report if the store is to write it as it parks."""
    announce_waiting(run, f"waiting at step {step!r} {wait.words}", wait.shown)
    report = waiting_commands(run, wait.meta(step), wait.until)
    if report is not None and store.reaches(report):
        return report
    # The step may have been slow, and the run may have ended elsewhere meanwhile.
    check_current(run, ask(run, step, lambda: store.turn(run.run.id)))
    report_waiting(run, wait.meta(step), wait.until)
    return None


def _attempt(
    run: Scope, store: Store, parking: Parking, wait: Wait, report: Commands | None
) -> Arrival:
    now = run.now()
    # When it is due it waits for a worker, as long as any record of the outbox.
    keep = wait.until - now + run.settings.outbox_keeps
    facts = fact_of_run(
        run, RunState.WAITING, told=_told(run, parking.step, wait), wait=max(wait.until - now, 0.0)
    )

    def attempt(parking: Parking) -> Arrival:
        return store.park(run.run.id, parking, now, keep, report, facts=facts)

    def attempts() -> Arrival:
        arrival = attempt(parking)
        if arrival.verdict is not Verdict.LOOK or parking.subscription is None:
            return arrival
        early = list(earlier_events(store, parking.subscription, arrival))
        return attempt(replace(parking, early=early))

    return ask(run, parking.step, attempts)


def _told(run: Scope, step: str, wait: Wait) -> bytes:
    """Return what the run waits for, for its history."""
    about = {"step": step, "kind": wait.kind, "since": run.now(), "until": wait.until}
    return told_by(run, (), {**about, **wait.about})


def _parking(run: Scope, replay: Replay, step: str, wait: Wait, note: Note) -> Parking:
    about = {**wait.about, "step": step, "kind": note.kind, "for": wait.kind}
    try:
        record, body = record_of(
            run, replay.turn + 1, child=wait.child, headers=tracing().parked(run, about)
        )
    except Exception as error:
        raise StepError(
            f"step {step!r} cannot park run {run.run.id}: its arguments are not JSON ({error}); "
            "use the serializer 'json' for tasks that wait",
            step,
        ) from error
    return Parking(
        turn=replay.turn,
        step=step,
        note=note.pack(),
        token=token_hex(4),  # unique in this run only
        body=body,
        due=min(wait.until, wait.look or wait.until),
        subscription=wait.subscription,
        ending=ending_of(record),
        span=Span(wait.began or run.now(), wait.until, variants_in_progress(run)).pack(),
    )


def _warn_of_loss(run: Scope) -> None:
    """Warn once for each task of this process whose runs a kill would lose."""
    name = run.task.name
    if not run.task.acks_late and name not in _warned:
        _warned.add(name)
        logger.warning(
            "%s waits without acks_late: a worker that is killed in one of its turns loses the run;"
            " set acks_late and reject_on_worker_lost",
            name,
        )


def _check_over(run: Scope, store: Store, step: str, wait: Wait) -> None:
    """Wake the run at once if its wait ended while it was not parked yet."""
    with guard.logged(logger, "run %s: it may have missed what it waits for", run.run.id):
        if wait.is_over():
            now = run.now()
            lease = store.arrive(run.run.id, step, now, now + LEASE)
            if lease is not None:
                wake(run.app, store, [lease])
