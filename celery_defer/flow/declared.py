"""The limits among the options of a decorator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

from typing_extensions import TypedDict

from celery_defer.durations import Duration
from celery_defer.errors import OptionError
from celery_defer.flow.checks import Key
from celery_defer.flow.conflicts import conflict
from celery_defer.flow.ends import CancelOn, Timeouts
from celery_defer.flow.limits import CONCURRENCIES, Limits
from celery_defer.flow.options import (
    Batch,
    Concurrency,
    Debounce,
    Idempotency,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
)
from celery_defer.text import safe_repr

T = TypeVar("T")

#: Which runs of a function its limits hold for.
Reach = Literal["deferred", "all"]
Concurrencies = Concurrency | tuple[Concurrency] | tuple[Concurrency, Concurrency]
Idempotent = Key | tuple[Key, Duration]


class LimitOptions(TypedDict, total=False):
    """The limits that ``@deferred`` takes on top of a task."""

    concurrency: Concurrencies | None
    throttle: Throttle | None
    rate_limit: RateLimit | None
    debounce: Debounce | None
    singleton: Singleton | bool | None
    idempotency: Idempotent | None
    priority: Priority | None
    cancel_on: Sequence[CancelOn] | None
    timeouts: Timeouts | None
    limits: Reach


#: The names of the options.
NAMES = frozenset(LimitOptions.__annotations__) | {"batch"}

# Celery has task attributes with these names too.
_CELERYS = {"rate_limit": RateLimit, "priority": Priority}
_OURS = (Batch, CancelOn, Concurrency, Debounce, Priority, RateLimit, Singleton, Throttle, Timeouts)


def take_limits(decorator: str, options: dict[str, Any]) -> Limits | None:
    """Take the limits out of the options of a decorator; None if it has none.

    Raises OptionError for a value of another type, and for limits that contradict each other. What
    is Celery's is left there: ``rate_limit="10/m"``, and a number as the priority.
    """
    mine = {name: options.pop(name) for name in NAMES if _is_ours(name, options)}
    try:
        limits = _limits(mine)
        reason = conflict(limits)
    except OptionError as error:
        raise OptionError(f"{decorator}: {error}") from None
    if reason:
        raise OptionError(f"{decorator}: {reason}")
    return limits if limits != Limits() else None


def celery_hint(name: str, value: object) -> str:
    """Return what to write for an option that is one of Celery's too; "" for others."""
    if name not in _CELERYS:
        return ""
    ours = _CELERYS[name].__name__
    return f"{name}={safe_repr(value, 80)} is Celery's, and goes to @app.task; ours is {ours}(…)"


def _is_ours(name: str, options: Mapping[str, Any]) -> bool:
    return name in options and (name not in _CELERYS or isinstance(options[name], _OURS))


def _limits(options: Mapping[str, Any]) -> Limits:
    scope = options.get("limits", "deferred")
    if scope not in get_args(Reach):
        raise OptionError(
            f"limits={safe_repr(scope, 80)}: give 'deferred', or 'all' for those of delay() too"
        )
    return Limits(
        concurrency=_several("concurrency", options, Concurrency, len(CONCURRENCIES)),
        throttle=_one("throttle", options, Throttle),
        rate_limit=_one("rate_limit", options, RateLimit),
        debounce=_one("debounce", options, Debounce),
        batch=_one("batch", options, Batch),
        singleton=_singleton(options),
        idempotency=_idempotency(options.get("idempotency")),
        priority=_one("priority", options, Priority),
        cancel_on=_cancel_on(options),
        timeouts=_one("timeouts", options, Timeouts),
        applies_to_all=scope == "all",
    )


def _one(name: str, options: Mapping[str, Any], kind: type[T]) -> T | None:
    value = options.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise OptionError(f"{name}={safe_repr(value, 80)}: give {kind.__name__}(…)")


def _several(
    name: str, options: Mapping[str, Any], kind: type[T], most: int | None = None
) -> tuple[T, ...]:
    value = options.get(name)
    values = () if value is None else value if isinstance(value, tuple | list) else (value,)
    if most is not None and len(values) > most:
        raise OptionError(f"{name} has {len(values)} limits; at most {most} are allowed")
    for each in values:
        if not isinstance(each, kind):
            raise OptionError(
                f"{name}={safe_repr(each, 80)} is no {kind.__name__}: write {kind.__name__}(…)"
            )
    return tuple(values)


def _cancel_on(options: Mapping[str, Any]) -> tuple[CancelOn, ...]:
    if isinstance(options.get("cancel_on"), CancelOn):
        raise OptionError("cancel_on takes a list: write cancel_on=[CancelOn(…)]")
    return _several("cancel_on", options, CancelOn)


def _singleton(options: Mapping[str, Any]) -> Singleton | None:
    value = options.get("singleton")
    if isinstance(value, bool):
        return Singleton() if value else None
    return _one("singleton", options, Singleton)


def _idempotency(value: Any) -> Idempotency | None:
    if value is None:
        return None
    if not isinstance(value, tuple):
        return Idempotency(value)
    if len(value) != 2:  # noqa: PLR2004  # a pair
        raise OptionError(f"idempotency={safe_repr(value, 80)}: give a key, or (key, period)")
    return Idempotency(*value)
