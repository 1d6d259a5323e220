"""A record of the outbox as it stands in Redis, for tests that look at one or spoil one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["field_of", "put"]

_FIELD = """
local kept = redis.call('GET', KEYS[1])
return kept and cmsgpack.unpack(kept)[ARGV[1]]
"""
_PUT = """
local record = {}
for i = 1, #ARGV, 2 do
  record[ARGV[i]] = ARGV[i + 1]
end
redis.call('SET', KEYS[1], cmsgpack.pack(record))
"""


def field_of(redis: Any, key: str, name: str) -> Any:
    """Answer a field of a record; None if there is no such."""
    return redis.eval(_FIELD, 1, key, name)


def put(redis: Any, key: str, fields: Mapping[str, str | bytes]) -> None:
    """Put a record there that has these fields and no others."""
    redis.eval(_PUT, 1, key, *(part for pair in fields.items() for part in pair))
