"""Of which runs a scorer scores a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import sha256

from celery_defer.errors import OptionError
from celery_defer.text import safe_repr

_POINTS = 2**32


@dataclass(frozen=True, slots=True)
class Scoring:
    """That a deferred function scores the runs that defer it, and which part of them."""

    sample: float = 1.0

    def __post_init__(self) -> None:
        sample = self.sample
        is_number = isinstance(sample, int | float) and not isinstance(sample, bool)
        if not (is_number and math.isfinite(sample) and 0 < sample <= 1):
            raise OptionError(
                f"@scorer: sample={safe_repr(sample)[:80]} is no part of the runs: give a number "
                "above 0, up to 1 for all runs"
            )

    def takes(self, run: str, task: str) -> bool:
        """Whether a run is in the sample of a scorer: always the same, in any process."""
        point = int(sha256(f"{run}:{task}".encode(errors="replace")).hexdigest()[:8], 16)
        return point < self.sample * _POINTS
