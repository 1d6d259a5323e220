"""How a step's failure is kept: an exception as JSON, and the exception of it again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from traceback import format_exception
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from celery_defer.broker.encoding import dumps, loads
from celery_defer.run.memo import Failure
from celery_defer.text import text_of

__all__ = ["failure_of", "raised_by", "shown", "survivor"]

T = TypeVar("T")

# In characters: of what is kept to make an exception again.
_LONGEST = 65_536


def failure_of(error: BaseException, *, is_final: bool) -> Failure:
    """Write *error*; only its text, where no replay could make the exception again."""
    return Failure(text_of(error), is_final, _kept(error))


def raised_by(failure: Failure) -> BaseException | None:
    """Answer the exception of a failure, made again; None where it cannot be."""
    return None if failure.exception is None else _remade(failure.exception)


def survivor(error: BaseException, failure: Failure) -> BaseException | None:
    """Answer what the turn of *error* is to raise so that it goes the way of a replay.

    The exception itself where a replay makes the same of it, else what a replay makes: None if
    nothing.
    """
    again = raised_by(failure)
    if again is None:
        return None
    if _is_same(error, again):
        return error
    again.__cause__ = shown(error)
    return again


def shown(error: BaseException) -> BaseException | None:
    """Answer *error* as a cause; None if no traceback could show it, which would end a worker."""
    return _attempt(lambda: (format_exception(error), error)[1])


def _kept(error: BaseException) -> str | None:
    sound = None
    for kept in _attempt(lambda: list(_forms(error))) or ():
        again = _remade(kept)
        if again is None or type(again) is not type(error):
            continue
        if _is_same(error, again):
            return kept
        if sound is None and not _is_mangled(error, again, kept):
            sound = kept
    return sound


def _forms(error: BaseException) -> Iterator[str]:
    """Answer what an exception may be made of: as pickle would, or without a call of the class.

    Raises what the user's class raises, and where an argument is not JSON.
    """
    kind = type(error)
    args, state = _parts(error)
    named = {name: value for name, value in state.items() if _attempt(partial(dumps, value))}
    known = {"module": kind.__module__, "type": kind.__qualname__, "state": named}
    forms = [dumps({**known, "args": [_argument(arg) for arg in args]})]
    # A class that takes other arguments than it keeps is whole only with all its attributes.
    if len(named) == len(state):
        forms.append(dumps({**known, "args": list(error.args), "is_uncalled": True}))
    return (form for form in forms if len(form) <= _LONGEST)


def _parts(error: BaseException) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Answer the arguments and the attributes that pickle would make an exception of."""
    reduced: Any = error.__reduce_ex__(2)
    kind, args, *rest = reduced
    if kind is not type(error):
        return error.args, vars(error)
    return args, rest[0] if rest and isinstance(rest[0], dict) else {}


def _argument(value: Any) -> Any:
    return str(value) if isinstance(value, BaseException) else value


def _remade(kept: str) -> BaseException | None:
    """Make an exception that can be shown; None where its class is gone, or does not let it."""
    again = _attempt(lambda: _made(**loads(kept)))
    return None if again is None else _attempt(lambda: (str(again), repr(again), shown(again))[2])


def _made(
    module: str, type: str, args: list[Any], state: dict[str, Any], is_uncalled: bool = False
) -> BaseException:
    kind = _class_of(module, type)
    if is_uncalled:
        again = kind.__new__(kind, *args)
        again.args = tuple(args)
    else:
        again = kind(*args)
    again.__setstate__(state)
    return again


def _class_of(module: str, name: str) -> type[BaseException]:
    found = attrgetter(name)(sys.modules[module])
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise TypeError(f"{name} is no exception")


def _is_same(error: BaseException, again: BaseException) -> bool:
    return bool(
        _attempt(lambda: str(error) == str(again) and _parts(error) == _parts(again)),
    )


def _is_mangled(error: BaseException, again: BaseException, kept: str) -> bool:
    """Tell whether the class has made another text of the very same arguments."""
    if _attempt(lambda: str(error) == str(again)):
        return False
    return bool(_attempt(lambda: loads(kept)["args"] == list(_parts(error)[0])))


def _attempt(make: Callable[[], T]) -> T | None:
    """Answer what users' code makes; None where it raises."""
    try:
        return make()
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        return None
