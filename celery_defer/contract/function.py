"""A deferred function: a Celery task with a contract, and how its runs are published."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from pydantic import ValidationError
from typing_extensions import TypedDict, Unpack

from celery_defer import guard
from celery_defer.contract.body import Body, evaluated, function_of, is_asleep
from celery_defer.contract.contract import Contract, schema_layout
from celery_defer.current import in_run, is_signature
from celery_defer.errors import ContractError, NotDeferredError, OptionError
from celery_defer.model import Options, When
from celery_defer.text import safe_repr

P = ParamSpec("P")
R = TypeVar("R")


_LINKED = "defer the next task in the body of this one"
_PUBLISHED = "a deferred run is published after its parent's end, perhaps by another process"
# What apply_async takes besides, and why it is not taken here.
_NOT_TAKEN = {
    "link": _LINKED,
    "link_error": f'{_LINKED}, with_options(when="failure")',
    "chain": _LINKED,
    "chord": _LINKED,
    "task_id": "the id of the run is computed from its parent's id and the id of the call",
    **dict.fromkeys(["connection", "producer", "publisher", "retry", "retry_policy"], _PUBLISHED),
}


class CallOptions(TypedDict, total=False):
    """What ``with_options`` takes."""

    countdown: float | None
    eta: datetime | None
    expires: float | timedelta | datetime | None
    queue: str | None
    routing_key: str | None
    exchange: str | None
    priority: int | None
    headers: Mapping[str, Any] | None
    serializer: str | None
    compression: str | None
    ignore_result: bool | None
    time_limit: float | None
    soft_time_limit: float | None
    shadow: str | None
    when: When
    experiment: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Deferrable(Generic[P, R]):
    """What ``defer`` takes: a contract, and how its runs are published."""

    contract: Contract
    options: Options = field(default_factory=Options)
    #: What is wrong with a value that a run in progress has given.
    _problem: str | None = None

    def __repr__(self) -> str:
        values = self.options.model_dump(exclude_unset=True)
        options = ", ".join(f"{name}={safe_repr(value)}" for name, value in values.items())
        return f"{self.contract.task}.with_options({options})"

    def with_options(self, **options: Unpack[CallOptions]) -> Deferrable[P, R]:
        """Return the same contract with other publishing options.

        ``countdown`` and ``expires`` are in seconds and count from publication, that is
        from the parent's success; ``priority`` is the broker's, 0 to 255; ``headers`` go
        with the message; the others are those of ``apply_async``. Raises OptionError for an
        unknown option, and for an impossible value. In a run, where a computation may have
        made the value, it is ``defer`` that raises, and so skips the call.

        >>> defer("remind", remind.with_options(countdown=60, queue="mail"), user_id=7)
        """
        for name in options.keys() - Options.model_fields.keys():
            raise OptionError(f"with_options of {self.contract.task}: {_unknown(name)}")
        values = {**self.options.model_dump(exclude_unset=True), **options}
        try:
            return replace(self, options=Options(**values))
        except ValidationError as error:
            problems = "; ".join(map(_problem, error.errors(include_url=False)))
            problem = f"with_options of {self.contract.task}: {problems}"
            if not in_run():
                raise OptionError(problem) from error
            return replace(self, _problem=problem)


if TYPE_CHECKING:
    # Celery has no types of its own, and its stubs may not be installed. So this class lists
    # what a task has. At run time a deferred function is still the same Celery task.

    class DeferredTask(Deferrable[P, R]):
        """A Celery task that carries a contract."""

        name: str
        app: Any
        request: Any

        def __call__(self, *args: Any, **kwargs: Any) -> R: ...
        def run(self, *args: Any, **kwargs: Any) -> R: ...
        def delay(self, *args: Any, **kwargs: Any) -> Any: ...
        def apply_async(self, args: Any = ..., kwargs: Any = ..., **options: Any) -> Any: ...
        def apply(self, args: Any = ..., kwargs: Any = ..., **options: Any) -> Any: ...
        def s(self, *args: Any, **kwargs: Any) -> Any: ...
        def si(self, *args: Any, **kwargs: Any) -> Any: ...
        def signature(self, args: Any = ..., **options: Any) -> Any: ...
        def retry(self, *args: Any, **options: Any) -> Any: ...
        def __getattr__(self, name: str) -> Any: ...

else:

    class DeferredTask(Generic[P, R]):
        """The type of what ``@deferred`` returns, for annotations; it has no instances."""


@dataclass(eq=False, slots=True)
class _Declaration:
    """One use of ``@deferred``: the task, or the lazy proxy that Celery made for it."""

    target: Any
    schema: Any
    _deferrable: Deferrable[..., Any] | None = field(default=None)

    def read(self, task: Any = None) -> Deferrable[..., Any]:
        """Return the contract; the first call reads it, from *task* or from the declared one."""
        if self._deferrable is None:
            task = task or evaluated(self.target)
            Body(task.name, task.run, type(task)).check()
            self._deferrable = Deferrable(Contract.of(task.name, task.run, self.schema))
        return self._deferrable


# `defer` gets the same object as the decorator: its `id` finds it fast, and does not evaluate
# a proxy. The declaration holds the object, so no other object can have that `id`.
_by_target: dict[int, _Declaration] = {}
# Each app has its own clone of a shared task, under the same name and of the same function.
_by_function: dict[tuple[str, Any], _Declaration] = {}
# Not yet in `_by_function`: their app has not made the task.
_pending: list[_Declaration] = []


def declare(target: Any, schema: Any = None) -> None:
    """Remember that *target* is a deferred function.

    Raises ContractError if it is one already, and for a body that cannot be one; of a shared task
    that is found out at its first call.
    """
    if id(target) in _by_target:
        raise ContractError("@deferred is used twice on one task; remove one")
    if body := Body.of(target):
        body.check()
        if schema is not None:
            schema_layout(body.task, body.function, body.parameters, schema)
    declaration = _Declaration(target, schema)
    _by_target[id(target)] = declaration
    _pending.append(declaration)


def deferrable(function: object) -> Deferrable[..., Any]:
    """Return the contract of a deferred function; raise NotDeferredError for anything else.

    Raises OptionError if it has options that are impossible.
    """
    if isinstance(function, Deferrable):
        if function._problem:
            raise OptionError(function._problem)
        return function
    if declaration := _by_target.get(id(function)):
        return declaration.read()
    if declaration := find(function):
        return declaration.read(evaluated(function))
    raise NotDeferredError(_refusal(function))


def find(task: Any) -> _Declaration | None:
    """Return the declaration of *task*, whichever app's clone it is; None if there is none."""
    _pending[:] = [declaration for declaration in _pending if not _register(declaration)]
    try:
        key = _key(evaluated(task))
    except (AttributeError, TypeError):  # not a task at all
        return None
    return _by_function.get(key) or _of_sleeping_app(key[1])


def name_of(function: object) -> str:
    """Return the name of anything that was passed as a task, for a message."""
    return guard.attempt(
        lambda: str(getattr(function, "name", None) or repr(function)),
        f"<{type(function).__qualname__}>",
    )


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


def _register(declaration: _Declaration) -> bool:
    """Enter the declaration in `_by_function`; return whether its task is there already."""
    if is_asleep(declaration.target):
        return False

    def enter() -> bool:
        _by_function[_key(evaluated(declaration.target))] = declaration
        return True

    # False for a task of another app that is not ready to make it yet.
    return guard.attempt(enter, default=False)


def _of_sleeping_app(function: Any) -> _Declaration | None:
    """Return the declaration of a clone by its function, while the original is still asleep."""
    for declaration in _pending:
        if is_asleep(declaration.target) and function_of(declaration.target) is function:
            return declaration
    return None


def _key(task: Any) -> tuple[str, Any]:
    # celery.app.base.Celery._task_from_fun stores the function as `__wrapped__`; a class-based
    # task has none, so its class stands in.
    function = getattr(task, "__wrapped__", None)
    if function is None:
        return task.name, type(task)
    return task.name, inspect.unwrap(getattr(function, "__func__", function))


def _problem(problem: Any) -> str:
    path = ".".join(str(step) for step in problem["loc"])
    return f"{path or 'options'}: {problem['msg']}"


def _unknown(name: str) -> str:
    if reason := _NOT_TAKEN.get(name):
        return f"{name} is not an option: {reason}"
    return f"{name} is not an option; there are: {', '.join(Options.model_fields)}"
