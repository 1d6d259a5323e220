"""Whether a step whose function has failed is tried again, and when."""

from __future__ import annotations

from random import uniform

from celery.utils.time import get_exponential_backoff_interval

from celery_defer import durations
from celery_defer.errors import NonRetriable, RetryAfter, StepError
from celery_defer.steps.base import Step
from celery_defer.steps.wait import Wait
from celery_defer.text import safe_repr, text_of

# Seconds between the tries of a step: a random part of 1, 2, 4 … up to this.
_LONGEST_BACKOFF = 600


def check_retries(step: Step, retries: object) -> None:
    """Raise StepError if *retries* is not a number of tries."""
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise StepError(
            f"step {step.key!r}: retries={safe_repr(retries)} is no number of tries: give 0, "
            "or how many more tries there may be",
            step.key,
        )


def next_try(step: Step, error: Exception, retries: int) -> Wait | None:
    """Return the wait before the next try; None if *error* or the tries before allow none."""
    tries = (step.note.tries if step.note else 0) + 1
    if isinstance(error, NonRetriable) or tries > retries:
        return None
    about = {"error": text_of(error), "try": tries + 1}
    return Wait("retry", step.scope.now() + _backoff(step, error, tries), about, tries=tries)


def is_final(error: Exception, retries: int) -> bool:
    """Whether a failure without a next try is the step's for good: a retry of the task keeps it."""
    return retries > 0 or isinstance(error, NonRetriable)


def _backoff(step: Step, error: Exception, tries: int) -> float:
    if isinstance(error, RetryAfter):
        return durations.seconds(step.key, error.delay)
    longest = get_exponential_backoff_interval(1, tries - 1, _LONGEST_BACKOFF)
    return longest * uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret
