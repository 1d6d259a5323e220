"""What Celery's Redis result backend would write, as commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from celery.backends.redis import RedisBackend

from celery_defer.commands import Commands, Server, database_of, server_of

# In seconds.
_LASTS = 600
# The methods of celery.backends.redis.RedisBackend and its bases that store a result. A subclass
# with its own may do more than send commands by one client.
_STORING = ("store_result", "_store_result", "_set_with_state", "set", "_set")


def server_of_results(backend: Any) -> Server | None:
    """Return the Redis server of *backend*; None for other backends, and behind sentinels.

    None also if a subclass, or another extension, has changed how results are stored.
    """
    if not isinstance(backend, RedisBackend) or any(
        getattr(type(backend), name) is not getattr(RedisBackend, name) for name in _STORING
    ):
        return None
    of_instance = (vars(backend).get(name) for name in _STORING)
    if any(method and not getattr(method, "replaces_celerys", False) for method in of_instance):
        return None
    return server_of(backend.client.connection_pool.connection_kwargs)


def win(backend: Any, id: str, token: str, result: Commands) -> Commands:
    """Return the commands that store a SUCCESS, and with it the *token* of its attempt.

    The first token stays for ten minutes, long enough for a relay, also if the client forgets the
    result.
    """
    row = ("SET", _winner(backend, id), token, "EX", _LASTS, "NX")
    return replace(result, rows=[*result.rows, row])


def winner_of(backend: Any, id: str) -> str | None:
    """Return the token of the attempt whose SUCCESS was stored first, if ``win`` has stored it."""
    if server_of_results(backend) is None:
        return None
    token: bytes | None = backend.client.get(_winner(backend, id))
    return token.decode() if token else None


def _winner(backend: Any, id: str) -> bytes:
    key: bytes | str = backend.get_key_for_task(id)
    return b"%b.attempt" % (key.encode() if isinstance(key, str) else key)


def hook_results(backend: Any, hook: Callable[..., Any]) -> None:
    """Have *backend* store results by *hook*: of the backend, its ``_store_result``, and Celery's
    arguments for that.

    celery.backends.base.Backend.store_result calls `_store_result` in all backends but rpc://. For
    a backend that has the hook this does nothing.
    """
    if "_defer_hook" in vars(backend):
        return
    own: Any = partial(hook, backend, backend._store_result)
    # Another extension may have replaced it before.
    own.replaces_celerys = "_store_result" not in vars(backend)
    backend._defer_hook = backend._store_result = own


def commands_of(
    backend: Any, store: Callable[[Any], object], *, looks: bool = False
) -> Commands | None:
    """Return the commands by which *store* would write to Redis, without sending them.

    *store* is called with a copy of *backend*. With *looks* this reads what is stored, as Celery
    does to keep a SUCCESS; else it reads nothing. None if nothing would be written.
    """
    # celery.backends.redis.RedisBackend._set writes by `pipeline` of the backend's client.
    client, rows = backend.client, list[Any]()
    recorder = object.__new__(type(backend))
    vars(recorder).update(vars(backend), client=_Recorder(client, rows, looks=looks))
    vars(recorder).pop("_store_result", None)
    store(recorder)
    if not rows:
        return None
    connection = client.connection_pool.connection_kwargs
    return Commands(server_of(connection) or (), database_of(connection), rows)


def send_commands(backend: Any, commands: Commands) -> None:
    """Send what ``commands_of`` has returned of this backend, in one round trip."""
    with backend.client.pipeline(transaction=False) as pipeline:
        for row in commands.rows:
            pipeline.execute_command(*row)
        pipeline.execute()


class _Recorder:
    """A client of redis-py that records what its pipelines would execute."""

    def __init__(self, client: Any, rows: list[Any], *, looks: bool) -> None:
        self._client = client
        self._rows = rows
        self._looks = looks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get(self, key: Any) -> Any:
        return self._client.get(key) if self._looks else None

    def pipeline(self, *args: Any, **kwargs: Any) -> Any:
        pipeline = self._client.pipeline(*args, **kwargs)

        def execute(*_: Any, **__: Any) -> list[Any]:
            self._rows.extend(words for words, _ in pipeline.command_stack)
            pipeline.reset()
            return []

        pipeline.execute = execute
        return pipeline
