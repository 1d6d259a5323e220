"""A comparison of variants, printed."""

from __future__ import annotations

from textwrap import fill

from celery_defer import Comparison

__all__ = ["show"]

COUNTS = ("assigned", "scored", "pending", "missing", "not_sampled")


def show(comparison: Comparison) -> None:
    """Print how many runs each variant has, what their scores are, and what that says."""
    print(f"\n{'':12}" + "".join(f"{count.replace('_', ' '):>12}" for count in COUNTS))
    for row in comparison.variants:
        print(f"{row.variant:12}" + "".join(f"{getattr(row, count):>12}" for count in COUNTS))
    print()
    for row in comparison.variants:
        for name, its in row.scores.items():
            print(f"{row.variant:12}{name:12}mean {its.mean:.2f} of {its.n}")
    print()
    for sentence in comparison.sentences:
        print(fill(f"- {sentence}", 90, subsequent_indent="  ", break_on_hyphens=False))
