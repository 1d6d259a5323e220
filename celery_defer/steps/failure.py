"""A step's exception as JSON, and the exception made of it again.

Celery's own way, ``Backend.prepare_exception``, has the class and ``args`` alone: it loses
attributes, and a class that takes other arguments than it stores comes back as another class.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from operator import attrgetter
from traceback import format_exception
from typing import Any

from celery_defer import guard
from celery_defer.broker import dumps, loads
from celery_defer.run.memo import Failure
from celery_defer.text import text_of

# In characters, of an exception's JSON.
_LONGEST = 65_536


def failure_of(error: BaseException, *, is_final: bool) -> Failure:
    """Return *error* as a memo has it: only its text, where no replay could make it again."""
    return Failure(text_of(error), is_final, guard.attempt(partial(_json, error)))


def raised_by(failure: Failure) -> BaseException | None:
    """Return the exception of a failure, made again; None where it cannot be."""
    return None if failure.exception is None else _remade(failure.exception)


def survivor(error: BaseException, failure: Failure) -> BaseException | None:
    """Return what the body gets for *error* now, so that a replay gives it the same.

    That is *error* itself if the replay makes its equal; else what the replay makes, which is
    None where it cannot make one.
    """
    again = raised_by(failure)
    if again is None:
        return None
    if _is_same(error, again):
        return error
    again.__cause__ = shown(error)
    return again


def shown(error: BaseException) -> BaseException | None:
    """Return *error* as a cause; None if no traceback can show it, which would end a worker."""
    return error if guard.attempt(partial(format_exception, error)) else None


def _json(error: BaseException) -> str | None:
    """Return the best form of *error*: one that makes its equal, else one that is not mangled."""
    forms = [
        (form, again)
        for form in _forms(error)
        if (again := _remade(form)) is not None and type(again) is type(error)
    ]
    equal = [form for form, again in forms if _is_same(error, again)]
    sound = [form for form, again in forms if not _is_mangled(error, again, form)]
    return next(iter(equal + sound), None)


def _forms(error: BaseException) -> Iterator[str]:
    """Return the JSON that may make *error* again: as pickle would, or without a call of its class.

    Raises what the user's class raises, and where an argument is not JSON.
    """
    kind = type(error)
    args, state = _parts(error)
    json_state = {
        name: value for name, value in state.items() if guard.attempt(partial(dumps, value))
    }
    common = {"module": kind.__module__, "type": kind.__qualname__, "state": json_state}
    forms = [dumps({**common, "args": [_argument(arg) for arg in args]})]
    # A class that takes other arguments than it stores is whole only with all its attributes.
    if len(json_state) == len(state):
        forms.append(dumps({**common, "args": list(error.args), "is_uncalled": True}))
    return (form for form in forms if len(form) <= _LONGEST)


def _parts(error: BaseException) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments and the attributes of which pickle would make *error*."""
    reduced: Any = error.__reduce_ex__(2)
    kind, args, *rest = reduced
    if kind is not type(error):
        return error.args, vars(error)
    return args, rest[0] if rest and isinstance(rest[0], dict) else {}


def _argument(value: Any) -> Any:
    return str(value) if isinstance(value, BaseException) else value


def _remade(form: str) -> BaseException | None:
    """Make an exception; None if its class is gone or refuses, or if it cannot be shown."""
    return guard.attempt(lambda: _showable(_made(**loads(form))))


def _made(
    module: str, type: str, args: list[Any], state: dict[str, Any], is_uncalled: bool = False
) -> BaseException:
    kind = attrgetter(type)(sys.modules[module])
    if not issubclass(kind, BaseException):
        raise TypeError(f"{type} is no exception")
    again: BaseException = kind.__new__(kind, *args) if is_uncalled else kind(*args)
    if is_uncalled:
        again.args = tuple(args)
    again.__setstate__(state)
    return again


def _showable(error: BaseException) -> BaseException:
    """Return *error*; raises where it has no text, or where no traceback can show it."""
    for show in (str, repr, format_exception):
        show(error)
    return error


def _is_same(error: BaseException, again: BaseException) -> bool:
    return guard.attempt(
        lambda: str(error) == str(again) and _parts(error) == _parts(again), default=False
    )


def _is_mangled(error: BaseException, again: BaseException, form: str) -> bool:
    """Whether the class makes another text of the very same arguments."""
    return str(error) != str(again) and loads(form)["args"] == list(_parts(error)[0])
