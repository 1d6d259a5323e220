"""``@deferred``: a Celery task gains a contract."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Concatenate, Literal, Protocol, cast, overload

from pydantic import BaseModel, RootModel
from typing_extensions import Unpack, is_typeddict

from celery_defer import flow
from celery_defer.contract.declared import declare
from celery_defer.contract.function import DeferredTask, P, R
from celery_defer.contract.sample import Scoring
from celery_defer.current import is_app, is_task
from celery_defer.errors import ContractError, OptionError
from celery_defer.flow import (
    Batch,
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

# What `app.task` takes beside the attributes of a task: the parameters of
# celery.app.base.Celery.task and _task_from_fun, of celery.app.autoretry, and the routing
# that celery.app.task.extract_exec_options picks up.
_TASK_OPTIONS = frozenset(
    {"base", "bind", "filter", "lazy", "name", "shared"}
    | {"pydantic", "pydantic_context", "pydantic_dump_kwargs", "pydantic_strict"}
    | {"autoretry_for", "dont_autoretry_for"}
    | {"retry_backoff", "retry_backoff_max", "retry_jitter", "retry_kwargs"}
    | {"compression", "delivery_mode", "exchange", "queue", "routing_key"}
    | {"immediate", "mandatory"}
)


class CeleryApp(Protocol):
    """A Celery app: Celery has no types of its own."""

    def send_task(self, *args: Any, **kwargs: Any) -> Any: ...


@overload
def deferred(task: Callable[P, R], /) -> DeferredTask[P, R]: ...
@overload
def deferred(
    *, schema: None = None, **limits: Unpack[LimitOptions]
) -> Callable[[Callable[P, R]], DeferredTask[P, R]]: ...
@overload
def deferred(
    *, schema: Callable[P, Any], batch: Batch | None = ..., **limits: Unpack[LimitOptions]
) -> Callable[[Callable[..., R]], DeferredTask[P, R]]: ...
@overload
def deferred(
    app: CeleryApp,
    /,
    *,
    schema: Callable[P, Any],
    concurrency: Concurrencies | None = ...,
    throttle: Throttle | None = ...,
    rate_limit: RateLimit | str | float | None = ...,
    debounce: Debounce | None = ...,
    batch: Batch | None = ...,
    singleton: Singleton | bool | None = ...,
    idempotency: Idempotent | None = ...,
    priority: Priority | int | None = ...,
    cancel_on: Sequence[CancelOn] | None = ...,
    timeouts: Timeouts | None = ...,
    limits: Reach = ...,
    **options: Any,
) -> Callable[[Callable[..., R]], DeferredTask[P, R]]: ...
# To pyright a TypedDict is no callable, so a function with one takes any arguments.
@overload
def deferred(  # pyright: ignore[reportOverlappingOverload]
    app: CeleryApp = ...,
    /,
    *,
    schema: type[Mapping[str, Any]],
    concurrency: Concurrencies | None = ...,
    throttle: Throttle | None = ...,
    rate_limit: RateLimit | str | float | None = ...,
    debounce: Debounce | None = ...,
    batch: Batch | None = ...,
    singleton: Singleton | bool | None = ...,
    idempotency: Idempotent | None = ...,
    priority: Priority | int | None = ...,
    cancel_on: Sequence[CancelOn] | None = ...,
    timeouts: Timeouts | None = ...,
    limits: Reach = ...,
    **options: Any,
) -> Callable[[Callable[..., R]], DeferredTask[..., R]]: ...
@overload
def deferred(
    app: CeleryApp,
    /,
    *,
    bind: Literal[True],
    schema: None = None,
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
) -> Callable[[Callable[Concatenate[Any, P], R]], DeferredTask[P, R]]: ...
@overload
def deferred(
    app: CeleryApp,
    /,
    *,
    bind: Literal[False] = False,
    schema: None = None,
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
) -> Callable[[Callable[P, R]], DeferredTask[P, R]]: ...
def deferred(target: Any = None, /, *, schema: Any = None, **options: Any) -> Any:
    """Make a Celery task a deferred function, checked by pydantic and by the type checker.

    On top of any task, the contract is the signature of its function, or the fields of
    *schema* (a pydantic model, dataclass or TypedDict) where the function takes one payload.
    The task stays the task it was: ``delay``, ``s``, beat and calls by name keep working.

    >>> @deferred(schema=OrderPlaced)
    ... @app.task
    ... def track_analytics(order: OrderPlaced) -> None: ...

    With an app, on a plain function, it makes the task too; *options* are those of
    ``app.task``. This form keeps the types, which Celery's stubs lose at ``@app.task``.

    >>> @deferred(app, queue="mail")
    ... def send_receipt(order_id: str) -> None: ...

    Raises OptionError for an unknown option or a schema that is none of these, and
    ContractError for a target that is no task, for an ``async def`` (unless the task's class
    has a ``__call__`` that awaits it), and for a function that does not take the schema. An
    annotation that pydantic cannot check is found at the first call: ``defer`` skips it.
    """
    return decorated(target, schema, options)


def decorated(
    target: Any, schema: Any, options: dict[str, Any], scoring: Scoring | None = None
) -> Any:
    """Return what ``@deferred`` makes of a target, or with *scoring* what ``@scorer`` does."""
    if schema is not None:
        _check_schema(schema)
    limits = flow.take_limits(_name(scoring), options)
    _check_batch(limits, schema, scoring)
    if target is None:
        _check_options(options, frozenset(), scoring)
        return lambda task: _declared(task, schema, scoring, limits)
    if is_app(target):
        base = options.get("base") or target.Task
        _check_options(options, _TASK_OPTIONS | _attributes(base), scoring)
        return lambda function: _declared(target.task(**options)(function), schema, scoring, limits)
    _check_options(options, frozenset(), scoring)
    return _declared(target, schema, scoring, limits)


def _name(scoring: Scoring | None) -> str:
    return "@deferred" if scoring is None else "@scorer"


def _declared(
    task: Any, schema: Any, scoring: Scoring | None, limits: flow.Limits | None
) -> DeferredTask[Any, Any]:
    if not is_task(task):
        name, decorator = getattr(task, "__qualname__", repr(task)), _name(scoring)
        raise ContractError(
            f"{name} is not a Celery task: put {decorator} on top of @app.task or @shared_task, "
            f"or write {decorator}(app) to make it one"
        )
    declare(task, schema, scoring, limits)
    return cast("DeferredTask[Any, Any]", task)


def _check_batch(limits: flow.Limits | None, schema: Any, scoring: Scoring | None) -> None:
    if limits is None or limits.batch is None:
        return
    if scoring is not None:
        raise OptionError("@scorer takes no batch: it scores the one run that defers it")
    if schema is None:
        raise OptionError(
            "@deferred: batch needs schema=: defer takes the fields of one payload, and the "
            "function a list of them"
        )


def _attributes(base: type) -> frozenset[str]:
    return frozenset(name for name in dir(base) if not name.startswith("_"))


def _check_schema(schema: Any) -> None:
    if isinstance(schema, type) and (
        _is_model(schema) or dataclasses.is_dataclass(schema) or is_typeddict(schema)
    ):
        return
    raise OptionError(f"schema {schema!r} is not a pydantic model, a dataclass or a TypedDict")


def _is_model(schema: type) -> bool:
    # A RootModel has no fields that a caller could name.
    return issubclass(schema, BaseModel) and not issubclass(schema, RootModel)


def _check_options(options: dict[str, Any], names: frozenset[str], scoring: Scoring | None) -> None:
    decorator, own = _name(scoring), {"schema"} if scoring is None else {"schema", "sample"}
    for name in options.keys() - names:
        if hint := flow.celery_hint(name, options[name]):
            raise OptionError(f"{decorator}: {hint}")
        near = get_close_matches(name, names | own | flow.NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        rest = f"; options of the task go to @app.task, or use {decorator}(app, …)"
        raise OptionError(f"{decorator} has no option {name!r}{hint}{'' if names else rest}")
