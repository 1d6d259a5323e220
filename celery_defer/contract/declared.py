"""The deferred functions of this process, found by their tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, ref

from celery_defer import guard
from celery_defer.contract import keys
from celery_defer.contract.body import (
    Body,
    evaluated,
    function_of,
    given_name_of,
    is_asleep,
    is_shared,
    plain,
)
from celery_defer.contract.contract import Contract, schema_layout
from celery_defer.contract.function import Deferrable
from celery_defer.contract.sample import Scoring
from celery_defer.current import is_signature
from celery_defer.errors import ContractError, NotDeferredError, OptionError
from celery_defer.flow import Limits


@dataclass(eq=False, slots=True)
class _Declaration:
    """One use of ``@deferred``; it does not hold the task, which holds its app."""

    schema: Any
    #: How it scores the runs that defer it; None if it is no scorer.
    scoring: Scoring | None = None
    #: Who may start when; None if it has no limits.
    limits: Limits | None = None
    #: The task's name; None for a lazy task that Celery is to name.
    name: str | None = None
    _deferrable: Deferrable[..., Any] | None = field(default=None)

    @property
    def is_scorer(self) -> bool:
        return self.scoring is not None

    @property
    def is_batch(self) -> bool:
        """Whether the function takes a list of payloads."""
        return self.limits is not None and self.limits.batch is not None

    def read(self, task: Any) -> Deferrable[..., Any]:
        """Return the contract; the first call reads it from *task*."""
        if self._deferrable is None:
            task = evaluated(task)
            body = Body(task.name, task.run, type(task))
            body.check()
            contract = Contract.of(task.name, task.run, self.schema, is_batch=self.is_batch)
            if self.limits:
                keys.check(body, self.schema, self.limits)
            self._deferrable = Deferrable(contract, scoring=self.scoring, limits=self.limits)
        return self._deferrable

    def check(self, body: Body) -> None:
        """Raise ContractError, OptionError for what is known before the task is made."""
        body.check()
        if self.schema is not None:
            schema_layout(
                body.task, body.function, body.parameters, self.schema, is_batch=self.is_batch
            )
        if self.limits:
            keys.check(body, self.schema, self.limits)


# `defer` gets the same object as the decorator: its `id` finds it fast, and does not evaluate
# a proxy. An entry goes with its object, so no other object can have that `id`.
_by_target: dict[int, _Declaration] = {}
_refs: dict[int, Any] = {}
# Each app has its own clone of a shared task, under the same name and of the same function. Of one
# function there may be several tasks.
_by_function: WeakKeyDictionary[Any, list[_Declaration]] = WeakKeyDictionary()
# Not yet in `_by_function`: shared tasks, which no app has made yet.
_pending: list[tuple[Any, _Declaration]] = []
# Whether any function of this process has a batch: most processes have none, and look no further.
_batches: list[None] = []


def declare(
    target: Any,
    schema: Any = None,
    scoring: Scoring | None = None,
    limits: Limits | None = None,
) -> None:
    """Remember that *target* is a deferred function.

    Raises ContractError if it is one already, and for a body that cannot be one, and OptionError
    for a limit whose key is no field; of a shared task that is found out at its first call.
    """
    if id(target) in _by_target:
        raise ContractError("@deferred is used twice on one task; remove one")
    declaration = _Declaration(schema, scoring, limits)
    if declaration.is_batch:
        _batches[:] = [None]
    if body := Body.of(target):
        declaration.check(body)
    _by_target[id(target)] = declaration
    _refs[id(target)] = _held(target)
    if is_asleep(target):  # Celery drops this proxy once the task is made
        declaration.name = given_name_of(target)
        _enter(plain(function_of(target)), declaration)
    elif is_shared(target) or not _register(target, declaration):
        _pending.append((target, declaration))


def deferrable(function: object) -> Deferrable[..., Any]:
    """Return the contract of a deferred function; raise NotDeferredError for anything else.

    Raises OptionError if it has options that are impossible.
    """
    if isinstance(function, Deferrable):
        if function.problem:
            raise OptionError(function.problem)
        return function
    if declaration := _by_target.get(id(function)):
        return declaration.read(function)
    if declaration := find(function):
        return declaration.read(function)
    raise NotDeferredError(_refusal(function))


def find(task: Any) -> _Declaration | None:
    """Return the declaration of *task*, whichever app's clone it is; None if there is none."""
    _pending[:] = [each for each in _pending if not _register(*each)]
    try:
        name, function = _key(evaluated(task))
        declarations = _by_function.get(function, ())
    except (AttributeError, TypeError):  # not a task at all
        return None
    named = (each for each in declarations if each.name == name)
    unnamed = (each for each in declarations if each.name is None)
    return next(named, None) or next(unnamed, None)


def batching(task: Any) -> Deferrable[..., Any] | None:
    """Return the contract of a task that takes batches; None for any other task."""
    declaration = find(task) if _batches else None
    return declaration.read(task) if declaration and declaration.is_batch else None


def name_of(function: object) -> str:
    """Return the name of anything that was passed as a task, for a message."""
    return guard.attempt(
        lambda: str(getattr(function, "name", None) or _task_of(function) or repr(function)),
        f"<{type(function).__qualname__}>",
    )


def _task_of(function: object) -> str | None:
    """Return the task of what ``with_options`` has returned."""
    return function.contract.task if isinstance(function, Deferrable) else None


def _refusal(function: object) -> str:
    """Return why *function* cannot be deferred, and what to write."""
    name = name_of(function)
    if is_signature(function):
        task = function.task
        return f"{task}.s(…) is a signature: pass the task and its arguments, defer(id, {task}, …)"
    if id(getattr(function, "__wrapped__", None)) in _by_target:
        return (
            f"{name} has @deferred below @app.task: write @deferred above it, or @deferred(app) "
            "in place of both"
        )
    return f"{name} is not a deferred function: put @deferred on top of it"


def _held(target: Any) -> Any:
    """Return what lets the entries of *target* go with it; the object itself if it cannot go."""
    key = id(target)

    def forget(_: Any) -> None:
        _by_target.pop(key, None)
        _refs.pop(key, None)

    try:
        return ref(target, forget)
    except TypeError:  # the proxy of a shared task, which belongs to no app
        return target


def _register(target: Any, declaration: _Declaration) -> bool:
    """Enter the declaration in `_by_function`; return whether its task is there already."""

    def enter() -> bool:
        declaration.name, function = _key(evaluated(target))
        _enter(function, declaration)
        return True

    # False for a task of another app that is not ready to make it yet.
    return guard.attempt(enter, default=False)


def _enter(function: Any, declaration: _Declaration) -> None:
    _by_function.setdefault(function, []).append(declaration)


def _key(task: Any) -> tuple[str, Any]:
    # celery.app.base.Celery._task_from_fun stores the function as `__wrapped__`; a class-based
    # task has none, so its class stands in.
    function = getattr(task, "__wrapped__", None)
    if function is None:
        return task.name, type(task)
    return task.name, plain(function)
