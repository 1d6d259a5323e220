"""The store in Redis 6.2 or newer: one script an operation, in the folder ``lua``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from inspect import Parameter, signature
from typing import Any

from redis import ConnectionPool, Redis, exceptions
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from celery_defer.ids import RunId
from celery_defer.store.protocol import Claim, Quarantined, Taken
from celery_defer.store.redis_steps import RedisSteps, address

__all__ = ["RedisStore"]

_LUA = files("celery_defer.store") / "lua"


_PATIENCE = {
    # Once more on a connection that was dropped meanwhile; not on a server that hangs.
    "retry": Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
    "socket_connect_timeout": 2.0,
    "socket_timeout": 2.0,
}
_MANY = 2**16
# redis-py before 5.3 wants a command's name, and later ones warn of it.
_COMMAND = (
    ["EVALSHA"]
    if signature(ConnectionPool.get_connection).parameters["command_name"].default
    is Parameter.empty
    else []
)


class RedisStore(RedisSteps):
    """Keeps records under *prefix*; the keys of one run share its id as their hash tag."""

    def __init__(self, client: Redis, prefix: str = "celery-defer:") -> None:
        # A parent's end waits for this client: it must not try for long.
        for pool in _pools(client):
            pool.connection_kwargs.update(_PATIENCE)
            # Celery's `redis_max_connections` is for each of its backends, of which a thread has
            # one; all threads share this pool.
            pool.max_connections = _MANY
        self._client = client
        self._prefix = prefix
        self._due = f"{prefix}due"
        self._waits = f"{prefix}waits"
        self._aside = f"{prefix}quarantine"
        self._stage = self._script("record", "stage")
        self._settle = self._script("record", "settle")
        self._settle_all = self._script("record", "settle_all")
        self._publish = self._script("record", "publish", "settle")
        self._take = self._script("record", "take")
        self._postpone = self._script("record", "postpone")
        self._quarantine = self._script("record", "quarantine")
        self._claim = self._script("claim")
        self._prepare()

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float
    ) -> Callable[[], None]:
        args = [id, token, body, due, _seconds(keep)]
        return self._sent(self._stage, self._of_record(id), args)

    def stage_in(
        self,
        connection: Mapping[str, Any],
        id: RunId,
        token: str,
        body: bytes,
        *,
        due: float,
        keep: float,
    ) -> Callable[[Any], None] | None:
        ours = self._client.connection_pool.connection_kwargs
        if address(connection) is None or address(connection) != address(ours):
            return None
        # EVAL, for a pipeline cannot load a script that the server has forgotten. What fails in
        # here is no error of the others.
        here, there = (int(each.get("db") or 0) for each in (ours, connection))
        # SELECT holds for the script alone; a user may not be allowed it.
        select = f"redis.call('SELECT', {here})\n" if here != there else ""
        source = f"local done, why = pcall(function()\n{select}{self._stage.script}\nend)\n"
        source += "return done and 1 or tostring(type(why) == 'table' and why.err or why)"
        keys, args = self._of_record(id), [id, token, body, due, _seconds(keep)]
        return lambda pipeline: pipeline.eval(source, len(keys), *keys, *args)

    def settle(self, id: RunId, token: str | None) -> None:
        self._settle(self._of_record(id), [id, token or ""])

    def settle_all(self, records: Sequence[tuple[RunId, str]]) -> None:
        keys = [self._due, self._waits, *(self._record(id) for id, _ in records)]
        self._settle_all(keys, [part for record in records for part in record])

    def settle_in(
        self, broker: Mapping[str, Any], id: RunId, token: str
    ) -> Callable[[Sequence[Any]], Callable[[], None]] | None:
        ours = self._client.connection_pool.connection_kwargs
        if address(broker) is None or address(broker) != address(ours):
            return None
        keys = self._of_record(id)
        args = [id, token, *(int(connection.get("db") or 0) for connection in (broker, ours))]
        return lambda commands: self._sent_once(self._publish, keys, [*args, *commands])

    def take(self, now: float, until: float, limit: int) -> list[Taken]:
        start, end = self._record(RunId("\0")).split("\0")
        rows = self._take([self._due, self._waits], [now, until, limit, start, end])
        return [Taken(RunId(id.decode()), token.decode(), body, n) for id, token, body, n in rows]

    def postpone(self, id: RunId, token: str, due: float, body: bytes | None = None) -> None:
        self._postpone([self._record(id), self._due], [id, token, due, body or b""])

    def quarantine(self, id: RunId, token: str, reason: str, keep: float) -> None:
        self._quarantine([*self._of_record(id), self._aside], [id, token, reason, _seconds(keep)])

    def quarantined(self) -> list[Quarantined]:
        rows: dict[bytes, bytes] = self._client.hgetall(self._aside)
        return [_quarantined(id, row) for id, row in sorted(rows.items())]

    def waiting(self, until: float = math.inf) -> int:
        return int(self._client.zcount(self._due, "-inf", until))

    def claim(self, id: RunId, owner: str, keep: float) -> Claim:
        has, is_mine = self._claim([self._owner(id), self._run(id)], [owner, _seconds(keep)])
        return Claim(has.decode(), bool(is_mine))

    def risks(self) -> list[str]:
        memory: Any = self._client.info("memory")
        persistence: Any = self._client.info("persistence")
        found = []
        if memory.get("maxmemory") and memory.get("maxmemory_policy") != "noeviction":
            found.append(
                f"Redis may evict deferred calls (maxmemory-policy {memory['maxmemory_policy']}): "
                "set maxmemory-policy noeviction"
            )
        if not persistence.get("aof_enabled") and not self._saves():
            found.append(
                "Redis keeps nothing on disk, so a restart of it loses what waits in the outbox: "
                "set appendonly yes"
            )
        return found

    def _saves(self) -> bool:
        try:
            answer: Any = self._client.config_get("save")
        except RedisError:  # a managed Redis does not tell
            return True
        return bool(answer.get("save"))

    def _sent(self, script: Any, keys: list[str], args: list[Any]) -> Callable[[], None]:
        """Send a script's call and answer the wait for its reply; work goes on in between."""
        pool = self._client.connection_pool
        connection: Any = pool.get_connection(*_COMMAND)
        try:
            connection.send_command("EVALSHA", script.sha, len(keys), *keys, *args)
        except BaseException as error:
            connection.disconnect()
            pool.release(connection)
            if not isinstance(error, RedisError) or isinstance(error, exceptions.TimeoutError):
                raise
            return lambda: script(keys, args)

        def wait() -> None:
            try:
                connection.read_response()
            except BaseException as error:
                connection.disconnect()
                if not isinstance(error, RedisError) or isinstance(error, exceptions.TimeoutError):
                    raise
                # The script is new to the server, or the connection was old: once more, and
                # with all the care that the client takes.
                script(keys, args)
            finally:
                pool.release(connection)

        return wait

    def _sent_once(self, script: Any, keys: list[str], args: list[Any]) -> Callable[[], None]:
        """Do what ``_sent`` does for a script that must not be run twice, for a lost answer."""
        pool = self._client.connection_pool
        connection: Any = pool.get_connection(*_COMMAND)

        def give_up() -> None:
            connection.disconnect()  # or else an answer that comes late would be the next one's
            pool.release(connection)

        try:
            # redis-py would write a large command in pieces, and the server read them so.
            pieces = connection.pack_command("EVALSHA", script.sha, len(keys), *keys, *args)
            connection.send_packed_command([b"".join(pieces)])
        except BaseException:
            give_up()
            raise

        def wait() -> None:
            try:
                try:
                    connection.read_response()
                except exceptions.NoScriptError:  # nothing has been run
                    connection.send_command("EVAL", script.script, len(keys), *keys, *args)
                    connection.read_response()
            except BaseException:
                give_up()
                raise
            pool.release(connection)

        return wait

    def _of_record(self, id: RunId) -> list[str]:
        return [self._record(id), self._due, self._waits]

    def _record(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:outbox"

    def _owner(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:owner"

    def _script(self, name: str, *more: str) -> Any:
        """Register the script of that name, and what others go on with."""
        sources = [(_LUA / f"{part}.lua").read_text() for part in (name, *more)]
        return self._client.register_script("".join(sources))


def _pools(client: Any) -> Iterator[Any]:
    """The client's pool, and those of the sentinels that it asks."""
    yield client.connection_pool
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    yield from (sentinel.connection_pool for sentinel in getattr(manager, "sentinels", ()))


def _seconds(keep: float) -> int:
    return max(1, round(keep))


def _quarantined(id: bytes, row: bytes) -> Quarantined:
    reason, body = json.loads(row.decode(errors="replace"))
    return Quarantined(RunId(id.decode()), reason, body.encode())
