"""The limits of a deferred function, as its decorator has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from celery_defer.durations import Duration
from celery_defer.errors import OptionError
from celery_defer.flow import checks
from celery_defer.flow.checks import Key
from celery_defer.text import safe_repr

#: What a singleton does while an earlier run is in progress.
Mode = Literal["skip", "cancel"]

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most *limit* runs at a time, over all workers; the others wait in order.

    A run that waits at a step gives its place back, and asks for one when it goes on. With a *key*
    the limit holds for each value of it: the name of a field, a dotted path, or a function of the
    payload. A function may have two, with different keys. Raises OptionError for an impossible
    value.

    >>> @deferred(app, concurrency=(Concurrency(5, key="customer_id"), Concurrency(50)))
    ... def sync_crm(customer_id: int, order_id: int) -> None: ...
    """

    #: How many may execute at a time.
    limit: int
    #: For what it counts: each value of the key; None for all runs of the function.
    key: Key | None = None

    def __post_init__(self) -> None:
        checks.whole("Concurrency", "limit", self.limit)
        checks.key("Concurrency", self.key)


@dataclass(frozen=True, slots=True, init=False)
class Throttle:
    """At most *limit* starts in a *period*, with equal distances; the others wait in order.

    *period* is in seconds, a timedelta, or text such as ``"1h"``. After a pause, *burst* runs may
    start at once. Any *period* has at most ``limit + burst - 1`` starts; a retry is a start, going
    on after a step is none. *key* is as in ``Concurrency``. Raises OptionError for an impossible
    value.

    >>> @deferred(app, throttle=Throttle(100, "1h", key="customer_id"))
    ... def sync_crm(customer_id: int, order_id: int) -> None: ...
    """

    #: How many may start in a period.
    limit: int
    #: In how many seconds.
    period: float
    #: How many may start at once after a pause.
    burst: int = 1
    #: For what it counts: each value of the key; None for all runs of the function.
    key: Key | None = None

    def __init__(
        self, limit: int, period: Duration, burst: int = 1, key: Key | None = None
    ) -> None:
        checks.key("Throttle", key)
        _fill(
            self,
            limit=checks.whole("Throttle", "limit", limit),
            period=checks.period("Throttle", "period", period),
            burst=checks.whole("Throttle", "burst", burst),
            key=key,
        )


@dataclass(frozen=True, slots=True, init=False)
class RateLimit:
    """Of the runs that arrive in any *period* at most *limit* start; the others are dropped.

    The parent's record then says SKIPPED, with the reason. Runs count as they arrive: if another
    limit holds them back, they may start together later. *period* is in seconds, a timedelta, or
    text such as ``"1h"``; *key* is as in ``Concurrency``. Celery's own ``rate_limit="10/m"`` counts
    for each worker. Raises OptionError for an impossible value.

    >>> @deferred(app, rate_limit=RateLimit(3, "1d", key="user_id"))
    ... def remind(user_id: int) -> None: ...
    """

    #: How many of the runs that arrive in a period may start.
    limit: int
    #: In how many seconds.
    period: float
    #: For what it counts: each value of the key; None for all runs of the function.
    key: Key | None = None

    def __init__(self, limit: int, period: Duration, key: Key | None = None) -> None:
        checks.key("RateLimit", key)
        _fill(
            self,
            limit=checks.whole("RateLimit", "limit", limit),
            period=checks.period("RateLimit", "period", period),
            key=key,
        )


@dataclass(frozen=True, slots=True, init=False)
class Debounce:
    """A run starts when there was no later call for *period*; the last call replaces the others.

    The parents' records of those say REPLACED. After *timeout*, counted from the first of them,
    the last call runs in any case. Both are in seconds, timedeltas, or text such as ``"30s"``;
    *key* is as in ``Concurrency``. Raises OptionError for an impossible value.

    >>> @deferred(app, debounce=Debounce("30s", key="product_id", timeout="5m"))
    ... def index(product_id: int) -> None: ...
    """

    #: For how many seconds no later call must have come.
    period: float
    #: For what it counts: each value of the key; None for all runs of the function.
    key: Key | None = None
    #: For how many seconds a run waits at most; None for no end.
    timeout: float | None = None

    def __init__(
        self, period: Duration, key: Key | None = None, timeout: Duration | None = None
    ) -> None:
        checks.key("Debounce", key)
        _fill(
            self,
            period=checks.period("Debounce", "period", period),
            key=key,
            timeout=checks.optional_period("Debounce", "timeout", timeout),
        )
        if self.timeout is not None and self.timeout < self.period:
            raise OptionError(
                f"Debounce: timeout={timeout!r} is less than period={period!r}, so a later call "
                "could never put a run off: give a longer timeout"
            )


@dataclass(frozen=True, slots=True, init=False)
class Batch:
    """One run for up to *max_size* calls: the function takes a list of their payloads.

    The run starts when there are so many calls, or *timeout* after the first: seconds, a timedelta,
    or text such as ``"10s"``. The function needs a ``schema=``; ``defer`` takes the fields of one
    payload. With a *key*, as in ``Concurrency``, each value of it has batches of its own. Raises
    OptionError for an impossible value.

    >>> @deferred(app, schema=Visit, batch=Batch(100, "10s"))
    ... def write(visits: list[Visit]) -> None: ...
    """

    #: How many calls a run takes at most.
    max_size: int
    #: For how many seconds the first call waits at most.
    timeout: float
    #: For what it counts: each value of the key; None for all runs of the function.
    key: Key | None = None

    def __init__(self, max_size: int, timeout: Duration, key: Key | None = None) -> None:
        checks.key("Batch", key)
        _fill(
            self,
            max_size=checks.whole("Batch", "max_size", max_size),
            timeout=checks.period("Batch", "timeout", timeout),
            key=key,
        )


@dataclass(frozen=True, slots=True)
class Singleton:
    """One run at a time, from its arrival to its end, with its waits and retries.

    With the *mode* ``"skip"`` a run that arrives meanwhile is dropped, and its parent's record says
    SKIPPED; with ``"cancel"`` it cancels the earlier one. *key* is as in ``Concurrency``. Raises
    OptionError for an impossible value.

    >>> @deferred(app, singleton=Singleton(key="report_id", mode="cancel"))
    ... def build_report(report_id: int) -> None: ...
    """

    #: For what it counts: each value of the key; None for all runs of the function.
    key: Key | None = None
    #: What a run does that arrives while another one is in progress.
    mode: Mode = "skip"

    def __post_init__(self) -> None:
        checks.key("Singleton", self.key)
        if self.mode not in get_args(Mode):
            raise OptionError(
                f"Singleton: mode={safe_repr(self.mode, 80)}: give 'skip', which drops the later "
                "run, or 'cancel', which cancels the earlier one"
            )


@dataclass(frozen=True, slots=True)
class Priority:
    """By how much a run passes others that wait for the same limits.

    *function* takes the payload, and returns seconds, a timedelta, or text such as ``"2m"``: with
    120 a run passes those that have arrived up to two minutes before it. A negative number lets
    others pass. Raises OptionError for what is no function.

    >>> by_plan = Priority(lambda call: 60 * call["plan"])
    >>> @deferred(app, throttle=Throttle(10, "1m"), priority=by_plan)
    ... def export(account_id: int, plan: int) -> None: ...
    """

    #: What returns, for a payload, by how much its run passes others.
    function: Callable[[Any], Duration]

    def __post_init__(self) -> None:
        checks.function("Priority", "function", self.function)


@dataclass(frozen=True, slots=True, init=False)
class Idempotency:
    """One run for each value of *key* in a *period*; later ones are dropped."""

    key: Key
    period: float

    def __init__(self, key: Key, period: Duration = _DAY) -> None:
        if key is None:
            raise OptionError("idempotency: its key is missing: give the name of a field")
        checks.key("idempotency", key)
        _fill(self, key=key, period=checks.period("idempotency", "period", period))


def _fill(option: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(option, name, value)
