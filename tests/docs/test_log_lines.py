"""The production page explains each line that the package logs, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from celery_defer.store import RedisStore

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/production.md").read_text()
_LEVELS = {"info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}
_HOLE = "…"


def test_each_line_that_is_logged_is_explained() -> None:
    rows = re.findall(r"^\| ([A-Z]+) \| `(.+?)` \| \S", PAGE, re.M)

    assert len(rows) == len(set(rows))
    assert set(rows) == set(_logged())


def test_a_line_of_a_guard_is_found() -> None:
    code = ast.parse("with guard.logged(logger, 'run %s: lost', run.id): pass")

    assert list(_lines(code)) == [("ERROR", "run …: lost")]


def test_a_line_with_holes_is_found() -> None:
    code = ast.parse("logger.error('run %s: ' 'is %r', a, b)\nlogger.log(x)\nother.info('y')")

    assert list(_lines(code)) == [("ERROR", "run …: is …"), ("log", "")]


def _logged() -> Iterator[tuple[str, str]]:
    for module in (ROOT / "celery_defer").rglob("*.py"):
        code = ast.parse(module.read_text())
        for level, line in _lines(code):
            yield from [(level, line)] if line != _HOLE else _as_it_is(level)


def _lines(code: ast.Module) -> Iterator[tuple[str, str]]:
    constants = _constants(code)
    for call in ast.walk(code):
        if isinstance(call, ast.Call) and _is_logging(call.func) and call.func.attr != "debug":
            level = call.func.attr
            yield _LEVELS.get(level, level), re.sub(r"%\w", _HOLE, _text(call.args[0]))
        elif isinstance(call, ast.Call) and ast.unparse(call.func) == "guard.logged":
            line = constants.get(ast.unparse(call.args[1]), call.args[1])
            yield "ERROR", re.sub(r"%\w", _HOLE, _text(line))


def _constants(code: ast.Module) -> dict[str, ast.expr]:
    """The module's constants, for a line that is logged in two places."""
    assignments = [each for each in code.body if isinstance(each, ast.Assign)]
    return {ast.unparse(each.targets[0]): each.value for each in assignments}


def _is_logging(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "logger"
    )


def _as_it_is(level: str) -> Iterator[tuple[str, str]]:
    """What is logged whole: the store's risks at a worker's start; at a turn's end, why it ends."""
    return _risks(level) if level == "WARNING" else _ends(level)


def _ends(level: str) -> Iterator[tuple[str, str]]:
    for module in (ROOT / "celery_defer").rglob("*.py"):
        for call in ast.walk(ast.parse(module.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("Suspended", "Cancelled"):
                yield level, _text(call.args[0])


def _risks(level: str) -> Iterator[tuple[str, str]]:
    module = Path(RedisStore.risks.__code__.co_filename)
    for function in ast.walk(ast.parse(module.read_text())):
        if isinstance(function, ast.FunctionDef) and function.name == "risks":
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "risks.append":
                    yield level, _text(call.args[0])


def _text(message: ast.expr) -> str:
    """What is fixed in a message, with a hole for each value."""
    if isinstance(message, ast.JoinedStr):
        return "".join(map(_text, message.values))
    if isinstance(message, ast.FormattedValue):
        return _HOLE
    return message.value if isinstance(message, ast.Constant) else ""
