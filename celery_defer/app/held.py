"""How a run leaves its worker that limits of its function hold back, or drop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex

from celery_defer import guard, subject
from celery_defer.app import watching
from celery_defer.app.control import cancel_because
from celery_defer.commands import Commands
from celery_defer.errors import StoreAwayError
from celery_defer.flow import Ask, Drop, Later, Reason
from celery_defer.ids import RunId
from celery_defer.model import HELD, REPLACED, CallState
from celery_defer.outbox import LEASE, HeldAt, end_replaced, ending_of, give_back_all, wake
from celery_defer.run import (
    Scope,
    announce_waiting,
    fact_before_start,
    key_shown,
    report_dropped,
    report_waiting,
    signals,
    told_dropped,
    told_held,
    told_replaced,
    tracing,
    waiting_commands,
    why_dropped,
)
from celery_defer.steps import record_of, report_to_invoker
from celery_defer.store import Held, Holding, RunState, Store, by_run, is_of_one_message

logger = guard.logger(__name__)

# A run that is held back for so many seconds is published all the same, and asks again.
_LONGEST = 86_400.0
_RESULTS = {RunState.SKIPPED: CallState.SKIPPED.value, RunState.REPLACED: REPLACED}


@dataclass(frozen=True, slots=True)
class End:
    """How a run ends that never starts: for which *reason*, and because of which limit and run."""

    state: RunState
    reason: str
    limit: str
    by: RunId | None = None


def hold(run: Scope, store: Store, ask: Ask, later: Later, owner: str) -> str | None:
    """Let a run wait for its place outside the worker; return what has become of it.

    Returns None if it can neither start nor be held back, for the reason in ``run.problem``: then
    it is to be tried again.
    """
    answer = None
    if later.cancels is not None:
        cancel_earlier(run, later.cancels)
    with _requested(run):
        with guard.logged(
            logger, "run %s cannot be held back, and is retried", run.run.id, about=run.about
        ):
            holding = _holding(run, later)
            if isinstance(holding, str):
                return end(run, store, End(RunState.SKIPPED, holding, later.gate))
            answer = _hold(run, store, ask, later, holding)
        if answer is None:
            run.problem = StoreAwayError(
                f"run {run.run.id} cannot be held back by its limit {later.gate!r}: the store is "
                "away or full; it is retried"
            )
            return None
        return _held(run, store, ask, answer, owner)


def drop(run: Scope, store: Store, ask: Ask, why: Drop, owner: str) -> str:
    """End a run that a limit drops; return what has become of it.

    One that has begun has done something, and ends as REVOKED: another run has got its singleton.
    """
    if run.wake is not None:  # its record is still there, for whoever begins its turn
        with guard.logged(logger, "run %s: its record stays", run.run.id, about=run.about):
            claim = store.resume(run.run.id, run.wake.turn, owner, run.settings.run_keeps).claim
            if not claim.is_mine and not is_of_one_message(claim.owner, owner):
                return _elsewhere(run)
    if _has_begun(run, store, why):
        words = watching.end(run, by_run(why.by) if why.by else why_dropped(run.settings, why))
        watching.forget(run, run.run.id)
    else:
        state = RunState.REPLACED if why.reason is Reason.REPLACED else RunState.SKIPPED
        cancels = any(gate.cancels for gate in ask.gates if gate.name == why.gate)
        is_late = cancels and run.wake is None and not run.came_again
        text = why_dropped(run.settings, why, is_late=is_late)
        words = end(run, store, End(state, text, why.gate, why.by))
    if run.wake is not None:  # it may stand in a line
        give_back_all(run.app, store, ask.run, ask.task)
    return words


def end(run: Scope, store: Store, end: End) -> str:
    """End a run that never starts: in its record, its result, and for the run that invoked it."""
    state, reason, by = end.state, end.reason, end.by
    logger.info(
        "run %s (%s) is %s, and does not start: %s", run.run.id, run.run.task, state.value, reason,
        extra={**run.about, "reason": reason},
    )  # fmt: skip
    told = told_replaced(by) if by and state is RunState.REPLACED else told_dropped(reason, by)
    with guard.logged(logger, "run %s: its record lacks its end", run.run.id, about=run.about):
        store.note(fact_before_start(run, state, told=told))
    with guard.logged(logger, "run %s: its result lacks its end", run.run.id, about=run.about):
        report_dropped(
            run.app, run.task.backend, run.context, _RESULTS[state], reason,
            stores=not run.ignores_result,
        )  # fmt: skip
    if run.invoker:
        # If this fails, a relay finds the end.
        with guard.logged(
            logger, "run %s: its invoker does not know of its end", run.run.id, about=run.about
        ):
            report_to_invoker(run)
    watching.forget(run, run.run.id)
    signals.send_dropped(run, end.limit, reason, by)
    return f"run {run.run.id} is {state.value}"


def cancel_earlier(run: Scope, earlier: RunId) -> None:
    """Cancel the run in whose place a singleton lets this one start."""
    with guard.logged(
        logger, "run %s does not cancel the earlier one", run.run.id, about=run.about
    ):
        cancel_because(earlier, by_run(run.run.id), app=run.app)
        logger.info("run %s cancels %s, which is earlier", run.run.id, earlier, extra=run.about)


# -- private ------------------------------------------------------------------------------


@contextmanager
def _requested(run: Scope) -> Iterator[None]:
    """Let the task have the request of its message, as in its body."""
    run.task.request_stack.push(run.context)
    try:
        yield
    finally:
        run.task.request_stack.pop()


def _has_begun(run: Scope, store: Store, why: Drop) -> bool:
    """Whether the body of a run that a limit drops has begun in an earlier delivery or attempt."""
    if why.reason is not Reason.SINGLETON:  # only that one is asked again
        return False
    if run.goes_on or run.request.get("retries"):
        return True
    if run.wake is None and not run.is_redelivered:
        return False
    (known,) = guard.attempt(lambda: store.histories([run.run.id]), [None])
    return known is not None and bool(known.started)


def _holding(run: Scope, later: Later) -> Holding | str:
    """Return how the run is woken, or why it cannot be."""
    at = HeldAt.STEP if run.goes_on else HeldAt.START
    try:
        record, body = record_of(
            run, run.turn + 1, headers=tracing().held(run, later.gate), held=at
        )
    except (TypeError, ValueError) as error:
        return f"its arguments are not JSON ({error}), so it cannot wait: use the serializer 'json'"
    return Holding(run.turn, token_hex(4), body, run.now() + _LONGEST, ending_of(record))


def _hold(run: Scope, store: Store, ask: Ask, later: Later, holding: Holding) -> Held:
    now = run.now()
    # What it has told as it parked or failed stays.
    is_first = run.wake is None and not run.came_again
    told = told_held(run.settings, later, now) if is_first else b""
    return store.hold(
        ask,
        holding,
        now=now,
        until=now + LEASE,
        keep=_LONGEST + run.settings.outbox_keeps,
        report=_report(run, store, later, holding.due),
        facts=fact_before_start(run, RunState.HELD, told=told, wait=_LONGEST),
    )


def _report(run: Scope, store: Store, later: Later, until: float) -> Commands | None:
    """Report that the run is held; return the report if the store is to write it as it holds it."""
    key = key_shown(run.settings, later.key)
    announce_waiting(run, f"held by {later.gate} {key}".rstrip(), None, HELD)
    meta = {"limit": later.gate, "key": key, "since": run.now()}
    report = waiting_commands(run, meta, until, HELD)
    if report is not None and store.reaches(report):
        return report
    report_waiting(run, meta, until, HELD)
    return None


def _held(run: Scope, store: Store, ask: Ask, answer: Held, owner: str) -> str:
    if answer.replaced is not None:
        _replace(run, store, answer.replaced, answer.left)
    later = answer.admission
    if isinstance(later, Drop):
        return drop(run, store, ask, later, owner)
    if not isinstance(later, Later):
        return _elsewhere(run)
    signals.send_held(run, later)
    if answer.leased:
        # If this fails, a relay wakes them.
        with guard.logged(
            logger, "run %s: runs that may start are woken later", run.run.id, about=run.about
        ):
            wake(run.app, store, answer.leased)
    logger.info(
        "run %s (%s) is held back by its limit %s", run.run.id, run.run.task, later.gate,
        extra=run.about,
    )  # fmt: skip
    return f"run {run.run.id} is held back"


def _replace(run: Scope, store: Store, earlier: RunId, left: bytes) -> None:
    """End a run that has waited, and in whose place this one runs."""
    task = run.run.task
    logger.info("run %s (%s) runs in place of %s", run.run.id, task, earlier, extra=run.about)
    # If this fails, a relay ends it.
    with guard.logged(
        logger, "run %s is replaced, and ends later", earlier, about=subject.of(earlier)
    ):
        end_replaced(run.app, store, earlier, left)


def _elsewhere(run: Scope) -> str:
    logger.info("run %s goes on in another delivery of it", run.run.id, extra=run.about)
    return f"run {run.run.id} goes on elsewhere"
