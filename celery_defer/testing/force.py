"""How a test chooses which variant of an experiment its runs take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery_defer.steps import forced
from celery_defer.testing.run import SimulationError


@contextmanager
def force_variant(experiment: str, variant: str) -> Iterator[None]:
    """Let the runs of this process that begin *experiment* in the block take *variant*.

    The experiment's ``select`` is not asked. The pytest fixture ``force_variant`` does so until the
    end of the test. Raises SimulationError at the end if no run has begun the experiment.

    >>> with force_variant("checkout-flow", "variant"):
    ...     assert sim.run(checkout, order_id=7).variants == {"checkout-flow": "variant"}
    """
    is_used = False

    def take() -> str:
        nonlocal is_used
        is_used = True
        return variant

    before = forced.get(experiment)
    forced[experiment] = take
    try:
        yield
    finally:
        forced.pop(experiment)
        if before is not None:
            forced[experiment] = before
    if not is_used:
        raise SimulationError(
            f"force_variant({experiment!r}, {variant!r}): no run has begun this experiment; one "
            "that began it before keeps its variant"
        )
