"""Who traces the runs of this process, and what their messages carry of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from typing import Any

from celery_defer.run.scope import Scope

#: The header of a message whose run is traced. Celery keeps it over retries and redeliveries.
TRACE = "celery_defer_trace"

#: A context of a trace, as a message carries it: with W3C's propagator, ``traceparent`` and more.
Carrier = Mapping[str, str]


class Tracing:
    """Is told what the runs of this process do; this one, in use by default, ignores it."""

    def carrier(self) -> Carrier:
        """Return the current context; nothing if there is none."""
        return {}

    def received(self, run: Scope, request: Any) -> Any:
        """Return the request of a run for Celery, before its tracer has begun."""
        return request

    def began(self, run: Scope) -> None:
        """Note that Celery's tracer has come to the body of a run."""

    def left(self, run: Scope) -> None:
        """Note that Celery's tracer has ended."""

    def step(self, key: str, kind: str, tries: int) -> AbstractContextManager[object]:
        """Return a block in which the function of a step is called, after so many *tries*."""
        return nullcontext()

    def parked(self, run: Scope, wait: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return further headers for the message of a run that parks."""
        return {}

    def held(self, run: Scope, limit: str) -> Mapping[str, Any]:
        """Return further headers for the message of a run that a limit holds back."""
        return {}


_in_use = [Tracing()]


def tracing() -> Tracing:
    """Return what traces the runs of this process."""
    return _in_use[0]


def use_tracing(tracing: Tracing) -> None:
    """Have the runs of this process traced by *tracing*."""
    _in_use[0] = tracing


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """What the message of a run carries of traces.

    ``call`` is the context in which ``defer`` was called, ``run`` that of the run's first turn, and
    ``waker`` that in which its wait was ended. ``wait`` describes this wait.
    """

    call: Carrier = field(default_factory=dict)
    run: Carrier = field(default_factory=dict)
    waker: Carrier = field(default_factory=dict)
    wait: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> TraceHeader:
        """Read the header of a task request, or of a message's headers."""
        # A worker's request has custom headers among Celery's own, an eager one under "headers".
        header = request.get(TRACE) or (request.get("headers") or {}).get(TRACE)
        if not isinstance(header, Mapping):
            return cls()
        parts = {part.name: header.get(part.name) for part in fields(cls)}
        return cls(**{name: part for name, part in parts.items() if isinstance(part, Mapping)})

    def pack(self) -> dict[str, Any]:
        """Return the headers of a message, without this one if it is empty."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        header = {name: dict(part) for name, part in parts.items() if part}
        return {TRACE: header} if header else {}


def with_waker(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add to the headers of a parked run the context in which it is woken."""
    waker = tracing().carrier()
    return {**headers, **replace(TraceHeader.of(headers), waker=waker).pack()} if waker else headers
