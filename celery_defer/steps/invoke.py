"""A run that another run has invoked, and waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from celery_defer.contract import JsonType, deferrable
from celery_defer.contract import returns as answers
from celery_defer.errors import StepError
from celery_defer.ids import run_id
from celery_defer.model import Call, CallState, Options, When
from celery_defer.outbox.wake import LEASE, wake
from celery_defer.run import memo
from celery_defer.run.memo import Memo
from celery_defer.run.scope import Scope
from celery_defer.steps.failure import failure_of

__all__ = ["FIRST_LOOK", "LONGEST", "call_of", "child_of", "kind_of", "outcome", "tell_invoker"]

# A child tells its invoker that it has ended; the relay looks too, for one that was killed.
FIRST_LOOK = 2.0
LONGEST = 366 * 86_400.0

_NOW: When = "now"
_PLAIN = Options()


def kind_of(run: Scope, task: object) -> JsonType:
    """Answer how the results of a deferred function are written."""
    return answers.of_function(run.app.tasks[deferrable(task).contract.task].run)


def child_of(run: Scope, step: str, task: object) -> tuple[str, str]:
    """Answer the id of the run that a step invokes, and its task."""
    return run_id(run.run.id, _defer_id(step)), deferrable(task).contract.task


def call_of(
    run: Scope, step: str, task: object, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Call:
    """Answer the call that starts the run that a step invokes."""
    function = deferrable(task)
    name = function.contract.task
    target = run.app.tasks[name]
    if target.ignore_result or isinstance(target.backend, DisabledBackend | RPCBackend):
        raise StepError(
            f"step {step!r} cannot wait for {name}, which keeps no result: set result_backend, "
            "and no ignore_result",
            step,
        )
    payload = function.contract.pack(args, kwargs)
    options = function.options.model_copy(update={"when": _NOW})
    return Call(_defer_id(step), name, payload, run.now(), options, step=step)


def outcome(run: Scope, step: str, child: tuple[str, str]) -> Memo | None:
    """Answer what an invoked run has come to, if it has ended."""
    id, task = child
    result = run.app.tasks[task].AsyncResult(id)
    if not result.ready():
        return None
    told = (_call(run, step, task),)
    if result.successful():
        return Memo(answers.pack(step, answers.ANYTHING, result.result), calls=told)
    error = result.result if isinstance(result.result, BaseException) else StepError(result.state)
    return Memo(failure=failure_of(error, is_final=True), calls=told)


def tell_invoker(run: Scope) -> None:
    """Tell the run that has invoked this one, which has ended, what it has come to; wake it."""
    if run.invoker is None or run.store is None:
        return
    id, step = run.invoker
    now = run.now()
    # The result may have expired when the invoker looks.
    found = outcome(run, step, (run.run.id, run.task.name))
    if found is not None:
        run.store.remember(id, {step: memo.pack(found)}, run.settings.claim_keeps)
    taken = run.store.arrive(id, step, now, now + LEASE)
    wake(run.app, run.store, [taken] if taken else [])


def _call(run: Scope, step: str, task: str) -> Call:
    """What is left of the call in the run: its link."""
    return Call(_defer_id(step), task, b"", run.now(), _PLAIN, CallState.PUBLISHED, step=step)


def _defer_id(step: str) -> str:
    # No call of `defer` has such an id, which no broker would carry in a header of its own.
    return f"\0{step}"
