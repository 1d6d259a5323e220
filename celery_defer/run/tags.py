"""The tags of a run: short texts by which people find it, handed down to what it defers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery_defer import guard
from celery_defer.errors import TagError
from celery_defer.run.changes import changes_of
from celery_defer.run.scope import Scope, current
from celery_defer.text import safe_repr

logger = guard.logger(__name__)

_MOST = 16
_MOST_BYTES = 128


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
    for key, value in tags.items():
        _set(run, key, value)


def merged(tags: Mapping[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return *tags* with *changes*; raise TagError for one that cannot be a tag."""
    if not changes:
        return dict(tags)
    for key, value in changes.items():
        _check(key, value)
    new = {key: value for key, value in {**tags, **changes}.items() if value is not None}
    if len(new) > _MOST:
        raise TagError(f"a run has at most {_MOST} tags; {sorted(new)} are {len(new)}")
    return new


def _set(run: Scope, key: str, value: str | None) -> None:
    try:
        run.tags = merged(run.tags, {key: value})
    except TagError as problem:
        if run.settings.strict:
            raise
        logger.warning("run %s (%s): %s", run.run.id, run.run.task, problem)
        return
    if changes := changes_of(run.buffer):  # in the function of a step
        changes.tags[key] = value


def _check(key: Any, value: Any) -> None:
    if not _is_text(key) or "=" in key:
        raise TagError(
            f"tag {safe_repr(key)}: a key is text of 1 to {_MOST_BYTES} bytes, without ="
        )
    if value is not None and not _is_text(value):
        raise TagError(
            f"tag {key}: {safe_repr(value)} is not text of 1 to {_MOST_BYTES} bytes; None drops it"
        )


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or not value.isprintable():
        return False
    return 0 < len(value.encode(errors="replace")) <= _MOST_BYTES
