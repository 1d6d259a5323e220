"""How a run leaves its worker: its wait is stored and reported, and its message acknowledged."""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex
from typing import Any

from celery_defer import guard
from celery_defer.commands import Commands
from celery_defer.errors import Cancelled, StepError, Suspended
from celery_defer.outbox import LEASE, ParkedRun, ending_of, pack, unpack, wake
from celery_defer.run import (
    WAKE,
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
from celery_defer.steps.recall import ask, check_current, journal_of, store_of
from celery_defer.steps.replay import Note, Replay, Span
from celery_defer.steps.retention import headers_of
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

_OF_THE_MESSAGE = frozenset(
    {"task_id", "expires", "origin", "redelivered", "delivery_tag", "consumer_tag"}
)
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
    args, kwargs = run.arguments()
    record = ParkedRun(
        id=run.run.id,
        task=run.task.name,
        turn=replay.turn + 1,
        args=args,
        kwargs=kwargs,
        options=_options(run),
        child=wait.child,
        headers={
            **_headers(run),
            **tracing().parked(
                run, {**wait.about, "step": step, "kind": note.kind, "for": wait.kind}
            ),
        },
        hostname=run.context.hostname,
    )
    try:
        body = pack(record)
        _check_args(run, record, body)
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


def _check_args(run: Scope, record: ParkedRun, body: bytes) -> None:
    """Raise ValueError for arguments that JSON would change; pickle allows such."""
    if (getattr(run.task, "serializer", None) or run.app.conf.task_serializer) == "json":
        return
    copy = unpack(record.id, body)
    assert isinstance(copy, ParkedRun)  # noqa: S101
    if [list(copy.args), dict(copy.kwargs)] != [list(record.args), dict(record.kwargs)]:
        raise ValueError("they would come back otherwise: tuples as lists, other keys as text")


def _options(run: Scope) -> dict[str, Any]:
    """Return the options with which Celery would publish a retry, without those of the message."""
    options = {
        **_declared(run),
        **run.task.signature_from_request(run.context).options,
        "ignore_result": run.ignores_result,  # which Celery before 5.7 forgets
    }
    return {
        name: value
        for name, value in options.items()
        if value is not None and name not in _OF_THE_MESSAGE and name != "headers"
    }


def _declared(run: Scope) -> dict[str, Any]:
    """Return the task's own options for messages: celery.app.task.extract_exec_options."""
    names = ("serializer", "compression", "delivery_mode")
    options = {name: getattr(run.task, name, None) for name in names}
    if options["serializer"] == run.app.conf.task_serializer:
        del options["serializer"]
    return options


def _headers(run: Scope) -> dict[str, Any]:
    return {name: value for name, value in headers_of(run).items() if name != WAKE}


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
