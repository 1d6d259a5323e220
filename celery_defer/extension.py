"""``Defer(app)``: the package, for one Celery app."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from celery.app.backends import by_url

from celery_defer import hooks
from celery_defer.settings import STORES, Settings
from celery_defer.store import RedisStore, Store
from celery_defer.worker import RelayStep

__all__ = ["Defer", "extension_of"]

_FIXUP = "celery_defer.extension:Defer"


class Defer:
    """Let the tasks of *app* defer follow-up work.

    Call it once, where the app is made, before or after its configuration. Settings come
    from ``app.conf.defer_*``; SettingsError tells of a wrong one when a worker starts or
    when a run first defers.

    >>> app = Celery("shop", broker="redis://localhost:6379/0")
    >>> Defer(app)
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        app._celery_defer = self
        app.steps["worker"].add(RelayStep)
        # A pool that spawns its children rebuilds the app there from what
        # celery.app.base.Celery.__reduce_keys__ lists; fixups are called with the new app.
        app.fixups.add(_FIXUP)
        hooks.install(extension_of)

    def __repr__(self) -> str:
        return f"Defer({self.app!r})"

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once; raises SettingsError."""
        return Settings.read(self.app.conf, self.app.namespace)

    @cached_property
    def store(self) -> Store | None:
        """Where deferred calls are kept until they are published; None without a Redis."""
        url = self._store_url()
        if url is None:
            return None
        # Celery's own keys have this prefix where several projects share one Redis.
        options = self.app.conf.result_backend_transport_options or {}
        shared = options.get("global_keyprefix", "")
        return RedisStore(_client(self.app, url), f"{shared}{self.settings.key_prefix}")

    def _store_url(self) -> str | None:
        conf = self.app.conf
        if self.settings.store_url:
            return self.settings.store_url
        urls = (conf.result_backend, self.app.connection_for_write().as_uri(include_password=True))
        return next((url for url in urls if url and _is_redis(url)), None)


def extension_of(app: Any) -> Defer | None:
    """Answer the Defer of *app*, or None."""
    return getattr(app, "_celery_defer", None)


def _is_redis(url: str) -> bool:
    return url.partition("://")[0] in STORES


def _client(app: Any, url: str) -> Any:
    """A client as Celery's own result backend makes it: TLS, sentinels, passwords, time-outs."""
    found: Any = by_url(url, app.loader)
    backend, location = found
    return backend(app=app, url=location).client
