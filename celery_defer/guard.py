"""How the package handles errors of foreign code; a soft time limit always gets through.

Celery raises ``SoftTimeLimitExceeded``, an ``Exception``, in the middle of whatever the task does.
An ``except Exception`` would swallow it, and the task would run on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from traceback import print_exc
from typing import Any, TypeGuard, TypeVar, overload

from billiard.exceptions import SoftTimeLimitExceeded

from celery_defer import subject
from celery_defer.subject import Ids

T = TypeVar("T")
D = TypeVar("D")

_SERVICES = frozenset({"redis", "kombu", "amqp"})

_Errors = type[Exception] | tuple[type[Exception], ...]


def logger(name: str) -> logging.Logger:
    """Return the logger with this name, whose handlers may raise without ending its caller.

    They are the project's: one that sends warnings over the network, say. Each line has the ids of
    the run that it is about: those of ``extra``, else of the run in progress.
    """
    own: Any = logging.getLogger(name)
    own.makeRecord = partial(_make_record, own.makeRecord)  # logging.Logger.makeRecord
    own.handle = partial(_handle, own.handle)  # logging.Logger.handle: its filters and handlers
    return own  # type: ignore[no-any-return]


@overload
def attempt(make: Callable[[], T]) -> T | None: ...
@overload
def attempt(make: Callable[[], T], default: D) -> T | D: ...
def attempt(make: Callable[[], T], default: D | None = None) -> T | D | None:
    """Return what *make* returns, or *default* if it raises."""
    try:
        return make()
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        return default


def logged(
    logger: logging.Logger,
    message: str,
    *args: object,
    unless: _Errors = (),
    about: Ids | None = None,
) -> AbstractContextManager[None, bool]:
    """Log an error of the block, with its traceback unless a service is away, and go on after it.

    Errors of the classes *unless* get through. *about* has the ids of another run than the one in
    progress.

    >>> with guard.logged(logger, "run %s: its links are not stored", run.id):
    ...     backend.store(links)
    """
    return _Logged(logger, message, args, unless, about)


def translated(
    make_error: Callable[[Exception], Exception], *, unless: _Errors = ()
) -> AbstractContextManager[None, None]:
    """Raise what *make_error* makes of an error of the block, with that error as its cause.

    Errors of the classes *unless* get through.

    >>> with guard.translated(lambda error: StoreError(f"no store: {error}")):
    ...     store.stage(record)
    """
    return _Translated(make_error, unless)


@dataclass(frozen=True, slots=True)
class _Logged:
    logger: logging.Logger
    message: str
    args: tuple[object, ...]
    unless: _Errors
    about: Ids | None

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not _is_handled(error, self.unless):
            return False
        # The line in the log names the `with` statement, not this file. A service that is away, or
        # refuses something, says all in one line.
        is_service = type(error).__module__.partition(".")[0] in _SERVICES
        if is_service or isinstance(error, (ConnectionError, TimeoutError)):
            text = f"{type(error).__name__}: {error}"
            self.logger.error(
                f"{self.message}: %s", *self.args, text, stacklevel=2, extra=self.about
            )
        else:
            # Not `exception`: Python 3.10 counts that as a level.
            self.logger.error(
                self.message, *self.args, exc_info=True, stacklevel=2, extra=self.about
            )
        return True


@dataclass(frozen=True, slots=True)
class _Translated:
    make_error: Callable[[Exception], Exception]
    unless: _Errors

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if _is_handled(error, self.unless):
            raise self.make_error(error) from error


def _make_record(make: Callable[..., logging.LogRecord], *fields: Any) -> logging.LogRecord:
    """Make a record with ids, even if the project's factory of records has set the same names."""
    *fields_before, extra, stack = fields
    record = make(*fields_before, None, stack)
    vars(record).update({**subject.in_progress(), **(extra or {})})
    return record


def _handle(handle: Callable[[logging.LogRecord], None], record: logging.LogRecord) -> None:
    try:
        handle(record)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        if logging.raiseExceptions:  # as logging.Handler.handleError does
            print_exc()


def _is_handled(error: BaseException | None, unless: _Errors) -> TypeGuard[Exception]:
    return (
        isinstance(error, Exception)
        and not isinstance(error, SoftTimeLimitExceeded)
        and not isinstance(error, unless)
    )
