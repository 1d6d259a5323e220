"""A score as the store keeps it, and what a run carries of experiments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from celery_defer.ids import RunId

#: By experiment: the variant, and the run that it was assigned to.
Carried = Mapping[str, tuple[str, RunId]]


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A score that was written, of a run or of a step of it."""

    run: RunId  #: The run that was scored.
    name: str  #: What was scored.
    value: bool | int | float  #: A boolean, or a finite number.
    step: str | None = None  #: The step that was scored; None for the run itself.
    comment: str | None = None  #: Why the value is what it is.
    source: str | None = None  #: Who scored.
    at: float = 0.0  #: When it was written, in seconds since 1970, by the store's clock.
    by: RunId | None = None  #: The run that wrote it, if one did.

    @property
    def written_at(self) -> datetime:
        """When it was written, as a datetime in UTC: ``since=`` takes it."""
        moment = datetime.fromtimestamp(self.at, timezone.utc)
        # Rounded down, or a score would be later than itself.
        return moment if moment.timestamp() <= self.at else moment - timedelta(microseconds=1)

    @property
    def says(self) -> tuple[object, ...]:
        """What it says of its target; a row that says the same as the one before is a repeat."""
        return (self.name, self.step, type(self.value), self.value, self.comment, self.source)
