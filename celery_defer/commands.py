"""Commands for a Redis server that several writers share, and which server that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Host, port and user of a Redis server, or its socket and user.
Server = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """What one writer would send to one database of a server: each row is a command's words."""

    server: Server
    database: int
    rows: Sequence[Sequence[Any]]

    @property
    def size(self) -> int:
        """The characters of all arguments that are text or bytes."""
        return sum(len(word) for row in self.rows for word in row if isinstance(word, str | bytes))


def server_of(connection: Mapping[str, Any]) -> Server | None:
    """Return where redis-py's arguments of a connection lead.

    None where a sentinel says so each time.
    """
    if "path" in connection:
        return connection["path"], connection.get("username")
    if "host" in connection:
        return connection["host"], connection.get("port"), connection.get("username")
    return None


def database_of(connection: Mapping[str, Any]) -> int:
    """Return the database number of a connection's arguments."""
    return int(connection.get("db") or 0)
