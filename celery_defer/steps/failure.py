"""A step's exception as JSON, and the exception rebuilt from it.

Celery's ``Backend.prepare_exception`` stores only the class and ``args``: attributes are lost, and
a class that takes other arguments than it stores comes back as another class.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from operator import attrgetter
from traceback import format_exception
from typing import Any

from celery_defer import guard
from celery_defer.encoding import dumps, loads
from celery_defer.run.memo import Failure
from celery_defer.text import text_of

# The most characters in an exception's JSON.
_LONGEST = 65_536


def failure_of(error: BaseException, *, is_final: bool) -> Failure:
    """Return *error* as a memo stores it; only its text if it cannot be rebuilt."""
    return Failure(text_of(error), is_final, guard.attempt(partial(_json, error)))


def exception_of(failure: Failure) -> BaseException | None:
    """Rebuild the exception of a failure; None if that is impossible."""
    return None if failure.exception is None else _rebuild(failure.exception)


def as_replayed(error: BaseException, failure: Failure) -> BaseException | None:
    """Return the exception to raise for *error* now: an equal of the one that a replay raises.

    That is *error* itself if the rebuilt exception equals it, else the rebuilt one. None if it
    cannot be rebuilt.
    """
    rebuilt = exception_of(failure)
    if rebuilt is None:
        return None
    if _is_same(error, rebuilt):
        return error
    rebuilt.__cause__ = as_cause(error)
    return rebuilt


def as_cause(error: BaseException) -> BaseException | None:
    """Return *error*; None if a traceback cannot format it, which would end a worker."""
    return error if guard.attempt(partial(format_exception, error)) else None


def _json(error: BaseException) -> str | None:
    """Return the best form of *error*: one that rebuilds its equal, else one with its text."""
    forms = [
        (form, rebuilt)
        for form in _forms(error)
        if (rebuilt := _rebuild(form)) is not None and type(rebuilt) is type(error)
    ]
    equal = [form for form, rebuilt in forms if _is_same(error, rebuilt)]
    sound = [form for form, rebuilt in forms if not _is_mangled(error, rebuilt, form)]
    return next(iter(equal + sound), None)


def _forms(error: BaseException) -> Iterator[str]:
    """Return JSON that may rebuild *error*: as pickle would, or without calling its class.

    Raises what the user's class raises, and an error for an argument that is not JSON.
    """
    kind = type(error)
    args, state = _parts(error)
    json_state = {
        name: value for name, value in state.items() if guard.attempt(partial(dumps, value))
    }
    common = {"module": kind.__module__, "type": kind.__qualname__, "state": json_state}
    forms = [dumps({**common, "args": [_argument(arg) for arg in args]})]
    # A class that takes other arguments than it stores needs all its attributes.
    if len(json_state) == len(state):
        forms.append(dumps({**common, "args": list(error.args), "is_uncalled": True}))
    return (form for form in forms if len(form) <= _LONGEST)


def _parts(error: BaseException) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments and the attributes from which pickle would rebuild *error*."""
    reduced: Any = error.__reduce_ex__(2)
    kind, args, *rest = reduced
    if kind is not type(error):
        return error.args, vars(error)
    return args, rest[0] if rest and isinstance(rest[0], dict) else {}


def _argument(value: Any) -> Any:
    return str(value) if isinstance(value, BaseException) else value


def _rebuild(form: str) -> BaseException | None:
    """Return the exception; None if its class is gone or refuses, or if it cannot be printed."""
    return guard.attempt(lambda: _printable(_build(**loads(form))))


def _build(
    module: str, type: str, args: list[Any], state: dict[str, Any], is_uncalled: bool = False
) -> BaseException:
    kind = attrgetter(type)(sys.modules[module])
    if not issubclass(kind, BaseException):
        raise TypeError(f"{type} is not an exception")
    error: BaseException = kind.__new__(kind, *args) if is_uncalled else kind(*args)
    if is_uncalled:
        error.args = tuple(args)
    error.__setstate__(state)
    return error


def _printable(error: BaseException) -> BaseException:
    """Return *error*; raise if it has no text, or if a traceback cannot format it."""
    for show in (str, repr, format_exception):
        show(error)
    return error


def _is_same(error: BaseException, rebuilt: BaseException) -> bool:
    return guard.attempt(
        lambda: str(error) == str(rebuilt) and _parts(error) == _parts(rebuilt), default=False
    )


def _is_mangled(error: BaseException, rebuilt: BaseException, form: str) -> bool:
    """Whether the text differs although the arguments are the same."""
    return str(error) != str(rebuilt) and loads(form)["args"] == list(_parts(error)[0])
