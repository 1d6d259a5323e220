"""What the parts of the Redis store share: its keys, its scripts, and how values are put."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from importlib.resources import files
from typing import Any

from celery_defer.ids import RunId

__all__ = ["RedisBase", "address", "number", "seconds"]

_LUA = files("celery_defer.store.redis") / "lua"


class RedisBase:
    """Names the keys under *prefix*; those of one run share its id as their hash tag."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._due = f"{prefix}due"
        self._waits = f"{prefix}waits"
        self._aside = f"{prefix}quarantine"
        self._nudge = f"{prefix}nudge"

    def _script(self, *parts: str) -> Any:
        """Register the script whose parts have these names, in this order."""
        sources = [(_LUA / f"{part}.lua").read_text() for part in parts]
        return self._client.register_script("".join(sources))

    def _sent(self, script: Any, keys: list[str], args: list[Any]) -> Callable[[], None]:
        raise NotImplementedError

    def _sent_once(self, script: Any, keys: list[str], args: list[Any]) -> Callable[[], None]:
        raise NotImplementedError

    def _of_record(self, id: RunId) -> list[str]:
        return [self._record(id), self._due, self._waits]

    def _record(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:outbox"

    def _owner(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:owner"

    def _run(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:run"

    def _came(self, digest: str) -> str:
        return f"{self._prefix}came:{digest}"

    def _shapes(self, name: str) -> str:
        # A name may be long, and have any characters.
        return f"{self._prefix}shapes:{blake2b(name.encode(), digest_size=12).hexdigest()}"


def address(connection: Mapping[str, Any]) -> tuple[object, ...] | None:
    """Where a connection leads; None where a sentinel says so each time."""
    if "path" in connection:
        return connection["path"], connection.get("username")
    if "host" in connection:
        return connection["host"], connection.get("port"), connection.get("username")
    return None


def seconds(keep: float) -> int:
    """Answer *keep* as Redis takes it."""
    return max(1, round(keep))


def number(digest: str) -> int:
    """What sorts waits by their values; a double holds it."""
    return int.from_bytes(blake2b(digest.encode(), digest_size=6).digest(), "big")
