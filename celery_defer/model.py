"""The nouns: a call, the run it becomes, the parent it came from, and a call's states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from celery_defer.ids import RunId

When = Literal["success", "failure", "always", "now"]

#: The state of a parked run in the result backend.
WAITING = "WAITING"
#: Celery keeps a custom header over retries and redeliveries of the same run.
HEADER = "celery_defer"
# Those of celery.app.amqp.AMQP.as_task_v2.
_HEADERS = frozenset(
    {HEADER, "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"}
    | {"timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result"}
    | {"replaced_task_nesting", "stamped_headers", "stamps"}
)


class CallState(str, Enum):
    """Where a call of ``defer`` is in its life."""

    BUFFERED = "BUFFERED"
    SKIPPED = "SKIPPED"
    ABORTED = "ABORTED"
    DROPPED = "DROPPED"
    STAGED = "STAGED"
    PUBLISHED = "PUBLISHED"
    QUARANTINED = "QUARANTINED"
    LOST = "LOST"


#: From each state to those that may follow; docs/explanation/states draws it.
TRANSITIONS: Mapping[CallState, frozenset[CallState]] = {
    # Skipped calls are born so; the others go through the buffer.
    CallState.SKIPPED: frozenset(),
    # PUBLISHED and LOST follow at once where there is no store, or for `when="now"`.
    CallState.BUFFERED: frozenset(
        {
            CallState.ABORTED,
            CallState.DROPPED,
            CallState.STAGED,
            CallState.PUBLISHED,
            CallState.LOST,
        }
    ),
    CallState.STAGED: frozenset(
        {CallState.PUBLISHED, CallState.DROPPED, CallState.QUARANTINED, CallState.ABORTED}
    ),
    CallState.PUBLISHED: frozenset({CallState.ABORTED}),
    CallState.ABORTED: frozenset(),
    CallState.DROPPED: frozenset(),
    CallState.QUARANTINED: frozenset(),
    CallState.LOST: frozenset(),
}

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


# Strict: no number, which pydantic would take for seconds, or for seconds since 1970.
Duration = Annotated[timedelta, Field(strict=True)]
Moment = Annotated[datetime, Field(strict=True)]


class Options(BaseModel):
    """How a deferred run is published, beside what its task says."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    countdown: Seconds | None = None
    eta: Moment | None = None
    expires: Seconds | Duration | Moment | None = None
    queue: Annotated[str, Field(min_length=1)] | None = None
    priority: Annotated[int, Field(ge=0, le=255)] | None = None
    headers: dict[str, JsonValue] | None = None
    when: When = "success"
    experiment: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("expires")
    @classmethod
    def _in_seconds(cls, expires: Any) -> Any:
        if not isinstance(expires, timedelta):
            return expires
        if expires < timedelta(0):
            raise ValueError("a time in the past")
        return expires.total_seconds()  # what Celery takes

    @field_validator("headers")
    @classmethod
    def _not_taken(cls, headers: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        if taken := _HEADERS & (headers or {}).keys():
            raise ValueError(f"{', '.join(sorted(taken))} is a header of Celery's or our own")
        return headers

    @model_validator(mode="after")
    def _one_start(self) -> Options:
        if self.countdown is not None and self.eta is not None:
            raise ValueError("countdown and eta both say when to start; give one")
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

    def to(self, state: CallState) -> Call:
        """Answer this call in *state*; raises ValueError if TRANSITIONS does not lead there."""
        if state not in TRANSITIONS[self.state]:
            raise ValueError(f"a call that is {self.state.value} cannot become {state.value}")
        return replace(self, state=state)

    def as_json(self) -> dict[str, Any]:
        """Return the call as it stands in a record, and in the memo of its step."""
        options = self.options
        fields = {
            "id": self.id,
            "task": self.task,
            "payload": self.payload,
            "at": self.at,
            "options": options.model_dump(exclude_unset=True) if options.model_fields_set else {},
        }
        return {**fields, "step": self.step} if self.step else fields


class Outcome(str, Enum):
    """How a parent's run ended, as far as its calls are concerned."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"

    def starts(self, when: When) -> bool:
        """Whether a call that waits for *when* is to be published now."""
        return when in ("always", "now", self.value.lower())


@dataclass(frozen=True, slots=True)
class Parent:
    """The run that deferred the run in progress."""

    id: RunId
    task: str
    defer_id: str
    when: When
    experiment: str | None
    _read: Callable[[], Any] = field(repr=False, compare=False)

    def result(self) -> Any:
        """Answer the parent's stored result: its return value, or the exception it failed with.

        Raises ResultError where the parent keeps no result (``ignore_result``, no
        backend) or its result has expired.
        """
        return self._read()


@dataclass(frozen=True, slots=True)
class Run:
    """The run in progress, as ``current_run()`` answers it; ``attempt`` counts from 1."""

    id: RunId
    root_id: RunId
    task: str
    attempt: int
    parent: Parent | None
    deferred_at: datetime | None
    depth: int = field(default=0, repr=False)
