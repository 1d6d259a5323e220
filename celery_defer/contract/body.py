"""The function of a task, also of a lazy task that its app has not made yet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from celery_defer.errors import ContractError


@dataclass(frozen=True, slots=True)
class Body:
    """The function that a task runs, and the base class of the task."""

    task: str
    function: Callable[..., Any]
    base: Any
    is_bound: bool = False

    @classmethod
    def of(cls, target: Any) -> Body | None:
        """Return the body of a task; None where Celery does not give it without making the task."""
        if is_asleep(target):
            function, options = function_of(target), _options_of(target)
            name = options.get("name") or function.__qualname__
            base = options.get("base") or _app_of(target).Task
            return cls(name, function, base, bool(options.get("bind")))
        if is_shared(target):
            return None
        task = evaluated(target)
        return cls(task.name, task.run, type(task))

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What callers give."""
        parameters = list(inspect.signature(self.function).parameters.values())
        return parameters[1:] if self.is_bound else parameters

    def check(self) -> None:
        """Raise ContractError for a function that Celery would call, and never run."""
        plain = inspect.unwrap(self.function)
        is_async = inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)
        if (is_async or inspect.isgeneratorfunction(plain)) and not self._is_run_by_base:
            kind = "an async def" if is_async else "a generator"
            raise ContractError(
                f"{self.task} is {kind}, whose body Celery never runs: make it a plain function"
                + (", which calls asyncio.run(…)" if is_async else "")
            )

    @property
    def _is_run_by_base(self) -> bool:
        """Whether the task's class has a ``__call__`` of its own, which may await the function."""
        call = getattr(self.base, "__call__", None)  # noqa: B004  # the method, not whether
        return not getattr(call, "__module__", "").startswith("celery.")


def is_shared(target: Any) -> bool:
    """Whether *target* is a shared task, which each app makes for itself."""
    return _proxied(target) is not None and _is_evaluated(target) is None


def evaluated(target: Any) -> Any:
    """Return the task behind *target*."""
    proxied = _proxied(target)
    return proxied(target) if proxied else target


def is_asleep(target: Any) -> bool:
    """Whether *target* is a lazy task that its own app has not made yet.

    It is too early to make it here: the app's configuration may not be complete.
    """
    is_evaluated = _is_evaluated(target)
    return is_evaluated is not None and not is_evaluated(target)


def function_of(target: Any) -> Any:
    """Return the function of a lazy task."""
    # celery.app.base.Celery.task makes PromiseProxy(self._task_from_fun, (function,), options).
    return object.__getattribute__(target, "_Proxy__args")[0]


def given_name_of(target: Any) -> str | None:
    """Return the name that a lazy task was given; None if Celery is to make one."""
    return _options_of(target).get("name")  # type: ignore[no-any-return]


def plain(function: Any) -> Any:
    """Return the function below a method and below decorators."""
    return inspect.unwrap(getattr(function, "__func__", function))


def _proxied(target: Any) -> Callable[[Any], Any] | None:
    # Of celery.local.Proxy, which lazy and shared tasks are; it returns the task.
    return getattr(type(target), "_get_current_object", None)


def _is_evaluated(target: Any) -> Callable[[Any], bool] | None:
    # Of celery.local.PromiseProxy, which lazy tasks are.
    return getattr(type(target), "__evaluated__", None)


def _options_of(target: Any) -> Any:
    return object.__getattribute__(target, "_Proxy__kwargs")


def _app_of(target: Any) -> Any:
    return object.__getattribute__(target, "_Proxy__local").__self__
