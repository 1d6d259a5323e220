"""``@scorer``: a deferred function that scores the run that has deferred it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from typing_extensions import Unpack

from celery_defer.contract import CeleryApp, DeferredTask, Scoring, decorated
from celery_defer.flow import (
    CancelOn,
    Concurrencies,
    Debounce,
    Idempotent,
    LimitOptions,
    Priority,
    RateLimit,
    Reach,
    Singleton,
    Throttle,
    Timeouts,
)
from celery_defer.scoring.score import Score

__all__ = ["scorer"]

P = ParamSpec("P")
S = TypeVar("S", bound="Score | Sequence[Score] | None")


@overload
def scorer(task: Callable[P, S], /) -> DeferredTask[P, S]: ...
@overload
def scorer(
    *, sample: float = ..., schema: None = None, **limits: Unpack[LimitOptions]
) -> Callable[[Callable[P, S]], DeferredTask[P, S]]: ...
@overload
def scorer(
    *, schema: Callable[P, Any], sample: float = ..., **limits: Unpack[LimitOptions]
) -> Callable[[Callable[..., S]], DeferredTask[P, S]]: ...
@overload
def scorer(
    app: CeleryApp,
    /,
    *,
    schema: Callable[P, Any],
    sample: float = ...,
    concurrency: Concurrencies | None = ...,
    throttle: Throttle | None = ...,
    rate_limit: RateLimit | str | float | None = ...,
    debounce: Debounce | None = ...,
    batch: None = ...,
    singleton: Singleton | bool | None = ...,
    idempotency: Idempotent | None = ...,
    priority: Priority | int | None = ...,
    cancel_on: Sequence[CancelOn] | None = ...,
    timeouts: Timeouts | None = ...,
    limits: Reach = ...,
    **options: Any,
) -> Callable[[Callable[..., S]], DeferredTask[P, S]]: ...
# To pyright a TypedDict is no callable, so a function with one takes any arguments.
@overload
def scorer(  # pyright: ignore[reportOverlappingOverload]
    app: CeleryApp = ...,
    /,
    *,
    schema: type[Mapping[str, Any]],
    sample: float = ...,
    concurrency: Concurrencies | None = ...,
    throttle: Throttle | None = ...,
    rate_limit: RateLimit | str | float | None = ...,
    debounce: Debounce | None = ...,
    batch: None = ...,
    singleton: Singleton | bool | None = ...,
    idempotency: Idempotent | None = ...,
    priority: Priority | int | None = ...,
    cancel_on: Sequence[CancelOn] | None = ...,
    timeouts: Timeouts | None = ...,
    limits: Reach = ...,
    **options: Any,
) -> Callable[[Callable[..., S]], DeferredTask[..., S]]: ...
@overload
def scorer(
    app: CeleryApp,
    /,
    *,
    bind: Literal[True],
    schema: None = None,
    sample: float = ...,
    concurrency: Concurrencies | None = ...,
    throttle: Throttle | None = ...,
    rate_limit: RateLimit | str | float | None = ...,
    debounce: Debounce | None = ...,
    batch: None = ...,
    singleton: Singleton | bool | None = ...,
    idempotency: Idempotent | None = ...,
    priority: Priority | int | None = ...,
    cancel_on: Sequence[CancelOn] | None = ...,
    timeouts: Timeouts | None = ...,
    limits: Reach = ...,
    **options: Any,
) -> Callable[[Callable[Concatenate[Any, P], S]], DeferredTask[P, S]]: ...
@overload
def scorer(
    app: CeleryApp,
    /,
    *,
    bind: Literal[False] = False,
    schema: None = None,
    sample: float = ...,
    concurrency: Concurrencies | None = ...,
    throttle: Throttle | None = ...,
    rate_limit: RateLimit | str | float | None = ...,
    debounce: Debounce | None = ...,
    batch: None = ...,
    singleton: Singleton | bool | None = ...,
    idempotency: Idempotent | None = ...,
    priority: Priority | int | None = ...,
    cancel_on: Sequence[CancelOn] | None = ...,
    timeouts: Timeouts | None = ...,
    limits: Reach = ...,
    **options: Any,
) -> Callable[[Callable[P, S]], DeferredTask[P, S]]: ...
def scorer(
    target: Any = None, /, *, schema: Any = None, sample: float = 1.0, **options: Any
) -> Any:
    """Make a Celery task a deferred function whose return value scores the run that defers it.

    It is declared as ``@deferred`` is, and returns a ``Score``, a list of them, or None where there
    is nothing to say. They are written to the parent run, or to one of its steps
    (``Score(…, step=)``), before the result of the scorer is stored; once, however often the
    scorer is tried or delivered. Anything else fails the scorer with ScoreError, and is not tried
    again. A scorer may have steps: it can wait for what comes of the parent run.

    With ``sample=0.1`` it scores a tenth of the runs, which their ids choose. For the others
    ``defer`` skips the call with the reason "not sampled", and comparisons count them so.

    >>> @scorer(sample=0.1)
    ... @app.task
    ... def relevance(question: str, reply: str) -> Score:
    ...     return Score("relevance", judge(question, reply), source="judge-2")

    Raises what ``deferred`` raises, and OptionError for a *sample* that is not above 0 and up to 1.
    """
    return decorated(target, schema, options, Scoring(sample))
