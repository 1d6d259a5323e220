"""The record of a batch: the calls of many runs that one run takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from celery_defer import guard
from celery_defer.errors import RecordError
from celery_defer.ids import RunId, run_id
from celery_defer.model import Call, Options, When

# A line that begins so withdraws the call with the run id that follows.
_WITHDRAWN = b"-"


@dataclass(frozen=True, slots=True)
class GatheredCall:
    """One call of a batch: what its parent said of it, and the JSON of its payload."""

    parent: RunId
    parent_task: str
    defer_id: str
    at: float
    depth: int
    value: bytes
    root: RunId
    when: When = "success"
    experiment: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> RunId:
        """The id of the run that it would have without a batch."""
        return run_id(self.parent, self.defer_id)


@dataclass(frozen=True, slots=True)
class GatheredCalls:
    """The calls of a batch, whose run has this id; all have these options."""

    id: RunId
    task: str
    options: Options
    calls: tuple[GatheredCall, ...]


_head = TypeAdapter(tuple[str, Options])


def pack(record: GatheredCalls) -> bytes:
    """Return a record without its id: a head, and a line for each call."""
    return head(record.task, record.options) + b"".join(map(_line, record.calls))


def head(task: str, options: Options) -> bytes:
    """Return how the record of a batch begins."""
    # What a call waits for, its experiment and its tags are its own, and not those of the batch.
    return to_json([task, shared(options)]) + b"\n"


def shared(options: Options) -> dict[str, Any]:
    """Return the options that calls of one batch have in common."""
    return options.model_dump(exclude_unset=True, exclude={"when", "experiment", "tags"})


def line(call: Call, value: bytes, *, parent: RunId, task: str, depth: int, root: RunId) -> bytes:
    """Return the line of a call that *parent* has made, with the JSON of its payload."""
    options = call.options
    return _line(
        GatheredCall(
            parent, task, call.id, call.at, depth, value, root,
            options.when, options.experiment, call.tags,
        )
    )  # fmt: skip


def withdrawal(id: RunId) -> bytes:
    """Return the line that takes a call out of its batch."""
    return b"%b%b\n" % (_WITHDRAWN, id.encode())


def unpack(id: RunId, body: bytes) -> GatheredCalls:
    """Read the batch with this id; raise RecordError if this module did not write it."""
    with guard.translated(lambda error: RecordError(f"the batch cannot be read: {error!r}")):
        first, *lines = body.split(b"\n")
        task, options = _head.validate_json(first)
        gone = {text[1:].decode() for text in lines if text.startswith(_WITHDRAWN)}
        calls = [_read(text) for text in lines if text and not text.startswith(_WITHDRAWN)]
        left = (call for call in calls if call.id not in gone) if gone else calls
        return GatheredCalls(id, task, options, tuple(left))


def _line(call: GatheredCall) -> bytes:
    """Return the line of a call; neither part has a tab or a line break, as both are JSON."""
    about = [call.parent, call.parent_task, call.defer_id, call.at, call.depth, call.root]
    rest = [call.when, call.experiment, call.tags]
    whole = about if rest == ["success", None, {}] else about + rest
    return b"%b\t%b\n" % (to_json(whole), call.value)


def _read(text: bytes) -> GatheredCall:
    about, tab, value = text.partition(b"\t")
    if not tab:
        raise ValueError(f"a line has no payload: {text[:20]!r}")
    parent, task, defer_id, at, depth, root, *rest = from_json(about)
    return GatheredCall(RunId(parent), task, defer_id, at, depth, value, RunId(root), *rest)
