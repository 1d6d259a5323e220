"""One message of one run: as Celery publishes it, and as a broker gets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celery_defer.ids import RunId
from celery_defer.model import about_message
from celery_defer.subject import Ids


@dataclass(frozen=True, slots=True)
class Message:
    """One message of one run.

    ``options`` are those of ``apply_async``. With a ``target``, the options of that task apply too;
    without one they are complete, as for a run that was published before.
    """

    id: RunId
    task: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    root_id: str
    parent_id: str | None
    headers: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None
    #: ``[args, kwargs]`` as JSON, if there is one already.
    payload: bytes = b""
    #: Whether the target's own ``apply_async`` has let it pass once, and may not do so again.
    has_passed: bool = False
    #: Whether it is the next that a worker takes, where the broker can do that: a Redis.
    goes_first: bool = False

    @property
    def about(self) -> Ids:
        """The ids of its run."""
        return about_message(self.id, self.parent_id, self.headers)

    def again(self, *, has_passed: bool = False) -> Message:
        """Return the message with another token, because the first may have arrived."""
        headers = {
            name: {**header, "token": f"{header['token']}.again"}
            if isinstance(header, Mapping) and "token" in header
            else header
            for name, header in self.headers.items()
        }
        return replace(self, headers=headers, has_passed=has_passed)


@dataclass(frozen=True, slots=True)
class Wire:
    """A message as a broker gets it; *route* says where, in the form that its batch uses."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    route: Any
