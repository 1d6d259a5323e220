"""Which waits an event matches: the values that they compare, as a key that both sides compute."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from pydantic_core import from_json, to_json, to_jsonable_python

from celery_defer import paths
from celery_defer.errors import EventError


class Match:
    """The values that a wait compares, by their paths in the event's data.

    ``shape`` is the paths only: an event is looked up once for each shape of its name, however
    many runs wait.
    """

    __slots__ = ("digest", "shape", "values")

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        names = sorted(values)
        self.values = values
        self.shape = to_json(names).decode()
        self.digest = _digest(name, self.shape, [values[path] for path in names])


def match(name: str, values: Mapping[str, Any] | None) -> Match:
    """Read the *match* of ``wait_for_event``; raise EventError for what no event can have."""
    if values is not None and not isinstance(values, Mapping):
        raise EventError(
            f"match {values!r} of event {name!r} is no mapping of paths to values: write "
            f'match={{"order_id": 7}}'
        )
    if bad := [path for path in values or {} if not isinstance(path, str) or not path]:
        raise EventError(f"match of event {name!r} has {bad[0]!r}, which is no path like 'user.id'")
    try:
        return Match(name, to_jsonable_python(dict(values or {}), bytes_mode="base64"))
    except Exception as error:
        raise EventError(f"match of event {name!r} is not JSON: {error}") from error


def digests(name: str, data: Any, shapes: Iterable[str]) -> dict[str, str]:
    """Return for each shape the digest of its values in *data*; empty if *data* lacks one."""
    return {shape: _digest_of(name, shape, data) for shape in shapes}


def _digest_of(name: str, shape: str, data: Any) -> str:
    values = [paths.at(data, steps) for steps in _paths(shape)]
    is_whole = all(value is not paths.MISSING for value in values)
    return _digest(name, shape, values) if is_whole else ""


@lru_cache(maxsize=1024)
def _paths(shape: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(path.split(".")) for path in from_json(shape))


def _digest(name: str, shape: str, values: Sequence[Any]) -> str:
    # 96 bits: among a billion waits, two are equal by chance in one of 10**11 systems.
    digest = blake2b(to_json([name, shape, _plain(values)]), digest_size=12).digest()
    return urlsafe_b64encode(digest).decode()


def _plain(value: Any) -> Any:
    """Give equal values one form: 1.0 and 1, mappings in another order."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
