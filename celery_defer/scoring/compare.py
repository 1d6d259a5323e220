"""How variants are compared: runs are counted, scores summed up, differences judged.

The unit is the run that was assigned to a variant. Each is counted once, as scored, pending, not
sampled or missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from celery_defer import guard
from celery_defer.errors import ExperimentError
from celery_defer.scoring.comparison import COUNTS, Comparison, Difference, VariantRow
from celery_defer.scoring.sentences import sentences_about
from celery_defer.scoring.statistics import Summary, interval
from celery_defer.scoring.verdict import verdict
from celery_defer.text import safe_repr

__all__ = ["compare_rows"]

# By variant and the name of a count.
_Counts = Mapping[tuple[str, str], int]
# By the name of a score, then by variant.
_Summaries = Mapping[str, Mapping[str, Summary]]


def compare_rows(
    experiment: str,
    assigned: Mapping[str, str],
    values: Mapping[str, Mapping[str, float]],
    pending: Collection[str] = frozenset(),
    unsampled: Collection[str] = frozenset(),
    *,
    baseline: str | None = None,
    order: Sequence[str] = (),
    effects: Mapping[str, float] | None = None,
) -> Comparison:
    """Return how the variants compare.

    *assigned* has the variant of each run, *values* the value of each run by the name of the score:
    a run with several values of one score has their `mean_of`. Runs that were not assigned are left
    out. *pending* and *unsampled* are sets of runs; a run in both is pending, and one with any
    score is scored. Of a run in *pending* that is scored, scores that it lacks are awaited.

    The variants stand in *order*, the others by name behind them; *baseline* stands first, and the
    others are compared with the first. *effects* has the smallest effect that matters, by the name
    of the score.

    Raises ExperimentError for a baseline and an order that are no variants of these runs, and for
    an effect that is not above 0.
    """
    variants = _ordered(
        experiment, {*assigned.values()}, _checked_order(experiment, order), baseline
    )
    checked = _checked_effects(experiment, {} if effects is None else effects)
    summaries = _summaries(assigned, values)
    counts = _counts(assigned, values, pending, unsampled)
    awaited = _awaited(assigned, values, pending, {*values, *checked})
    rows = tuple(_row(variant, counts, summaries, awaited) for variant in variants)
    differences = tuple(
        _difference(score, rows[0], row, checked.get(score))
        for score in sorted(summaries)
        for row in rows[1:]
        if score in rows[0].scores and score in row.scores
    )
    sentences = tuple(sentences_about(experiment, rows, differences, {*summaries, *checked}))
    return Comparison(experiment, rows, differences, sentences)


def _ordered(
    experiment: str, variants: set[str], order: Sequence[str], baseline: str | None
) -> list[str]:
    if not variants:
        return list(dict.fromkeys(order))
    known = ", ".join(f"'{name}'" for name in sorted(variants))
    if baseline is not None and baseline not in variants:
        raise ExperimentError(
            f"experiment '{experiment}' has no variant '{baseline}' to compare with: give one of "
            f"{known}"
        )
    for name in order:
        if name not in variants:
            raise ExperimentError(
                f"experiment '{experiment}' has no variant {safe_repr(name)[:80]} to put in order: "
                f"give some of {known}"
            )
    rest = [*order, *sorted(variants.difference(order))]
    return list(dict.fromkeys([baseline, *rest] if baseline in variants and baseline else rest))


def _checked_order(experiment: str, order: object) -> Sequence[str]:
    if isinstance(order, Sequence) and not isinstance(order, str | bytes):
        return order
    raise ExperimentError(
        f"experiment '{experiment}': order={safe_repr(order)[:80]} is no list: give the names of "
        "variants"
    )


def _checked_effects(experiment: str, effects: object) -> Mapping[str, float]:
    if not isinstance(effects, Mapping):
        raise ExperimentError(
            f"experiment '{experiment}': effects={safe_repr(effects)[:80]} is no dict: give the "
            "smallest effect that matters by the name of its score"
        )
    for score, effect in effects.items():
        if not _is_size(effect):
            raise ExperimentError(
                f"experiment '{experiment}': the effect of score '{score}' is "
                f"{safe_repr(effect)[:80]}: give a number above 0"
            )
    return {score: float(effect) for score, effect in effects.items()}


def _is_size(effect: Any) -> bool:
    number = None if isinstance(effect, bool | str) else guard.attempt(lambda: float(effect))
    return number is not None and math.isfinite(number) and number > 0


def _summaries(
    assigned: Mapping[str, str], values: Mapping[str, Mapping[str, float]]
) -> _Summaries:
    return {name: _by_variant(assigned, its) for name, its in values.items()}


def _by_variant(assigned: Mapping[str, str], values: Mapping[str, float]) -> dict[str, Summary]:
    numbers: dict[str, list[float]] = {}
    for run, value in values.items():
        if (variant := assigned.get(run)) is not None:
            numbers.setdefault(variant, []).append(value)
    return {variant: Summary.of(its) for variant, its in numbers.items()}


def _counts(
    assigned: Mapping[str, str],
    values: Mapping[str, Mapping[str, float]],
    pending: Collection[str],
    unsampled: Collection[str],
) -> _Counts:
    names = list(values.values())

    def kind(run: str) -> str:
        if any(run in its for its in names):
            return "scored"
        if run in pending:
            return "pending"
        return "not_sampled" if run in unsampled else "missing"

    return Counter((variant, kind(run)) for run, variant in assigned.items())


def _awaited(
    assigned: Mapping[str, str],
    values: Mapping[str, Mapping[str, float]],
    pending: Collection[str],
    names: Collection[str],
) -> Mapping[str, Counter[str]]:
    """Return the runs that are open, by name of a score that they lack; all of them under ""."""
    is_open = {run: assigned[run] for run in pending if run in assigned}

    def lacking(name: str) -> Counter[str]:
        its = values.get(name, {})
        return Counter(variant for run, variant in is_open.items() if run not in its)

    return {name: lacking(name) for name in sorted({"", *names})}


def _row(
    variant: str,
    counts: _Counts,
    summaries: _Summaries,
    awaited: Mapping[str, Mapping[str, int]],
) -> VariantRow:
    kinds = {kind: counts.get((variant, kind), 0) for kind in COUNTS[1:]}
    return VariantRow(
        variant,
        sum(kinds.values()),
        **kinds,
        scores={name: its[variant] for name, its in sorted(summaries.items()) if variant in its},
        open=awaited[""].get(variant, 0),
        awaited={name: its.get(variant, 0) for name, its in awaited.items() if name},
    )


def _difference(
    score: str, first: VariantRow, other: VariantRow, effect: float | None
) -> Difference:
    summaries = first.scores[score], other.scores[score]
    seen = interval(*summaries)
    judged = verdict(score, (first.variant, other.variant), summaries, seen, effect)
    return Difference(
        score,
        other.variant,
        first.variant,
        seen.value,
        seen.low,
        seen.high,
        seen.method,
        judged.is_enough,
        judged.runs_needed,
        judged.sentence,
    )
