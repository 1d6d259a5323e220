"""An experiment: a choice between variants that a run makes once, and carries along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic, TypeVar

from pydantic_core import from_json, to_json

from celery_defer import guard
from celery_defer.errors import ExperimentError, NoRunError, StoreError
from celery_defer.run import Block, Memo, Scope, current, step_inside
from celery_defer.scoring import Choice, Selector, chosen, weighted
from celery_defer.steps.recall import away, journal_of
from celery_defer.steps.retention import note_variant
from celery_defer.steps.variants import inside
from celery_defer.text import safe_repr, text_of

R = TypeVar("R")

# Prefix of the key of the memo of what a run has taken; as what the body has done, it is no step.
_TAKEN = "\0\2"
# Several threads of a run may begin experiments at the same time.
_beginning = RLock()

#: What tests let experiments take, by the id of the experiment.
forced: dict[str, Callable[[], str]] = {}


@dataclass(frozen=True, slots=True)
class ExperimentResult(Generic[R]):
    """What ``experiment`` returns."""

    variant: str  #: The name of the variant that the run has taken.
    result: R  #: What its function has returned.


def experiment(
    id: str, variants: Mapping[str, Callable[[], R]], select: Selector | None = None
) -> ExperimentResult[R]:
    """Run one of *variants* in the run in progress, the same in each attempt and after each wait.

    *select* chooses it: ``fixed``, ``weighted``, ``bucket`` or any function of a ``Choice``.
    Without it, all variants are chosen equally, as ``weighted`` does. What was chosen first stays,
    also where a deploy has changed *select*.

    The function of the variant runs in the body, so it may have steps, wait and defer, and runs
    again in each turn. The run carries its variant from here on, and so do the runs that it defers
    or invokes, and those that these defer: a score of any of them counts for the variant.
    ``current_run().experiments`` tells it.

    Raises ExperimentError for what cannot be an experiment, for one that the run has begun or
    carries already, and for a variant that the code has no more; Celery's ``autoretry_for`` does
    not try these again. Raises NoRunError outside a task, and StoreError if the app has no Redis.

    >>> checkout = experiment(
    ...     "checkout-flow",
    ...     {"control": lambda: one_page(cart), "variant": lambda: three_pages(cart)},
    ...     select=bucket(user.id),
    ... )
    >>> checkout.variant, checkout.result
    """
    run = _run_for(id)
    choice = _choice(run, id, variants)
    with _beginning:
        _check_new(run, choice)
        variant = _take(run, choice, select)
        run.carry(choice.experiment, variant)
        note_variant(run)
    with inside(run, choice.experiment, variant):
        return ExperimentResult(variant, variants[variant]())


def _run_for(id: object) -> Scope:
    run = current()
    if isinstance(run, Block):
        raise NoRunError(
            f"experiment {safe_repr(id)} is in a block of deferring(), which is no run: put it "
            "into a task, and defer that"
        )
    if (outer := step_inside(run.buffer)) is not None:
        raise ExperimentError(
            f"experiment {safe_repr(id)} is inside step {outer!r} of run {run.run.id}: its "
            "variants may have steps, which do not nest; take it out of the step's function"
        )
    return run


def _choice(run: Scope, id: str, variants: Mapping[str, Callable[[], Any]]) -> Choice:
    if not isinstance(variants, Mapping):
        raise ExperimentError(
            f"experiment {safe_repr(id)}: variants={safe_repr(variants)[:80]} is no dict: give a "
            "function for the name of each variant"
        )
    choice = Choice(id, run.run.id, tuple(variants))
    for name, function in variants.items():
        if not callable(function):
            raise ExperimentError(
                f"experiment '{id}': variant '{name}' is {safe_repr(function)[:80]}, which cannot "
                f"be called: give a function, such as lambda: {name}(…)"
            )
    return choice


def _check_new(run: Scope, choice: Choice) -> None:
    id = choice.experiment
    if id not in run.experiments:
        return
    variant, taker = run.experiments[id]
    if taker == run.run.id:
        raise ExperimentError(
            f"experiment '{id}' is begun twice in run {taker}, which has taken '{variant}': begin "
            "it once, and hand its result on"
        )
    raise ExperimentError(
        f"run {run.run.id} carries experiment '{id}' from run {taker}, which has taken "
        f"'{variant}': read that in current_run().experiments, or give this one another id"
    )


def _take(run: Scope, choice: Choice, select: Selector | None) -> str:
    """Return the variant that the run has; if it has none yet, it is selected and assigned."""
    replay, key = journal_of(run), f"{_TAKEN}{choice.experiment}"
    if body := replay.memos.get(key):
        variant = str(from_json(Memo.unpack(body).result))
    else:
        variant = _assigned(run, choice, _selected(choice, select))
        # It is stored with the next step, or when the run parks; the store has the assignment.
        replay.pending[key] = Memo(to_json(variant).decode()).pack()
    if variant in choice.variants:
        return variant
    there = ", ".join(f"'{name}'" for name in choice.variants)
    raise ExperimentError(
        f"experiment '{choice.experiment}' has no variant '{variant}' any more, which run "
        f"{run.run.id} has taken; there are {there}: keep a variant until the runs that have taken "
        "it have ended"
    )


def _selected(choice: Choice, select: Selector | None) -> str:
    if force := forced.get(choice.experiment):
        name = force()
        return chosen(lambda _: name, choice)
    return chosen(
        weighted(dict.fromkeys(choice.variants, 1.0)) if select is None else select, choice
    )


def _assigned(run: Scope, choice: Choice, variant: str) -> str:
    """Assign a variant to the run; return the one that it has, if another attempt was first."""
    id, settings = choice.experiment, run.settings
    if run.is_eager:
        return variant
    if run.store is None:
        raise StoreError(
            f"experiment '{id}' has no place to remember which variant a run has taken: set "
            "defer_store_url = 'redis://…'"
        )
    store, open_for = run.store, settings.run_keeps if settings.record else 0.0

    def lost(error: Exception) -> Exception:
        return away(run, f"experiment '{id}' of run {run.run.id} finds no store: {text_of(error)}")

    with guard.translated(lost):
        return store.assign(run.run.id, id, variant, settings.score_retention, open_for)
