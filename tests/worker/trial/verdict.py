"""What must come of a visit, and what is wrong with what has come of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from celery_defer import run_id
from celery_defer.contract import Scoring
from tests.worker.trial.visitors import LARGE, SAMPLE, Visitor

__all__ = [
    "KINDS",
    "expected_kind",
    "expected_scores",
    "kind_of",
    "of_counts",
    "of_kinds",
    "of_scores",
]

KINDS = ("scored", "pending", "missing", "not_sampled")


def expected_kind(visitor: Visitor) -> str:
    """Return as what the visit is to be counted in the end."""
    if visitor.plan == "sampled":
        return "scored" if Scoring(SAMPLE).takes(visitor.id, "polite") else "not_sampled"
    return "scored" if visitor.plan == "followed" else "missing"


def expected_scores(visitor: Visitor, variant: str) -> dict[str, dict[str, Any]]:
    """Return the scores of the visit, and of the run that waits for the purchase."""
    spent = visitor.spends[variant]
    of_visit: dict[str, Any] = {"bought": bool(spent)} if visitor.plan == "followed" else {}
    if visitor.plan == "sampled" and expected_kind(visitor) == "scored":
        of_visit = {"polite": 1}
    of_wait = {"spent": spent, "large": spent > LARGE} if spent else {}
    return {visitor.id: of_visit, run_id(visitor.id, "bought"): of_wait}


def kind_of(
    run: str, scored: Collection[str], is_open: Collection[str], unsampled: Collection[str]
) -> str:
    """Return as what a run is counted."""
    if run in scored:
        return "scored"
    if run in is_open:
        return "pending"
    return "not_sampled" if run in unsampled else "missing"


def of_counts(before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[str]:
    """Return what cannot be of two looks, one after the other."""
    if now["assigned"] != sum(now[kind] for kind in KINDS):
        yield f"the counts are not those of all runs: {now}"
    if any(now[kind] < before.get(kind, 0) for kind in ("assigned", "scored")):
        yield f"runs are gone: {before}, then {now}"


def of_kinds(
    kinds: Mapping[str, str], sent: Mapping[str, Visitor], *, is_over: bool = False
) -> Iterator[str]:
    """Return which visits are counted as what they are not; until all is over they may pend."""
    for id, kind in kinds.items():
        expected = expected_kind(sent[id])
        if kind != expected and (is_over or kind != "pending"):
            yield f"{id} is {kind}, and is to be {expected}"


def of_scores(
    run: str, values: Mapping[str, Any], rows: Iterable[tuple[str, Any]]
) -> Iterator[str]:
    """Return whether scores of a run are lost, doubled or wrong."""
    if (found := sorted(rows)) != sorted(values.items()):
        yield f"{run} is to have the scores {values}, and has {found}"
