"""Functions with limits, and one without; each tells the bench when its body began."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import SimpleNamespace
from typing import Any

from celery import Task

from celery_defer import Concurrency, Throttle, deferred

__all__ = ["QUIET", "declare"]

#: A customer of whom nothing is told.
QUIET = -1


def _nothing(**facts: float) -> None: ...


def declare(  # noqa: C901 - one function after the other
    app: Any,
    tell: Callable[..., None] = _nothing,
    await_turn: Callable[[], None] = _nothing,
    *,
    with_limits: bool = True,
    timed: Any = Task,
) -> SimpleNamespace:
    """Declare the functions of *app*; only those without limits, if there are to be none."""

    def began(customer: int) -> None:
        if customer != QUIET:
            tell(at=monotonic())

    @deferred(app, name="bench.free", shared=False)
    def free(customer: int) -> None:
        """Have no limits."""
        began(customer)

    @app.task(name="bench.lands", shared=False)
    def lands(sent: float) -> None:
        tell(landed=monotonic() - sent)

    @app.task(name="bench.sends", shared=False)
    def sends() -> None:
        """Send when the bench says so: as long at rest before as the body of ``turns``."""
        await_turn()
        lands.delay(monotonic())

    if not with_limits:
        return SimpleNamespace(free=free)

    @deferred(app, name="bench.one", shared=False, concurrency=Concurrency(1))
    def one(customer: int) -> None:
        """Execute alone."""
        began(customer)

    @deferred(
        app,
        name="bench.keyed",
        shared=False,
        concurrency=(Concurrency(1, key="customer"), Concurrency(1)),
    )
    def keyed(customer: int) -> None:
        """Execute alone, and take turns with other customers."""
        began(customer)

    @deferred(app, name="bench.many", shared=False, concurrency=Concurrency(1_000))
    def many(customer: int) -> None:
        """Have a limit that nobody reaches."""
        began(customer)

    @deferred(app, name="bench.paced", shared=False, throttle=Throttle(10_000, 1, burst=9_999))
    def paced(customer: int) -> None:
        """Have a throttle that nobody feels."""
        began(customer)

    @deferred(
        app, name="bench.turns", shared=False, base=timed, bind=True, concurrency=Concurrency(1)
    )
    def turns(self: Any, customer: int) -> None:
        """Have the place until the bench says so."""
        tell(began=monotonic())
        await_turn()
        self.ended = monotonic()

    return SimpleNamespace(free=free, one=one, keyed=keyed, many=many, paced=paced, turns=turns)
