"""How a step invokes another run, and waits for its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from celery_defer.contract import Deferrable, returns
from celery_defer.errors import LimitError, LimitKeyError, PayloadError, StepError
from celery_defer.ids import run_id
from celery_defer.model import ENDED, Call, CallState, Options, When
from celery_defer.outbox import LEASE, call_of, deferrable_in, publish_durably, wake
from celery_defer.run import Memo, Scope
from celery_defer.steps.base import Step
from celery_defer.steps.chord import chord_end
from celery_defer.steps.failure import failure_of
from celery_defer.steps.recall import ask
from celery_defer.steps.wait import Wait

# A child reports its end to its invoker; the relay looks too, in case the child was killed.
_FIRST_LOOK = 2.0
_LONGEST = 366 * 86_400.0

_NOW: When = "now"
_PLAIN = Options()

#: The id of an invoked run, and its task.
Child = tuple[str, str]


def invoke(step: Step, task: object, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the result of the run that a step invokes, or raise its failure."""
    run = step.scope
    with step.named():
        function = deferrable_in(run, task)
    name = function.contract.task
    kind = returns.of_function(run.app.tasks[name].run)
    child, memo = (run_id(run.run.id, _defer_id(step.key)), name), step.memo
    if memo is None and step.note is None:
        step.check_waits()
        call = _checked(step, function, args, kwargs)
        ask(run, step.key, lambda: publish_durably(run, call))
    if memo is None:
        memo = _ended(step, child)
    return step.result(memo, kind, f"run {child[0]} ({name}) ended with ")


def report_to_invoker(run: Scope) -> None:
    """Store the outcome of this run, which has ended, for the run that invoked it; wake that."""
    if run.invoker is None or run.store is None:
        return
    id, step = run.invoker
    now = run.now()
    # By the time the invoker looks, the result may have expired.
    memo = _outcome(run, step, (run.run.id, run.task.name))
    if memo is not None:
        run.store.remember(id, {step: memo.pack()}, run.settings.run_keeps)
    lease = run.store.arrive(id, step, now, now + LEASE)
    if lease is not None:
        wake(run.app, run.store, [lease])


def _checked(
    step: Step, function: Deferrable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Call:
    """Return the call that starts the invoked run; if it is refused, the step has failed."""
    began = step.scope.now()
    try:
        with step.named():
            return _call(step.scope, step.key, function, args, kwargs)
    except (LimitError, LimitKeyError, PayloadError) as error:
        failure = failure_of(error, is_final=False)
        if failure.exception is not None:  # the same is raised in each turn
            step.replay.catch(step.key, step.pack(Memo(failure=failure, began=began)))
        raise


def _call(
    run: Scope,
    step: str,
    function: Deferrable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Call:
    """Return the call that starts the invoked run."""
    if function.limits is not None and function.limits.batch is not None:
        raise StepError(
            f"step {step!r} cannot invoke {function.contract.task}, which has a batch: its result "
            "is that of many calls; defer it, or call its function in step.run",
            step,
        )
    call = call_of(run, _defer_id(step), function, args, kwargs)
    target, ignores = run.app.tasks[call.task], call.options.ignore_result
    if ignores is None:
        ignores = target.ignore_result
    if ignores or isinstance(target.backend, DisabledBackend | RPCBackend):
        raise StepError(
            f"step {step!r} cannot wait for {call.task}, which keeps no result: set "
            "result_backend, and no ignore_result",
            step,
        )
    return replace(call, options=call.options.model_copy(update={"when": _NOW}), step=step)


def _ended(step: Step, child: Child) -> Memo:
    """Return the outcome of an invoked run; park until it has ended."""
    memo = _outcome(step.scope, step.key, child)
    if memo is not None:
        return step.keep(memo)
    now, end = step.scope.now(), chord_end(step.scope)
    if end is not None and now >= end:
        raise StepError(
            f"step {step.key!r} has waited for run {child[0]} for as long as the chord counts "
            "that it is in: set result_chord_expires (before Celery 5.7: result_expires) to "
            "more than such a run may take",
            step.key,
        )
    longest = now + _LONGEST
    wait = Wait(
        "run",
        longest if end is None else min(longest, end),
        {"run": child[0], "task": child[1]},
        child=child,
        look=now + _FIRST_LOOK,
        is_over=lambda: _outcome(step.scope, step.key, child) is not None,
    )
    return step.park(wait)


def _outcome(run: Scope, step: str, child: Child) -> Memo | None:
    """Return the outcome of an invoked run, if it has ended."""
    id, task = child
    result = run.app.tasks[task].AsyncResult(id)
    if result.state not in ENDED:
        return None
    # The invoker's link to the run.
    link = Call(_defer_id(step), task, b"", run.now(), _PLAIN, CallState.PUBLISHED, step=step)
    error = result.result if isinstance(result.result, BaseException) else _no_run(result)
    if result.successful():
        limit = run.settings.max_payload_bytes
        kind = returns.of_function(run.app.tasks[task].run)
        try:
            # Celery has stored the result without its type, which the step reads it by.
            plain = kind if kind is returns.ANYTHING else returns.PLAIN
            json = returns.pack(step, plain, result.result, limit)
            return Memo(json, calls=(link,), kind="invoke")
        except StepError as refusal:
            error = refusal
    return Memo(failure=failure_of(error, is_final=True), calls=(link,), kind="invoke")


def _no_run(result: Any) -> StepError:
    """Return the error of a run that is skipped or aborted; its result has the reason."""
    reason = result.result.get("reason") if isinstance(result.result, dict) else None
    return StepError(f"{result.state}: {reason}" if reason else result.state)


def _defer_id(step: str) -> str:
    # No call of `defer` has such an id: brokers refuse it in a header.
    return f"\0{step}"
