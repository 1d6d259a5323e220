"""A key's value in a payload, as the text that limits count by."""

from __future__ import annotations

import dataclasses
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import partial
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from celery_defer import durations, guard, paths
from celery_defer.errors import LimitKeyError
from celery_defer.flow.checks import Key
from celery_defer.flow.options import Priority
from celery_defer.flow.payload import Payload
from celery_defer.text import text_of

# In bytes. A longer text becomes a digest, which no JSON looks like.
_LONGEST = 64
_DIGEST = "#"


def key_of(option: str, key: Key | None, payload: Payload) -> str:
    """Return the text of a key's value; "" without a key. Raises LimitKeyError, PayloadError."""
    if key is None:
        return ""
    value = value_of(option, key, payload)
    with guard.translated(
        lambda error: LimitKeyError(
            f"the key of {option} is of {type(value).__qualname__}, which is not JSON: "
            f"{text_of(error)}"
        )
    ):
        return text(value)


def value_of(option: str, key: Key, payload: Payload) -> Any:
    """Return the value of a key; raise LimitKeyError if there is none, and PayloadError."""
    if not isinstance(key, str):
        return _called(f"the key of {option}", key, payload)
    value = payload.at(key)
    if value is paths.MISSING:
        raise LimitKeyError(f"the key of {option} is {key!r}, and the payload has no such value")
    return value


def seconds(priority: Priority | None, payload: Payload) -> float:
    """Return by how much a run passes others; raise LimitKeyError, PayloadError."""
    if priority is None:
        return 0.0
    value = _called("the function of priority", priority.function, payload)
    length = durations.read(value)
    if length is None:
        raise LimitKeyError(
            f"the function of priority returned no duration, but {type(value).__qualname__}: "
            f"return {durations.FORMS}"
        )
    return length


def text(value: Any) -> str:
    """Return the text of a value: the same in each process, and another for each JSON value.

    >>> text({"b": 1.0, "a": None})
    '{"a":null,"b":1}'
    """
    whole = _json(value)
    if len(whole.encode()) <= _LONGEST:
        return whole
    digest = blake2b(whole.encode(), digest_size=16).digest()
    return _DIGEST + urlsafe_b64encode(digest).decode().rstrip("=")


def _called(what: str, function: Any, payload: Payload) -> Any:
    parsed = payload.parsed
    with guard.translated(lambda error: LimitKeyError(f"{what} raised {text_of(error)}")):
        return function(parsed)


def _json(value: Any) -> str:
    plain = _plain(value)
    whole = _dumped(plain, is_ascii=False)
    # Half of a pair of surrogates has no UTF-8.
    return whole if _is_text(whole) else _dumped(plain, is_ascii=True)


def _dumped(plain: Any, *, is_ascii: bool) -> str:
    return json.dumps(plain, ensure_ascii=is_ascii, sort_keys=True, separators=(",", ":"))


def _is_text(whole: str) -> bool:
    try:
        whole.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; equal values have one form, and sets an order."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # of an enum, the value
    if isinstance(value, int | float):
        is_whole = isinstance(value, int) or value.is_integer()
        return int(value) if is_whole else float(value)
    return _plain_parts(value)


def _plain_parts(value: Any) -> Any:
    value = _as_mapping(value)
    if isinstance(value, Mapping):
        return {_name(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=partial(_dumped, is_ascii=True))
    return _plain(to_jsonable_python(value, bytes_mode="base64"))


def _as_mapping(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value


def _name(name: Any) -> str:
    plain = _plain(name)
    return plain if isinstance(plain, str) else _json(plain)
