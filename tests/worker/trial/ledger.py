"""What is seen of the experiment as it runs, and when it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis

from celery_defer import compare, scores
from celery_defer.store import RedisStore
from tests.worker.trial.app import PREFIX, SEEN, app
from tests.worker.trial.verdict import (
    KINDS,
    expected_scores,
    kind_of,
    of_counts,
    of_kinds,
    of_scores,
)
from tests.worker.trial.visitors import EXPERIMENT, Visitor

__all__ = ["Ledger"]


class Ledger:
    """Looks at each run that takes part, and notes what must not be."""

    def __init__(self, client: Redis, sent: Mapping[str, Visitor]) -> None:
        self.looks = self.most_pending = 0
        #: What the last look has shown, by kind.
        self.counts: dict[str, int] = {}
        self.violations: list[str] = []
        self._client, self._sent = client, sent
        self._store = RedisStore(client, PREFIX)

    def look(self) -> int:
        """Look at the comparison as it is now; return of how many visits a run has not ended."""
        rows = compare(EXPERIMENT, app=app).variants
        counts = {kind: sum(getattr(row, kind) for row in rows) for kind in ("assigned", *KINDS)}
        self.violations += of_counts(self.counts, counts)
        self.violations += of_kinds(self._kinds(), self._sent)
        self.looks, self.counts = self.looks + 1, counts
        self.most_pending = max(self.most_pending, counts["pending"])
        return len(self._store.open_runs(EXPERIMENT))

    def judge(self, may_lose: int) -> int:
        """Judge how all has ended; return how many runs were lost, of which some may be."""
        kinds, variants = self._kinds(), dict(self._store.assigned(EXPERIMENT))
        is_open = self._store.open_runs(EXPERIMENT)
        lost = [id for id in self._sent if id in is_open or id not in kinds]
        if len(lost) > may_lose:
            self.violations.append(f"pending for ever, or never assigned: {lost}")
        ended = {id: kind for id, kind in kinds.items() if id not in lost}
        self.violations += of_kinds(ended, self._sent, is_over=True)
        self.violations += self._of_variants(variants)
        for id in ended:
            for run, values in expected_scores(self._sent[id], variants[id]).items():  # type: ignore[index]
                rows = scores.of_run(run, history=True, app=app)
                self.violations += of_scores(run, values, [(row.name, row.value) for row in rows])
        return len(lost)

    def _kinds(self) -> dict[str, str]:
        """Return as what each assigned run is counted, read in the order of ``compare``."""
        assigned = [run for run, _ in self._store.assigned(EXPERIMENT)]
        if len(assigned) != len(set(assigned)):
            self.violations.append("a run has two variants")
        is_open = self._store.open_runs(EXPERIMENT)
        unsampled = self._store.unsampled(EXPERIMENT)
        scored = {run for _, run, _ in self._store.values(EXPERIMENT)}
        return {run: kind_of(run, scored, is_open, unsampled) for run in assigned}

    def _of_variants(self, variants: Mapping[Any, str]) -> Iterator[str]:
        """Return which attempts have taken another variant than their run."""
        members: Any = self._client.smembers(SEEN)
        for id, variant in (member.decode().split() for member in members):
            if variants.get(id) != variant:
                yield f"{id} has taken {variant}, and is assigned {variants.get(id)}"
