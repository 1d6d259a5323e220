"""The tags of a run: short texts by which people find it, handed down to what it defers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery_defer import guard
from celery_defer.errors import TagError
from celery_defer.run.changes import changes_of
from celery_defer.run.in_progress import current
from celery_defer.run.scope import Scope
from celery_defer.text import safe_repr

logger = guard.logger(__name__)

_MOST = 16
_MOST_BYTES = 128
# Characters of a bad value that a message shows.
_MOST_SHOWN = 40
_LIMIT = f"a run has at most {_MOST} tags"


def set_tags(tags: Mapping[str, str | None], /) -> None:
    """Set tags of the run in progress; None removes one.

    They are in its record, and in those of the runs that it defers from now on. For one call,
    ``task.with_options(tags={…})`` replaces a tag, or drops it with None.

    A key and a value are text of at most 128 bytes without control characters, and a key has no
    ``=``; a run has at most 16 tags. A bad tag is logged and left out; with ``defer_strict`` it
    raises TagError. Raises NoRunError outside a running task.

    >>> set_tags({"conversation": conversation.id})
    """
    run = current()
    if not _is_mapping(tags):
        _refuse(run, TagError(f"{safe_repr(tags)} is no mapping: set_tags({{'order': '7'}})"))
        return
    left_out = [key for key, value in tags.items() if not _set(run, key, value)]
    if left_out:
        count = len(run.tags) + len(left_out)
        problem = f"{_LIMIT}, and with {safe_repr(left_out)} there are {count}"
        _refuse(run, TagError(f"{problem}: remove one with None"))


def merged(tags: Mapping[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return *tags* with *changes*; raise TagError for one that cannot be a tag."""
    if not changes:
        return dict(tags)
    for key, value in changes.items():
        _check(key, value)
    new = {key: value for key, value in {**tags, **changes}.items() if value is not None}
    if len(new) > _MOST:
        raise TagError(
            f"{_LIMIT}, and {safe_repr(sorted(new))} are {len(new)}: remove one with None"
        )
    return new


def _set(run: Scope, key: str, value: str | None) -> bool:
    """Set a tag, or refuse a bad one; return False if the run has no room for it."""
    try:
        _check(key, value)
    except TagError as problem:
        _refuse(run, problem)
        return True
    if value is not None and key not in run.tags and len(run.tags) >= _MOST:
        return False
    run.tags = merged(run.tags, {key: value})
    if changes := changes_of(run.buffer):  # in the function of a step
        changes.tags[key] = value
    return True


def _is_mapping(tags: object) -> bool:
    return isinstance(tags, Mapping)


def _refuse(run: Scope, problem: TagError) -> None:
    if run.settings.strict:
        raise problem
    logger.warning("run %s (%s): %s", run.run.id, run.run.task, problem)


def _check(key: Any, value: Any) -> None:
    if problem := _problem_of(key) or ("it has a '='" if "=" in key else None):
        raise TagError(
            f"tag {safe_repr(key, _MOST_SHOWN)}: {problem}; a key is text of 1 to "
            f"{_MOST_BYTES} bytes, without ="
        )
    if value is not None and (problem := _problem_of(value)):
        raise TagError(
            f"tag {key!r}: its value {safe_repr(value, _MOST_SHOWN)} is refused: {problem}; give "
            f"text of 1 to {_MOST_BYTES} bytes, or None, which removes the tag"
        )


def _problem_of(text: Any) -> str | None:
    """Return why this can be neither a key nor a value; None if it can."""
    if not isinstance(text, str):
        return f"it is of type {type(text).__name__}"
    if not text:
        return "it is empty"
    if not text.isprintable():
        return "it has a control character"
    size = len(text.encode(errors="replace"))
    return f"it has {size} bytes" if size > _MOST_BYTES else None
