"""``Defer(app)``: the package in one Celery app."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from time import sleep, time
from typing import Any
from urllib.parse import urlencode

from celery.app.backends import by_url

from celery_defer.app import tracer
from celery_defer.app.bootstep import RelayStep
from celery_defer.app.renewal import Renewal
from celery_defer.contract import Scoring
from celery_defer.current import add, extension_of, is_app
from celery_defer.errors import OptionError
from celery_defer.settings import STORES, Settings
from celery_defer.store import RedisStore, Store
from celery_defer.text import masked, safe_repr

_FIXUP = "celery_defer.app.extension:Defer"


class Defer:
    """Let the tasks of *app* defer follow-up work.

    Call it once, where the app is made, before or after its configuration. Settings come
    from ``app.conf.defer_*``; a wrong one raises SettingsError when a worker starts or a run
    first defers.

    >>> app = Celery("shop", broker="redis://localhost:6379/0")
    >>> Defer(app)
    """

    def __init__(self, app: Any) -> None:
        if not is_app(app):
            raise OptionError(f"Defer takes a Celery app, and not {safe_repr(app)}: Defer(app)")
        self.app = app
        #: Returns seconds since 1970; tests may replace it.
        self.clock: Callable[[], float] = time
        #: Calls a step's function, given the step's id; tests may replace it.
        self.call_step: Callable[[str, Callable[[], Any]], Any] = _call
        #: Returns whether a scorer scores a run, by the scorer's part, the run's id and the name of
        #: the scorer's task; tests may replace it.
        self.samples: Callable[[Scoring, str, str], bool] = Scoring.takes
        #: Is called with the scope of a block that has ended or is published; tests may replace it.
        self.watch_block: Callable[[Any], None] = _ignore
        #: Lets a run wait that may start in less than a second; tests may replace it.
        self.pause: Callable[[float], None] = sleep
        #: Renews the places that limits have given to the runs in progress in this process.
        self.renewal = Renewal()
        #: When the relay of this process has looked at the outbox; None if it has none.
        self.looked_at: float | None = None
        app._celery_defer = self
        add(app)
        app.steps["worker"].add(RelayStep)
        # A pool that spawns its children rebuilds the app there from what
        # celery.app.base.Celery.__reduce_keys__ lists; fixups are called with the new app.
        app.fixups = {*app.fixups, _FIXUP}
        tracer.install(extension_of)

    def __repr__(self) -> str:
        return f"Defer({self.app!r})"

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once; raises SettingsError."""
        return Settings.read(self.app.conf, self.app.namespace)

    @cached_property
    def inherits_priority(self) -> bool:
        """Whether a run passes its priority on; read once, as by Celery's tracer."""
        return bool(self.app.conf.task_inherit_parent_priority)

    @cached_property
    def store(self) -> Store | None:
        """The store of the outbox; None without a Redis."""
        for _, url, options in self._places():
            # Celery's own keys have this prefix where several projects share one Redis.
            shared = options.get("global_keyprefix", "")
            client = _client(self.app, url, options)
            return RedisStore(client, f"{shared}{self.settings.key_prefix}", self._now)
        return None

    def _now(self) -> float:
        return self.clock()  # which tests may replace

    @property
    def place(self) -> str:
        """The setting that names the store, and its URL without the password."""
        return next((f"{name} = {masked(url)!r}" for name, url, _ in self._places()), "no Redis")

    def _places(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield the settings that name a Redis, the one of the store first."""
        conf = self.app.conf
        of_results = conf.result_backend_transport_options or {}
        broker = _with_tls(_one_url(conf.broker_write_url), conf.broker_use_ssl)
        for name, url, options in (
            ("defer_store_url", self.settings.store_url, of_results),
            ("result_backend", conf.result_backend, of_results),
            ("broker_url", broker, conf.broker_transport_options or {}),
        ):
            if url and _is_redis(url):
                yield name, url, options


def _call(step: str, function: Callable[[], Any]) -> Any:  # noqa: ARG001
    return function()


def _ignore(block: Any) -> None: ...


def _one_url(broker: Any) -> str | None:
    """Return the broker's URL: the first of several, but all of a set of sentinels."""
    urls = broker.split(";") if isinstance(broker, str) else list(broker or [])
    if not urls:
        return None
    return ";".join(urls) if urls[0].startswith("sentinel:") else str(urls[0])


def _with_tls(url: str | None, settings: Any) -> str | None:
    """Put the ``broker_use_ssl`` of a Redis into its URL, as its result backend has it."""
    if not url or not url.startswith("rediss:") or not isinstance(settings, dict):
        return url
    query = urlencode({name: getattr(value, "name", value) for name, value in settings.items()})
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _is_redis(url: str) -> bool:
    return url.partition("://")[0] in STORES


def _client(app: Any, url: str, options: dict[str, Any]) -> Any:
    """Return a client made by Celery's result backend, with its TLS, sentinels and timeouts."""
    resolved: Any = by_url(url, app.loader)
    backend, location = resolved
    # Read by celery.backends.redis.RedisBackend; here they may be the broker's.
    kind = type(backend.__name__, (backend,), {"_transport_options": options})
    return kind(app=app, url=location).client
