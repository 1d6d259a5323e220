"""Commands for a Redis server, and which server that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Host, port and user of a Redis server, or its socket and user.
Server = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands for one database of a server; each row has the words of one command."""

    server: Server
    database: int
    rows: Sequence[Sequence[Any]]


def listed(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return rows as the arguments of a script: their number, then each with its length."""
    return [len(rows), *(word for row in rows for word in (len(row), *row))]


def server_of(connection: Mapping[str, Any]) -> Server | None:
    """Return the server of redis-py's connection arguments; None behind sentinels."""
    if "path" in connection:
        return connection["path"], connection.get("username")
    if "host" in connection:
        return connection["host"], connection.get("port"), connection.get("username")
    return None


def database_of(connection: Mapping[str, Any]) -> int:
    """Return the database number of redis-py's connection arguments."""
    return int(connection.get("db") or 0)
