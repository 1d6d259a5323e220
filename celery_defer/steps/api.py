"""Steps: named pieces of a run, each done once, and waits that hold no worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

from celery_defer import durations, ids
from celery_defer.contract import Deferrable
from celery_defer.contract import returns as answers
from celery_defer.durations import Duration
from celery_defer.errors import StoreAwayError, StoreError
from celery_defer.events import event as events
from celery_defer.events.event import Event, Received
from celery_defer.outbox import publish as outbox
from celery_defer.steps import attempt as tries
from celery_defer.steps import invoke as invocation
from celery_defer.steps import waiting
from celery_defer.steps.base import begin
from celery_defer.steps.storage import ask

__all__ = ["Steps", "step"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Steps:
    """The steps of the run in progress: use it as ``step``, in the body of any task.

    A run with steps is run again from the start after each wait. A finished step is not: what
    it answered is answered once more. So what has an effect, or may be different the next time
    (the clock, a random number, a database), belongs into a step; the code between steps runs
    several times.

    An id names one step of its run. Where it stands again, as in a loop, the next step is
    ``id:1``, then ``id:2``, by their order. All raise NoRunError outside a task, StoreError where
    the app has no Redis to remember in, and StepError for what cannot be a step.
    """

    __slots__ = ()

    @overload
    def run(
        self, id: str, fn: Callable[..., R], /, *args: Any, retries: int, **kwargs: Any
    ) -> R: ...
    @overload
    def run(self, id: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def run(self, id: str, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        """Call *fn* once in the run, and answer what it answered.

        That goes through JSON, by the return annotation of *fn* if it has one, so that a replay
        answers an equal value. What *fn* defers belongs to the run once the step has finished.

        What *fn* raises leaves the step; StepError instead, if it could not be made again in a
        replay. With *retries*, the step is tried so many times more, the run being parked for
        about 1, 2, 4 … seconds in between (``RetryAfter`` says how long, ``NonRetriable`` ends
        the tries); then it raises StepError.

        >>> charge = step.run("charge", gateway.charge, order.id, retries=3)
        """
        retries = kwargs.pop("retries", 0)
        one = begin(id)
        tries.check(one, fn, retries)
        kind = answers.of_function(fn)
        known = one.memo() or tries.tried(one, partial(fn, *args, **kwargs), kind, retries)
        return one.answer(known, kind)  # type: ignore[no-any-return]

    def sleep(self, id: str, duration: Duration) -> None:
        """Go on after *duration*: seconds, a timedelta, or text such as ``"1h30m"`` or ``"7d"``.

        >>> step.sleep("a week", "7d")
        """
        one = begin(id)
        waiting.sleep_until(one, one.scope.now() + durations.seconds(id, duration))

    def sleep_until(self, id: str, at: datetime) -> None:
        """Go on at a moment that has a time zone; at once if it has passed.

        >>> step.sleep_until("opening", datetime(2030, 1, 1, 9, tzinfo=timezone.utc))
        """
        one = begin(id)
        waiting.sleep_until(one, durations.moment(id, at, one.scope.now()))

    @overload
    def wait_for_event(
        self, id: str, event: Event[T], *, timeout: Duration, match: Mapping[str, Any] | None = None
    ) -> Received[T] | None: ...
    @overload
    def wait_for_event(
        self, id: str, event: str, *, timeout: Duration, match: Mapping[str, Any] | None = None
    ) -> Received[Any] | None: ...
    def wait_for_event(
        self,
        id: str,
        event: Event[Any] | str,
        *,
        timeout: Duration,
        match: Mapping[str, Any] | None = None,
    ) -> Received[Any] | None:
        """Wait for an event, and answer it; None when *timeout* is over.

        *match* maps paths in the event's data, such as ``"user.id"``, to values; all must be
        equal. An event counts that was sent since the run was deferred, or since its first step
        where it was not (``.delay()``), and that the run has not received in another step. One
        that is older than ``defer_event_retention``, a day, when the wait begins does not count.

        Raises EventError for an event or a *match* that cannot be one.

        >>> bought = step.wait_for_event(
        ...     "purchase", purchase, timeout="7d", match={"order_id": order.id}
        ... )
        """
        one = begin(id)
        with one.named():
            (name, kind), wanted = events.typed(event), events.wanted(event, match)
        longest = durations.seconds(id, timeout)
        known = one.memo()
        if known is None and one.note is not None:
            known = waiting.give_up(one, name, wanted)
        if known is None:
            known = waiting.wait_for(one, name, wanted, longest)
        return events.received(one.key, known, kind)

    @overload
    def send_event(self, id: str, event: Event[T], data: T) -> int: ...
    @overload
    def send_event(self, id: str, event: str, data: object = None) -> int: ...
    def send_event(self, id: str, event: Event[Any] | str, data: object = None) -> int:
        """Send an event once in the run; answer how many runs it woke.

        Raises EventError for a bad name or data.

        >>> step.send_event("tell", "order/shipped", {"order_id": order.id})
        """
        one = begin(id)
        unique = ids.run_id(one.scope.run.id, f"event:{one.key}")

        def send() -> int:
            try:
                with one.named():
                    return events.send_event(event, data, id=unique)
            except StoreError as error:
                raise StoreAwayError(f"step {one.key!r}: {error}") from error

        kind = answers.of_function(send)
        return int(one.answer(one.memo() or tries.tried(one, send, kind), kind))

    def invoke(self, id: str, task: Deferrable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a deferred function as a run of its own, wait for its end, and answer its result.

        Raises StepError if it fails or is revoked, and where it keeps no result; PayloadError for
        arguments that do not fit, and NotDeferredError for a task without ``@deferred``.

        >>> invoice = step.invoke("invoice", make_invoice, order_id=order.id)
        """
        one = begin(id)
        with one.named():
            kind = invocation.kind_of(one.scope, task)
        child, known = invocation.child_of(one.scope, one.key, task), one.memo()
        if known is None and one.note is None:
            one.check_waits()
            with one.named():
                call = invocation.call_of(one.scope, one.key, task, args, kwargs)
            ask(one.scope, one.key, lambda: outbox.publish_surely(one.scope, call))
        if known is None:
            known = waiting.ended(one, child)
        return one.answer(known, kind, child)  # type: ignore[no-any-return]


step = Steps()
