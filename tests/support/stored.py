"""A record of the outbox as it stands in Redis, for tests that look at one or spoil one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

__all__ = ["field_of", "put"]

_LUA = files("celery_defer.store.redis") / "lua"
_RECORD = "".join((_LUA / name).read_text() for name in ("record.lua", "write.lua"))
_FIELD = """
local record = read(KEYS[1])
return ARGV[1] == 'body' and body_of(KEYS[1], record) or record[ARGV[1]]
"""
_PUT = """
local record = {}
for i = 1, #ARGV, 2 do
  record[ARGV[i]] = ARGV[i + 1]
end
write(KEYS[1], record, record.body or '')
"""


def field_of(redis: Any, key: str, name: str) -> Any:
    """Return a field of a record; None if there is no such."""
    return redis.eval(_RECORD + _FIELD, 1, key, name)


def put(redis: Any, key: str, fields: Mapping[str, str | bytes]) -> None:
    """Put a record there that has these fields and no others."""
    redis.eval(_RECORD + _PUT, 1, key, *(part for pair in fields.items() for part in pair))
