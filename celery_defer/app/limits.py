"""What any process may do to the limits of a task: change them, pause the task, let it go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery_defer import durations, guard
from celery_defer.app.control import extension_and_store, replying
from celery_defer.contract import deferrable, find
from celery_defer.errors import OptionError
from celery_defer.flow import Gate, Kind, Limits, checks
from celery_defer.flow.limits import CONCURRENCIES
from celery_defer.store import FlowState, LimitState, Store
from celery_defer.text import safe_repr

# The numbers of each kind of limit that can be changed.
_NUMBERS = {
    Kind.CONCURRENCY: ("limit",),
    Kind.THROTTLE: ("limit", "period", "burst"),
    Kind.RATE_LIMIT: ("limit", "period"),
    Kind.DEBOUNCE: ("period",),
    Kind.IDEMPOTENCY: ("period",),
    Kind.SINGLETON: (),
}
_ALL_NUMBERS = ("limit", "period", "burst")
# A task may have one of each of these, and two of concurrency.
_SINGLE = tuple(kind for kind in Kind if kind is not Kind.CONCURRENCY)


def pause(task: Any, *, app: Any = None) -> None:
    """Hold back the runs of a task that has limits, until ``resume``.

    Runs in progress go on to their end, or to their next wait; the others wait in line, and none is
    lost. *task* is the task, or its name. Any process with the app may call this, and again; it
    holds for all workers at once. Raises OptionError for a task without limits, and StoreError if
    the app has no Redis, or it does not reply.

    >>> pause(sync_crm)
    """
    name, store = _limited(task, app)
    with replying(f"task {name} is perhaps not paused"):
        store.pause(name, is_paused=True)


def resume(task: Any, *, app: Any = None) -> None:
    """Let the runs of a task start again that ``pause`` holds back, as its limits allow.

    Raises what ``pause`` raises.

    >>> resume(sync_crm)
    """
    name, store = _limited(task, app)
    with replying(f"task {name} is perhaps paused still"):
        store.pause(name, is_paused=False)


def set_limit(
    task: Any,
    name: str,
    *,
    limit: int | None = None,
    period: durations.Duration | None = None,
    burst: int | None = None,
    app: Any = None,
) -> None:
    """Change numbers of a limit for all workers, at once and until they are changed again.

    *name* is that of the option, or ``"concurrency.2"`` for the second of two. They hold for the
    runs that wait too, and a number that is not given stays as it is. Without any, those in the
    code are in force again. *task* is the task, or its name; *period* is in seconds, a timedelta,
    or text such as ``"1h"``. Raises OptionError for a task that has no such limit, and for a number
    that the limit cannot have; StoreError as ``pause``.

    >>> set_limit(sync_crm, "throttle", limit=50, period="1h")
    """
    task_name, store = _limited(task, app, name)
    numbers = _numbers(name, limit=limit, period=period, burst=burst)
    with replying(f"limit {name} of task {task_name} is perhaps not changed"):
        store.set_limit(task_name, name, numbers or None)


def declared(app: Any, task: str) -> tuple[Gate, ...]:
    """Return the limits that a task has in the code of this process, without keys."""
    return _gates(guard.attempt(lambda: deferrable(app.tasks[task]).limits))


def keep_limits(app: Any, store: Store, *tasks: str) -> None:
    """Keep the limits that functions have in this process; the store forgets all others.

    Without *tasks* those of all tasks of the app.
    """
    found = {task: find(app.tasks[task]) for task in tasks or list(app.tasks)}
    kept = {task: _gates(each.limits if each else None) for task, each in found.items()}
    store.keep_limits({task: [gate.name for gate in gates] for task, gates in kept.items()})


def with_limits(app: Any) -> list[str]:
    """Return the tasks that have limits in the code of this process."""
    return sorted(task for task in app.tasks if declared(app, task))


# -- private ------------------------------------------------------------------------------


def _limited(task: Any, app: Any, name: str | None = None) -> tuple[str, Store]:
    """Return the name of a task that has limits, or this one, and the store."""
    (extension, store), task_name = extension_and_store(app), _name_of(task)
    with replying(f"nothing of task {task_name} is changed"):
        (state,) = store.flow([task_name])
    names = _names(state, declared(extension.app, task_name))
    if not names:
        raise OptionError(_no_limits(extension.app, task_name))
    if name is not None and name not in names:
        raise OptionError(f"task {task_name} has no limit {name!r}: it has {', '.join(names)}")
    return task_name, store


def _name_of(task: Any) -> str:
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str) or not name:
        raise OptionError(f"{safe_repr(task)} is no task: give the task, or its name")
    return name


def _names(state: FlowState, gates: Iterable[Gate]) -> list[str]:
    named: list[Gate | LimitState] = [*gates, *state.limits]
    return list(dict.fromkeys(each.name for each in named))


def _no_limits(app: Any, task: str) -> str:
    if task not in app.tasks:
        return f"this app has no task {task!r}: give its name as `runs` prints it"
    return (
        f"task {task} has no limits, so nothing can hold it back: declare one with "
        "@deferred(…, concurrency=Concurrency(…)), and restart the workers"
    )


def _gates(limits: Limits | None) -> tuple[Gate, ...]:
    if limits is None:
        return ()
    options = [
        *((kind.value, getattr(limits, kind.value)) for kind in _SINGLE),
        *zip(CONCURRENCIES, limits.concurrency, strict=False),
    ]
    return tuple(_gate(name, option) for name, option in options if option is not None)


def _gate(name: str, option: Any) -> Gate:
    numbers = {each: getattr(option, each) for each in _ALL_NUMBERS if hasattr(option, each)}
    return Gate(_kind(name), name, **numbers)


def _kind(name: str) -> Kind:
    return Kind(name.partition(".")[0])


def _numbers(name: str, **numbers: Any) -> Mapping[str, float]:
    """Return the numbers that are given for a limit; raise OptionError if it cannot have them."""
    kind = _kind(name)
    given = {each: value for each, value in numbers.items() if value is not None}
    for each in given:
        if each not in _NUMBERS[kind]:
            its = " and ".join(_NUMBERS[kind]) or "no numbers"
            raise OptionError(f"{name} has no {each}: it has {its}")
    return {
        each: (checks.period if each == "period" else checks.whole)(name, each, value)
        for each, value in given.items()
    }
