"""One message of one run: what Celery is asked to publish, and what of it reaches a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celery_defer.ids import RunId


@dataclass(frozen=True, slots=True)
class Message:
    """One message of one run.

    ``options`` are those of ``apply_async``; with a ``target`` those of that task hold too, else
    they are complete, as for a run that was published before.
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
    #: ``[args, kwargs]`` as JSON, where it is known already.
    payload: bytes = b""

    def again(self) -> Message:
        """Return the message of another publication: the first may have arrived."""
        headers = {
            name: {**header, "token": f"{header['token']}.again"}
            if isinstance(header, Mapping) and "token" in header
            else header
            for name, header in self.headers.items()
        }
        return replace(self, headers=headers)


@dataclass(frozen=True, slots=True)
class Wire:
    """A message as a broker gets it; *route* says where, in words of the batch that took it."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    route: Any
