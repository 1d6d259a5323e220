"""Celery's JSON, in which arguments are written, and the names of its other forms."""

from __future__ import annotations

import operator
import re
from binascii import unhexlify
from typing import Any
from uuid import UUID

from kombu import serialization
from kombu.compression import encoders, get_encoder
from kombu.exceptions import SerializerNotInstalled
from kombu.utils import json
from pydantic_core import from_json

dumps, loads = json.dumps, json.loads

#: What text has that ``dumps`` has written, if a value in it is of none of JSON's types.
TAG = '"__type__"'

# kombu.utils.json.JSONEncoder.default writes a datetime, a UUID, a Decimal, bytes, a lazy string.
_encode = json.JSONEncoder().default
# The 36 characters of a UUID compress to no less than its 16 bytes. JSON has no byte 0.
_UUID = re.compile(rb'"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"')
_RAW_UUID = re.compile(rb"\0(.{16})", re.DOTALL)
_JSON = (str, int, float, type(None))
_FIXED = frozenset({str, int, float, bool, type(None)})


def tagged(value: Any) -> Any:
    """Return *value* as Celery's JSON has it; what that does not have is left as it is."""
    if type(value) in _FIXED:
        return value
    if isinstance(value, dict):
        return {without_lazy(key): tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tagged(item) for item in value]
    if isinstance(value, _JSON):
        return value
    try:
        return tagged(_encode(value))
    except TypeError:
        return value


def untagged(value: Any) -> Any:
    """Return the value that ``tagged`` was given; raise what Celery's JSON raises."""
    if isinstance(value, dict):
        return json.object_hook({key: untagged(item) for key, item in value.items()})
    return [untagged(item) for item in value] if isinstance(value, list) else value


def without_lazy(value: Any) -> Any:
    """Return *value* with text in place of lazy strings, such as those of Django.

    It is the same object if there are none.
    """
    if isinstance(value, json.textual_types):
        return str(value)
    if type(value) is dict:
        items = list(value.items())
        plain = without_lazy(items)
        return value if plain is items else dict(plain)
    if type(value) in (list, tuple):
        parts = [without_lazy(part) for part in value]
        return value if all(map(operator.is_, parts, value)) else type(value)(parts)
    return value


def read(payload: bytes) -> Any:
    """Return what ``loads`` returns, faster."""
    return loads(payload) if TAG.encode() in payload else from_json(payload)


def shorten(json: bytes) -> bytes:
    """Return JSON with each UUID as its 16 bytes, for what is stored a million times."""
    return _UUID.sub(lambda match: b"\0" + unhexlify(match[1].replace(b"-", b"")), json)


def lengthen(short: bytes) -> bytes:
    """Return the JSON that ``shorten`` was given."""
    return _RAW_UUID.sub(lambda match: b'"%b"' % str(UUID(bytes=match[1])).encode(), short)


def check_serializer(name: str) -> str:
    """Return *name* if Celery has such a serializer, and what that needs, else raise ValueError."""
    try:
        serialization.dumps(None, name)
    except SerializerNotInstalled as error:
        raise ValueError(str(error)) from None
    return name


def check_compression(name: str) -> str:
    """Return *name* if Celery has such a compression, else raise ValueError."""
    try:
        get_encoder(name)
    except KeyError:
        raise ValueError(f"there is no {name!r}; there are: {', '.join(encoders())}") from None
    return name
