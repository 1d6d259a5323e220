"""Steps: named pieces of a run, each done once, and waits that occupy no worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, SupportsFloat, TypeVar, overload

from celery_defer import durations, ids
from celery_defer.contract import Deferrable, returns
from celery_defer.durations import Duration
from celery_defer.errors import StoreError
from celery_defer.events import Event, Received, send_event
from celery_defer.scoring import Score
from celery_defer.steps.attempt import attempt, check
from celery_defer.steps.base import Step, begin
from celery_defer.steps.event import wait_for_event
from celery_defer.steps.invoke import invoke
from celery_defer.steps.recall import away
from celery_defer.steps.retry import check_retries
from celery_defer.steps.score import write_score
from celery_defer.steps.wait import Wait

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Steps:
    """The steps of the run in progress: use it as ``step``, in the body of any task.

    After each wait, the body runs again from the start. Finished steps do not: they return what
    they returned before. So put into a step what has an effect, or what may differ the next time
    (the clock, a random number, a database); the code between steps runs several times.

    An id names one step of its run. If it is used again, as in a loop, the next steps are ``id:1``,
    ``id:2`` and so on. All methods raise NoRunError outside a task, StoreError if the app has no
    Redis, and StepError for what cannot be a step.
    """

    __slots__ = ()

    @overload
    def run(
        self, id: str, fn: Callable[..., R], /, *args: Any, retries: int, **kwargs: Any
    ) -> R: ...
    @overload
    def run(self, id: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def run(self, id: str, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
        """Call *fn* once in the run, and return its result.

        The result goes through JSON, by the return annotation of *fn* if it has one, so that a
        replay returns an equal value. What *fn* defers belongs to the run once the step finishes.

        An exception of *fn* is raised to the body, or StepError if a replay could not rebuild it.
        With *retries*, the step is tried up to that many more times; in between the run is parked
        for about 1, 2, 4 … seconds (raise ``RetryAfter`` to say how long, ``NonRetriable`` to
        stop). Then it raises StepError.

        >>> charge = step.run("charge", gateway.charge, order.id, retries=3)
        """
        retries = kwargs.pop("retries", 0)
        one = begin(id, "run")
        check(one, fn)
        check_retries(one, retries)
        kind = returns.of_function(fn)
        memo = one.memo or attempt(one, partial(fn, *args, **kwargs), kind, retries)
        return one.result(memo, kind)  # type: ignore[no-any-return]

    def sleep(self, id: str, duration: Duration) -> None:
        """Go on after *duration*: seconds, a timedelta, or text such as ``"1h30m"`` or ``"7d"``.

        >>> step.sleep("a week", "7d")
        """
        one = begin(id, "sleep")
        _sleep_until(one, one.scope.now() + durations.seconds(id, duration))

    def sleep_until(self, id: str, at: datetime) -> None:
        """Go on at a moment that has a time zone; at once if it has passed.

        >>> step.sleep_until("opening", datetime(2030, 1, 1, 9, tzinfo=timezone.utc))
        """
        one = begin(id, "sleep")
        _sleep_until(one, durations.moment(id, at, one.scope.now()))

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
        """Wait for an event, and return it; None when *timeout* is over.

        *match* maps paths in the event's data, such as ``"user.id"``, to values; all must be
        equal. An event counts if it was sent since the run was deferred, or since its first step
        if it was not deferred (``.delay()``), and the run has not received it in another step. An
        event older than ``defer_event_retention``, a day, when the wait begins does not count.

        Raises EventError for a bad *event* or *match*.

        >>> bought = step.wait_for_event(
        ...     "purchase", purchase, timeout="7d", match={"order_id": order.id}
        ... )
        """
        return wait_for_event(begin(id, "wait_for_event"), event, timeout, match)

    @overload
    def send_event(self, id: str, event: Event[T], data: T | Mapping[str, Any]) -> int: ...
    @overload
    def send_event(self, id: str, event: str, data: object = None) -> int: ...
    def send_event(self, id: str, event: Event[Any] | str, data: object = None) -> int:
        """Send an event once in the run; return how many runs it woke.

        Raises EventError for a bad name or data.

        >>> step.send_event("shipped", "order/shipped", {"order_id": order.id})
        """
        one = begin(id, "send_event")
        unique = ids.run_id(one.scope.run.id, f"event:{one.key}")

        def send() -> int:
            try:
                with one.named():
                    return send_event(event, data, id=unique)
            except StoreError as error:
                raise away(one.scope, f"step {one.key!r}: {error}") from error

        kind = returns.of_function(send)
        return int(one.result(one.memo or attempt(one, send, kind), kind))

    def score(
        self,
        id: str,
        name: str,
        value: SupportsFloat,
        *,
        comment: str | None = None,
        source: str | None = None,
    ) -> None:
        """Score the run, once: a replay, a retry or a redelivery does not write it again.

        *name*, *value*, *comment* and *source* are those of a ``Score``. Raises ScoreError.

        >>> step.score("score", "converted", bought is not None)
        """
        one = begin(id, "score")
        with one.named():
            score = Score(name, value, comment, source)
        write_score(one, score)

    def invoke(self, id: str, task: Deferrable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a deferred function as a run of its own, wait for its end, and return its result.

        Raises StepError if that run fails or is revoked, or keeps no result; PayloadError for
        arguments that do not fit, LimitError if they are too large or the run is too deep, and
        NotDeferredError for a task without ``@deferred``.

        >>> invoice = step.invoke("invoice", make_invoice, order_id=order.id)
        """
        return invoke(begin(id, "invoke"), task, args, kwargs)  # type: ignore[no-any-return]


def _sleep_until(step: Step, at: float) -> None:
    if step.note is None and at > step.scope.now():
        step.park(Wait("sleep", at))


step = Steps()
