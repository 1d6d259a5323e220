"""What a comparison says in sentences: what differs, what is lacking, and what is still to come."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from celery_defer.scoring.comparison import Difference, VariantRow

__all__ = ["sentences_about"]


def sentences_about(
    experiment: str,
    rows: Sequence[VariantRow],
    differences: Sequence[Difference],
    scores: Collection[str],
) -> Iterator[str]:
    """Return what is to be said of *rows* and their *differences*, by the names of all scores."""
    if not sum(row.assigned for row in rows):
        yield f"No run has taken part in experiment '{experiment}' yet."
        return
    if len(rows) == 1:
        yield f"There is nothing to compare with: '{rows[0].variant}' is the only variant."
    yield from (each.verdict for each in differences)
    yield from _lacking(scores, rows)
    yield from _still_to_come(rows)
    if pending := sum(row.pending for row in rows):
        yield (
            f"{_runs(pending)} pending: scores that come late may differ from those that are here."
        )
    if missing := sum(row.missing for row in rows):
        yield f"{_runs(missing)} without a score, and none is on its way."
    if len(differences) > 1:
        yield (
            f"{len(differences)} differences are shown: by chance alone, one 95% interval in 20 "
            "misses the true difference."
        )


def _lacking(scores: Collection[str], rows: Sequence[VariantRow]) -> list[str]:
    return [
        f"{score}: no run of '{row.variant}' has this score yet."
        for score in sorted(scores)
        for row in rows
        if score not in row.scores
    ]


def _still_to_come(rows: Sequence[VariantRow]) -> Iterator[str]:
    """Return a sentence for each score that may still come of runs that have another."""
    scored = sum(row.open - row.pending for row in rows)
    names = [
        name for name in rows[0].awaited if any(row.awaited[name] > row.pending for row in rows)
    ]
    for name in names:
        runs = " and ".join(
            f"{row.awaited[name]:,} of '{row.variant}'" for row in rows if row.awaited[name]
        )
        yield (
            f"{name}: it may still come of runs that have not ended, {runs}, and late ones may "
            "differ from those that are here."
        )
    if scored and not names:
        yield f"{_runs(scored)} scored and not at an end: other scores may still come."


def _runs(number: int) -> str:
    return "1 run is" if number == 1 else f"{number:,} runs are"
