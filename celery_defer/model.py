"""A call and its states, its options, the run in progress and its parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from celery_defer import encoding, guard, subject
from celery_defer.ids import RunId

When = Literal["success", "failure", "always", "now"]

#: The state of a parked run in the result backend.
WAITING = "WAITING"
#: The state of a run in the result backend that a limit of its function holds back.
HELD = "HELD"
#: The state of a run in the result backend in whose place a later one runs.
REPLACED = "REPLACED"
#: The header of a deferred run. Celery keeps it over retries and redeliveries.
HEADER = "celery_defer"
#: The last item of the list in the message of a batch: what its parents have said of each call.
PARENTS = "celery_defer_parents"
# Those of celery.app.amqp.AMQP.as_task_v2.
_HEADERS = frozenset(
    {HEADER, "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"}
    | {"timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"}
    | {"replaced_task_nesting", "stamped_headers", "stamps"}
)


def about_message(id: str, parent_id: str | None, headers: Mapping[str, Any]) -> subject.Ids:
    """Return the ids of the run that a message with these headers starts, for a line of the log."""
    header = headers.get(HEADER)
    if not isinstance(header, Mapping):
        return subject.of(id)
    return subject.of(id, parent_id, header.get("id"))


class CallState(str, Enum):
    """The state of a call of ``defer``."""

    BUFFERED = "BUFFERED"
    SKIPPED = "SKIPPED"
    ABORTED = "ABORTED"
    DROPPED = "DROPPED"
    STAGED = "STAGED"
    PUBLISHED = "PUBLISHED"
    QUARANTINED = "QUARANTINED"
    LOST = "LOST"


#: The states that may follow each state; docs/explanation/states draws them.
TRANSITIONS: Mapping[CallState, frozenset[CallState]] = {
    # Skipped calls begin in this state, all others as BUFFERED. It follows if the `apply_async` of
    # their task publishes nothing.
    CallState.SKIPPED: frozenset(),
    # PUBLISHED and LOST follow at once without a store, or with `when="now"`.
    CallState.BUFFERED: frozenset(
        {
            CallState.SKIPPED,
            CallState.ABORTED,
            CallState.DROPPED,
            CallState.STAGED,
            CallState.PUBLISHED,
            CallState.LOST,
        }
    ),
    CallState.STAGED: frozenset(
        {
            CallState.SKIPPED,
            CallState.PUBLISHED,
            CallState.DROPPED,
            CallState.QUARANTINED,
            CallState.ABORTED,
        }
    ),
    CallState.PUBLISHED: frozenset({CallState.ABORTED}),
    CallState.ABORTED: frozenset(),
    CallState.DROPPED: frozenset(),
    CallState.QUARANTINED: frozenset(),
    CallState.LOST: frozenset(),
}

#: Why a scorer has no run that scores only a sample of the runs.
NOT_SAMPLED = "not sampled"

#: The states of a run that has ended, or will never start.
ENDED = frozenset(
    {"SUCCESS", "FAILURE", "REVOKED", REPLACED, CallState.SKIPPED.value, CallState.ABORTED.value}
)

# A sum with a time that has passed in the meantime may be below zero. With more than this, Celery
# computes a time after the year 9999.
Seconds = Annotated[
    float, Field(le=1e11, allow_inf_nan=False), AfterValidator(lambda value: max(value, 0.0))
]
Limit = Annotated[int | float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


def _is_time(moment: datetime) -> datetime:
    with guard.translated(lambda error: ValueError(f"not a time in UTC: {error!r}")):
        moment.astimezone(timezone.utc)
    return moment


# Strict: else pydantic takes a number as seconds, or as seconds since 1970.
Duration = Annotated[timedelta, Field(strict=True, le=timedelta(seconds=1e11))]
Moment = Annotated[datetime, Field(strict=True), AfterValidator(_is_time)]


class Options(BaseModel):
    """How a deferred run is published; other options come from its task."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    countdown: Seconds | None = None
    eta: Moment | None = None
    expires: Seconds | Duration | Moment | None = None
    queue: Name | None = None
    routing_key: Name | None = None
    exchange: Name | None = None
    priority: Annotated[int, Field(ge=0, le=255)] | None = None
    headers: dict[str, JsonValue] | None = None
    serializer: Annotated[str, AfterValidator(encoding.check_serializer)] | None = None
    compression: Annotated[str, AfterValidator(encoding.check_compression)] | None = None
    ignore_result: bool | None = None
    time_limit: Limit | None = None
    soft_time_limit: Limit | None = None
    shadow: Name | None = None
    when: When = "success"
    experiment: Name | None = None
    tags: dict[Name, str | None] | None = None

    @field_validator("expires")
    @classmethod
    def _in_seconds(cls, expires: Any) -> Any:
        # Seconds are what Celery takes.
        return max(expires.total_seconds(), 0.0) if isinstance(expires, timedelta) else expires

    @field_validator("headers", mode="before")
    @classmethod
    def _without_lazy(cls, headers: Any) -> Any:
        return encoding.without_lazy(headers)

    @field_validator("headers")
    @classmethod
    def _not_reserved(cls, headers: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if reserved := _HEADERS & (headers or {}).keys():
            raise ValueError(f"{', '.join(sorted(reserved))} is a header of Celery's or our own")
        return headers

    def is_expired(self, sent: float, now: float) -> bool:
        """Whether a message that was sent at a time has expired."""
        if isinstance(self.expires, datetime):
            return now >= self.expires.timestamp()
        return isinstance(self.expires, float | int) and now >= sent + self.expires

    @model_validator(mode="after")
    def _one_start(self) -> Options:
        if self.countdown is not None and self.eta is not None:
            raise ValueError("countdown and eta both say when to start; give one")
        return self

    @model_validator(mode="after")
    def _soft_first(self) -> Options:
        # celery.app.task.Task.apply_async refuses this of a task.
        if self.time_limit and self.soft_time_limit and self.soft_time_limit > self.time_limit:
            raise ValueError("soft_time_limit is more than time_limit")
        return self


@dataclass(frozen=True, slots=True)
class Call:
    """One call of ``defer``: what to run, with which payload, and how to publish it."""

    id: str
    task: str
    payload: bytes
    at: float
    options: Options
    state: CallState = CallState.BUFFERED
    reason: str | None = None
    #: The step of the parent that waits for the run's end.
    step: str | None = None
    #: The arguments of a call that was refused, as JSON if they have it, else as Python shows them.
    refused: str | None = None
    #: The context of the trace in which it was made, as a message carries it.
    trace: Mapping[str, str] | None = None
    #: The tags of its run, those of the parent among them.
    tags: Mapping[str, str] = field(default_factory=dict)
    #: The experiments that its run carries: of each the variant, and the run that has taken it.
    experiments: Mapping[str, tuple[str, RunId]] = field(default_factory=dict)

    def to(self, state: CallState) -> Call:
        """Return the call in another state; raise ValueError if TRANSITIONS forbids it."""
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"a call that is {self.state.value} cannot become {state.value}")
        return replace(self, state=state)

    def as_json(self) -> dict[str, Any]:
        """Return the call as records and memos store it."""
        options = self.options
        fields = {
            "id": self.id,
            "task": self.task,
            "payload": self.payload,
            "at": self.at,
            "options": options.model_dump(exclude_unset=True, exclude={"tags"})
            if options.model_fields_set
            else {},
        }
        rest = {
            "step": self.step,
            "tags": self.tags,
            "trace": self.trace,
            "experiments": self.experiments,
        }
        return {**fields, **{name: value for name, value in rest.items() if value}}


class Outcome(str, Enum):
    """How a parent's run ended, for its calls."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"

    def starts(self, when: When) -> bool:
        """Whether a call with this *when* is published after this outcome."""
        return when in ("always", "now", self.value.lower())
