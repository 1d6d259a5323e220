"""Errors of a body that another try of its task cannot mend, whatever ``autoretry_for`` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from celery.exceptions import Ignore

from celery_defer.errors import ExperimentError, ScoreError, StepError
from celery_defer.run import find

_ERRORS = (ExperimentError, ScoreError)


class Final(Ignore):
    """Takes an error past ``autoretry_for``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def end_tries(task: Any) -> None:
    """Let ``autoretry_for`` not try *task* again after such an error.

    celery.app.autoretry.add_autoretry_behaviour.<locals>.run lets an Ignore pass.
    """
    function = getattr(task, "_orig_run", None)
    if function is None:
        return

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (*_ERRORS, StepError) as error:
            scope = find()
            is_final = isinstance(error, _ERRORS) or isinstance(error.__cause__, _ERRORS)
            if is_final and scope is not None and scope.task is task:
                raise Final(error) from error
            raise

    task._orig_run = run


def result_of(body: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what *body* returns; raise its own error, if it is such a one."""
    try:
        return body(*args, **kwargs)
    except Final as end:
        error = end.error
    raise error  # out here, its traceback says nothing of the other
