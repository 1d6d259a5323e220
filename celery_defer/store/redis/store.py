"""The store in Redis 6.2 or newer: one script an operation, in the folder ``lua``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from typing import Any

from redis import ConnectionPool, Redis, exceptions
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from celery_defer.store.redis.events import RedisEvents
from celery_defer.store.redis.outbox import RedisOutbox
from celery_defer.store.redis.runs import RedisSteps

__all__ = ["RedisStore"]

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


class RedisStore(RedisOutbox, RedisSteps, RedisEvents):
    """Keeps records under *prefix*; the keys of one run share its id as their hash tag."""

    def __init__(self, client: Redis, prefix: str = "celery-defer:") -> None:
        # A parent's end waits for this client: it must not try for long.
        for pool in _pools(client):
            pool.connection_kwargs.update(_PATIENCE)
            # Celery's `redis_max_connections` is for each of its backends, of which a thread has
            # one; all threads share this pool.
            pool.max_connections = _MANY
        super().__init__(client, prefix)

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


def _pools(client: Any) -> Iterator[Any]:
    """The client's pool, and those of the sentinels that it asks."""
    yield client.connection_pool
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    yield from (sentinel.connection_pool for sentinel in getattr(manager, "sentinels", ()))
