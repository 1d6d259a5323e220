"""What the source of a task shows, as far as it can be read."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from celery_defer.guard import attempt
from celery_defer.steps import step

_WAITS = frozenset({"sleep", "sleep_until", "wait_for_event", "invoke"})
# The methods of celery.app.task.Task that get a run's arguments.
_METHODS = ("__call__", "before_start", "on_success", "on_retry", "on_failure", "after_return")


def waits(function: Callable[..., Any]) -> bool:
    """Whether the function itself calls a step that parks its run."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    names = getattr(function, "__globals__", {})
    return any(_is_wait(node, names) for node in _nodes(function))


def methods_that_index_arguments(task: Any) -> Iterator[str]:
    """Yield the methods of the task's own classes that read ``args[0]`` or the like."""
    for kind in type(task).__mro__:
        if kind.__module__.partition(".")[0] in ("celery", "builtins"):
            continue
        for name in _METHODS:
            if any(map(_is_indexed, _nodes(vars(kind).get(name)))):
                yield f"{kind.__name__}.{name}"


def _nodes(function: Any) -> Iterator[ast.AST]:
    """Yield the syntax tree of a function; nothing if its source is not there."""
    tree = attempt(lambda: ast.parse(textwrap.dedent(inspect.getsource(function))))
    return ast.walk(tree) if tree else iter(())


def _is_wait(node: ast.AST, names: dict[str, Any]) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    parks = node.func.attr in _WAITS or (
        node.func.attr == "run" and any(keyword.arg == "retries" for keyword in node.keywords)
    )
    return parks and _is_step(node.func.value, names)


def _is_step(node: ast.AST, names: dict[str, Any]) -> bool:
    """Whether an expression is ``step``, or ``celery_defer.step``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return getattr(names.get(node.value.id), node.attr, None) is step
    return isinstance(node, ast.Name) and names.get(node.id) is step


def _is_indexed(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "args"
        and isinstance(attempt(lambda: ast.literal_eval(node.slice)), int)
    )
