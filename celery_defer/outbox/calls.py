"""A call of ``defer``: checked, packed, buffered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery_defer import encoding, guard, ids, subject
from celery_defer.contract import Deferrable, P, deferrable, name_of
from celery_defer.current import extension_of, is_task
from celery_defer.errors import (
    DeferError,
    DepthError,
    IdError,
    LimitError,
    NoRunError,
    NotDeferredError,
    OptionError,
)
from celery_defer.model import NOT_SAMPLED, Call, CallState, Options
from celery_defer.outbox import records
from celery_defer.outbox.at_once import publish_now
from celery_defer.outbox.cancel import abort_from
from celery_defer.outbox.refused import refused_text
from celery_defer.run import Scope, current, merged, signals, tracing
from celery_defer.text import safe_repr

logger = guard.logger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class DeferHandle:
    """What ``defer`` returns: the id of the deferred run, and a way to withdraw the call."""

    _scope: Scope
    _defer_id: str
    skipped: str | None = None  #: Why the call was refused; None if it was not.

    def __repr__(self) -> str:
        return f"DeferHandle(id={self.id!r}, skipped={self.skipped!r})"

    @property
    def id(self) -> ids.RunId:
        """The task id of the deferred run: ``AsyncResult(handle.id)`` reads it.

        A skipped or aborted call has no run: read its ``state``, because ``get()`` would wait.
        """
        return ids.run_id(self._scope.run.id, self._defer_id)

    def abort(self) -> None:
        """Withdraw the call: its run never starts, and the id stays used in this run.

        On an aborted or a skipped call this has no effect. Once the deferred run has started it is
        too late, and a warning is logged.
        """
        if self.skipped is not None:
            return
        scope, call = self._scope, self._scope.buffer.calls.get(self._defer_id)
        if scope.buffer.abort(self._defer_id, may_change=scope.ending.is_open):
            signals.send_aborted(scope, call)
            return
        if not abort_from(scope, self._defer_id):
            logger.warning(
                "defer %r of run %s has been published: too late to abort",
                self._defer_id,
                self._scope.run.id,
                extra=subject.of(self.id, self._scope.run.id, self._defer_id),
            )


def defer(id: str, task: Deferrable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> DeferHandle:
    """Run *task* after the run in progress has succeeded; return a handle at once.

    *id* names the call within its parent run. The arguments are checked against the
    contract of *task* and copied now; nothing is published before the parent's result is
    stored as SUCCESS.

    A bad call (arguments, id, a task without ``@deferred``, a limit) is skipped: logged,
    recorded under the handle's id with state SKIPPED, and explained by ``handle.skipped``;
    with ``defer_strict`` it raises the DeferError instead. Raises NoRunError outside a
    running task.

    >>> defer("receipt", send_receipt, order_id=order.id)
    """
    parent = current()
    buffer = parent.buffer
    if isinstance(id, str) and id in buffer.republished:
        buffer.republished.discard(id)
        return DeferHandle(parent, id)
    try:
        call = _checked(parent, id, task, args, kwargs)
        if call.state is CallState.SKIPPED:
            parent.buffer.skip(call)
            return DeferHandle(parent, id, call.reason)
        if call.options.when == "now":
            call = call.to(publish_now(parent, call))
        _buffer(parent, call)
    except DeferError as problem:
        if parent.settings.strict or isinstance(problem, NoRunError):
            raise
        return _skipped(parent, id, task, problem, refused_text(args, kwargs))
    signals.send_deferred(parent, call)
    return DeferHandle(parent, id)


def deferrable_in(parent: Scope, task: object) -> Deferrable[..., Any]:
    """Return what *parent* may call; raise NotDeferredError for what its app does not know."""
    function = deferrable(task)
    if function.contract.task not in parent.app.tasks:
        raise NotDeferredError(
            f"{function.contract.task} belongs to another app than the run: {parent.app.main!r} "
            "does not know it"
        )
    return function


def call_of(
    parent: Scope,
    id: str,
    function: Deferrable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Call:
    """Return a call, checked and packed.

    Raises PayloadError, LimitKeyError if a limit finds no key in it, and LimitError if it is too
    large or too deep.
    """
    settings = parent.settings
    if parent.run.depth >= settings.max_depth:
        raise DepthError(
            f"the run is {parent.run.depth} deferred runs deep; defer_max_depth is the limit"
        )
    payload = function.contract.pack(args, kwargs)
    if len(payload) > settings.max_payload_bytes:
        raise LimitError(
            f"the payload has {len(payload)} bytes; "
            f"defer_max_payload_bytes = {settings.max_payload_bytes} is the limit"
        )
    if function.limits is not None:
        _check_batch(function)
        sent_args, sent_kwargs = encoding.read(payload)
        function.limits.check(sent_args, sent_kwargs, function.contract)
    call = Call(
        id, function.contract.task, payload, parent.now(), function.options,
        tags=merged(parent.tags, function.options.tags), experiments=parent.experiments,
        trace=tracing().carrier(),
    )  # fmt: skip
    if call.options.model_fields_set:
        records.check(call)
    return call


def _check_batch(function: Deferrable[..., Any]) -> None:
    """Raise OptionError for options that say when a call starts which goes with its batch."""
    options = function.options
    if function.limits is None or function.limits.batch is None:
        return
    for name in ("countdown", "eta", "expires"):
        if getattr(options, name) is not None:
            raise OptionError(
                f"{function.contract.task} has a batch, whose timeout says when it starts, so a "
                f"call of it has no {name}: leave that out"
            )


def _buffer(parent: Scope, call: Call) -> None:
    # Another thread of the run may have used the id, or the body may have ended.
    if not parent.ending.is_open:
        raise NoRunError(f"run {parent.run.id} ({parent.run.task}) has left its body")
    if not parent.buffer.add(call):
        raise IdError(_used(parent.buffer.calls[call.id]))


def _checked(
    parent: Scope, id: str, task: object, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Call:
    if is_task(id):
        raise IdError(f"the id comes first, then the task: defer({safe_repr(task)}, {name_of(id)})")
    ids.check(id)
    calls = parent.buffer.calls
    if id in calls:
        raise IdError(_used(calls[id]))
    if len(calls) >= parent.settings.max_per_run:
        raise LimitError(f"the run has deferred {len(calls)} calls; defer_max_per_run is the limit")
    function = deferrable_in(parent, task)
    call = call_of(parent, id, function, args, kwargs)
    if function.scoring is None or extension_of(parent.app).samples(
        function.scoring, parent.run.id, call.task
    ):
        return call
    return replace(call, state=CallState.SKIPPED, reason=NOT_SAMPLED)


def _used(call: Call) -> str:
    if call.state is CallState.ABORTED:
        return f"defer id {call.id!r} was aborted in this run, which is final"
    return (
        f"defer id {call.id!r} is used already in this run; its first payload stays. In a loop, "
        f'number the ids: f"{call.id}-{{n}}"'
    )


def _skipped(
    parent: Scope, id: object, task: object, problem: DeferError, refused: str
) -> DeferHandle:
    reason = str(problem)
    target = name_of(task)
    call = Call(
        ids.text(id), target, b"", parent.now(), Options(), CallState.SKIPPED, reason,
        refused=refused, tags=parent.tags, experiments=parent.experiments,
    )  # fmt: skip
    about = subject.of(ids.run_id(parent.run.id, call.id), parent.run.id, call.id)
    logger.warning(
        "defer %s of run %s (%s) is skipped: %s",
        safe_repr(id),
        parent.run.id,
        parent.run.task,
        reason,
        extra={**about, "reason": reason},
    )
    parent.buffer.skip(call)
    signals.send_skipped(parent.run.id, parent.run.task, call, type(problem).__name__, reason)
    return DeferHandle(parent, call.id, reason)
