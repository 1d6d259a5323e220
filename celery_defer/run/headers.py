"""The package's headers of a message, which Celery carries along with its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from celery_defer.ids import RunId
from celery_defer.model import HEADER, When

#: The header of a message that wakes a run. Celery keeps it over retries and redeliveries.
WAKE = "celery_defer_wake"
#: The header of a retry of a run with steps.
STEPS = "celery_defer_steps"


@dataclass(frozen=True, slots=True)
class DeferHeader:
    """What the message of a deferred run says about its parent.

    ``at`` is when the run was deferred, in seconds since 1970. ``token`` names the publication:
    a redelivery of the message has the same one, a second publication has
    another. ``step`` is the step of the parent that waits for the run's end. ``experiments`` are
    those that the run carries: of each the variant, and the run that has taken it. ``batch`` is how
    many calls the run takes; their parents are in the message, since there may be many.
    """

    defer_id: str
    parent_task: str
    when: When
    experiment: str | None
    at: float
    depth: int
    token: str
    step: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    experiments: Mapping[str, tuple[str, RunId]] = field(default_factory=dict)
    batch: int = 0

    @property
    def deferred_at(self) -> datetime:
        return datetime.fromtimestamp(self.at, timezone.utc)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> DeferHeader | None:
        """Read the header of a task request; None if the run was not deferred."""
        # A worker's request has custom headers among Celery's own, an eager one under "headers".
        header = request.get(HEADER) or (request.get("headers") or {}).get(HEADER)
        if not isinstance(header, Mapping):
            return None
        try:
            return cls._read(header)
        except (TypeError, ValueError, OverflowError):  # not a header of this package
            return None

    @classmethod
    def _read(cls, header: Mapping[str, Any]) -> DeferHeader:
        defer_header = cls(
            defer_id=header.get("id", ""),
            parent_task=header.get("parent", ""),
            when=header.get("when", "success"),
            experiment=header.get("experiment"),
            at=header.get("at", 0),
            depth=header.get("depth", 1),
            token=header.get("token", ""),
            step=header.get("step"),
            tags=_tags(header.get("tags")),
            experiments=_experiments(header.get("experiments")),
            batch=int(header.get("batch") or 0),
        )
        defer_header.deferred_at  # noqa: B018  # raises if it is not a time
        return defer_header

    def pack(self) -> dict[str, Any]:
        """Return the header as a message carries it."""
        header = {
            "id": self.defer_id,
            "parent": self.parent_task,
            "when": self.when,
            "experiment": self.experiment,
            "at": self.at,
            "depth": self.depth,
            "token": self.token,
        }
        # Lists, because brokers write no tuples.
        experiments = {name: list(taken) for name, taken in self.experiments.items()}
        rest = {
            "step": self.step,
            "tags": self.tags,
            "experiments": experiments,
            "batch": self.batch,
        }
        return {**header, **{name: value for name, value in rest.items() if value}}


def _tags(tags: object) -> Mapping[str, str]:
    """Return the tags of a header; none if they are not text."""
    if not isinstance(tags, dict):
        return {}
    is_text = all(isinstance(part, str) for pair in tags.items() for part in pair)
    return tags if is_text else {}


def _experiments(experiments: object) -> Mapping[str, tuple[str, RunId]]:
    """Return the experiments of a header, without what is none."""
    if not isinstance(experiments, dict):
        return {}
    taken = {name: pair for name, pair in experiments.items() if _is_taken(name, pair)}
    return {name: (variant, RunId(run)) for name, (variant, run) in taken.items()}


def _is_taken(name: object, taken: object) -> bool:
    if not isinstance(taken, list | tuple) or len(taken) != len(("variant", "run")):
        return False
    return all(isinstance(text, str) and text for text in (name, *taken))


@dataclass(frozen=True, slots=True)
class WakeHeader:
    """What the message of a wake-up says: the turn that it begins, and its token.

    ``starts`` says that the run has waited for a place before an attempt of its task, and not at a
    step. ``retries`` are those of the message: a retry of it has more.
    """

    turn: int
    token: str
    starts: bool = False
    retries: int = 0

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> WakeHeader | None:
        """Read the header of a task request; None if the message is not a wake-up."""
        header = request.get(WAKE)
        if not isinstance(header, Mapping):
            return None
        turn, token, retries = header.get("turn"), header.get("token"), header.get("retries", 0)
        if not isinstance(turn, int) or not isinstance(token, str):
            return None
        return cls(turn, token, "starts" in header, retries if isinstance(retries, int) else 0)

    def pack(self) -> dict[str, Any]:
        """Return the header as a message carries it."""
        rest = {"starts": int(self.starts), "retries": self.retries}
        given = {name: value for name, value in rest.items() if value}
        return {"turn": self.turn, "token": self.token, **given}


@dataclass(frozen=True, slots=True)
class StepsHeader:
    """What the message of a retry says of the run's steps.

    ``memos`` is how many have finished, ``outages`` how many of the retries were made because the
    store was away. ``variants`` is 1 if the run has taken a variant: its end is written then, also
    by an attempt or a turn that does not come to its experiment. All are 0 in other messages.
    """

    memos: int = 0
    outages: int = 0
    variants: int = 0

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> StepsHeader:
        """Read the header of a task request, or of a message's headers."""
        header = request.get(STEPS)
        if not isinstance(header, Mapping):
            return cls()
        memos, outages = header.get("memos"), header.get("outages")
        if not isinstance(memos, int) or not isinstance(outages, int):
            return cls()
        return cls(memos, outages, int("variants" in header))

    def pack(self) -> dict[str, Any]:
        """Return the header as a message carries it."""
        fields = {"memos": self.memos, "outages": self.outages}
        return {**fields, "variants": 1} if self.variants else fields
