"""In which variants of its run's experiments a step is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from celery_defer.run import Scope

_Inside = tuple[Scope | None, Mapping[str, str]]
_inside: ContextVar[_Inside] = ContextVar("celery_defer_variants", default=(None, {}))


def variants_in_progress(run: Scope) -> Mapping[str, str]:
    """Return the experiments of *run* whose variants are in progress here, each with its variant.

    A thread that was started with this context belongs to it.
    """
    scope, variants = _inside.get()
    return variants if scope is run else {}


@contextmanager
def inside(run: Scope, experiment: str, variant: str) -> Iterator[None]:
    """Let the steps of a block be those of a variant."""
    token = _inside.set((run, {**variants_in_progress(run), experiment: variant}))
    try:
        yield
    finally:
        _inside.reset(token)
