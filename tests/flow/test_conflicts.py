"""Which limits of a function are taken together, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from celery_defer import (
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    OptionError,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
)
from celery_defer.flow import Idempotency, Limits, take_limits


def first(payload: Any) -> Any: ...


def second(payload: Any) -> Any: ...


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"debounce": Debounce(1), "rate_limit": RateLimit(1, 1)}, "could be dropped"),
        ({"debounce": Debounce(1), "idempotency": "n"}, "the first call counts for one"),
        ({"debounce": Debounce(1), "singleton": True}, "would keep them out"),
        ({"batch": Batch(1, 1), "debounce": Debounce(1)}, "one keeps all calls"),
        ({"batch": Batch(1, 1), "singleton": Singleton()}, "drop the calls of a whole batch"),
        ({"batch": Batch(1, 1), "idempotency": "n"}, "drop the calls of a whole batch"),
        ({"batch": Batch(1, 1), "rate_limit": RateLimit(1, 1)}, "use throttle"),
        ({"batch": Batch(1, 1), "cancel_on": [CancelOn("stop")]}, "cancel the calls"),
        (
            {"batch": Batch(1, 1), "throttle": Throttle(1, 1), "priority": Priority(first)},
            "a batch has many",
        ),
        ({"batch": Batch(1, 1), "limits": "all"}, r"only defer\(\) gathers calls"),
        ({"batch": Batch(1, 1), "throttle": Throttle(1, 1, key="n")}, "give Batch the same key"),
        (
            {"batch": Batch(1, 1, key="n"), "concurrency": Concurrency(1, key="m")},
            "give Batch the same key",
        ),
        ({"concurrency": (Concurrency(1), Concurrency(2))}, "both .* have no key"),
        (
            {"concurrency": (Concurrency(1, key="n"), Concurrency(2, key="n"))},
            "both .* have the key 'n'",
        ),
        (
            {"concurrency": (Concurrency(1, key=first), Concurrency(2, key=first))},
            "both .* have the key",
        ),
        (
            {"debounce": Debounce(30), "timeouts": Timeouts(start=30)},
            "debounce lets none start before 30: give a longer start=",
        ),
        ({"priority": Priority(first)}, "nothing waits, so priority has no effect"),
        ({"priority": Priority(first), "rate_limit": RateLimit(1, 1)}, "nothing waits"),
        ({"limits": "all"}, "has no effect without a limit"),
    ],
)
def test_limits_that_contradict_each_other_are_refused_with_the_reason(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(OptionError, match=reason):
        take_limits("@deferred", options)


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": Concurrency(1), "throttle": Throttle(1, 1), "rate_limit": RateLimit(1, 1)},
        {"concurrency": (Concurrency(1, key=first), Concurrency(2, key=second))},
        {"concurrency": (Concurrency(1, key="n"), Concurrency(2))},
        {"singleton": True, "idempotency": "n", "rate_limit": RateLimit(1, 1)},
        {"singleton": True, "concurrency": Concurrency(1), "limits": "all"},
        {"debounce": Debounce(1), "concurrency": Concurrency(1), "throttle": Throttle(1, 1)},
        {"batch": Batch(1, 1, key="n"), "concurrency": (Concurrency(1, key="n"), Concurrency(2))},
        {"batch": Batch(1, 1), "throttle": Throttle(1, 1), "timeouts": Timeouts(start=1)},
        {"concurrency": Concurrency(1), "priority": Priority(first)},
        {"throttle": Throttle(1, 1), "priority": Priority(first)},
        {"cancel_on": [CancelOn("stop")], "timeouts": Timeouts(finish=1), "limits": "all"},
    ],
)
def test_other_limits_are_taken_together(options: dict[str, Any]) -> None:
    names = set(options)

    limits = take_limits("@deferred", options)

    assert options == {}
    assert limits is not None
    assert names - {"limits"} <= {name for name in names if name != "limits" and _of(limits, name)}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"concurrency": 5}, r"concurrency=5 is no Concurrency: write Concurrency\(…\)"),
        ({"concurrency": (Concurrency(5), 7)}, "concurrency=7 is no Concurrency"),
        ({"concurrency": [Concurrency(n, key=str(n)) for n in (1, 2, 3)]}, "has 3 limits"),
        ({"throttle": RateLimit(5, 1)}, r"throttle=RateLimit.* give Throttle\(…\)"),
        ({"rate_limit": Throttle(5, 1)}, r"rate_limit=Throttle.* give RateLimit\(…\)"),
        ({"priority": Concurrency(5)}, r"give Priority\(…\)"),
        ({"debounce": "30s"}, r"give Debounce\(…\)"),
        ({"batch": 100}, r"give Batch\(…\)"),
        ({"singleton": "n"}, r"give Singleton\(…\)"),
        ({"timeouts": "1h"}, r"give Timeouts\(…\)"),
        ({"cancel_on": CancelOn("stop")}, r"write cancel_on=\[CancelOn\(…\)\]"),
        ({"cancel_on": ["stop"]}, "cancel_on='stop' is no CancelOn"),
        ({"cancel_on": "stop"}, "cancel_on='stop' is no CancelOn"),
        ({"idempotency": 7}, "idempotency"),
        ({"idempotency": ("n",)}, r"give a key, or \(key, period\)"),
        ({"idempotency": ("n", "soon")}, "idempotency: period='soon'"),
        ({"idempotency": (None, "1h")}, "its key is missing"),
        ({"limits": "some"}, "limits='some': give 'deferred', or 'all'"),
        ({"limits": ["all"]}, "limits="),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_to_write(
    options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(OptionError, match=f"^@scorer: .*{reason}"):
        take_limits("@scorer", options)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, None),
        ({"concurrency": None, "cancel_on": (), "limits": "deferred"}, None),
        ({"singleton": False}, None),
        ({"concurrency": ()}, None),
        ({"singleton": True}, Limits(singleton=Singleton())),
        ({"concurrency": Concurrency(5)}, Limits(concurrency=(Concurrency(5),))),
        ({"idempotency": "n"}, Limits(idempotency=Idempotency("n", "1d"))),
        ({"idempotency": ("n", "1h")}, Limits(idempotency=Idempotency("n", 3600))),
        ({"idempotency": first}, Limits(idempotency=Idempotency(first))),
    ],
)
def test_a_function_without_limits_has_none(options: dict[str, Any], limits: Limits | None) -> None:
    assert take_limits("@deferred", options) == limits


def test_what_is_celerys_is_left_to_celery() -> None:
    options: dict[str, Any] = {"rate_limit": "10/m", "priority": 5, "queue": "mail"}

    assert take_limits("@deferred", options) is None
    assert options == {"rate_limit": "10/m", "priority": 5, "queue": "mail"}


def _of(limits: Limits, name: str) -> Any:
    return getattr(limits, name)
