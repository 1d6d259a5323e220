"""Metrics for Prometheus; it needs ``pip install celery-defer[prometheus]``."""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_ready

from celery_defer import guard
from celery_defer.current import extension_of
from celery_defer.errors import StoreError
from celery_defer.text import safe_repr

try:
    from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector

    from celery_defer.app.counters import Counters
    from celery_defer.app.gauges import Gauges
except ModuleNotFoundError as error:
    raise ImportError(
        f"celery_defer.prometheus needs prometheus_client, and there is no {error.name}: "
        "pip install 'celery-defer[prometheus]'"
    ) from error

__all__ = ["install"]

logger = guard.logger(__name__)

# As prometheus_client.values.get_value_class reads them.
_DIRECTORIES = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
_PREFORK = "celery.concurrency.prefork"


def install(
    app: Any,
    *,
    registry: CollectorRegistry | None = None,
    port: int | None = None,
    addr: str = "0.0.0.0",  # noqa: S104  # as of prometheus_client.start_http_server
) -> CollectorRegistry:
    """Count what *app* defers, publishes and wakes; return the registry that has it all.

    Call it once, after ``Defer(app)``. Without *registry* it is prometheus_client's own, which
    Flower shows at ``/metrics``; where ``PROMETHEUS_MULTIPROC_DIR`` is set, it is a new one that
    reads what all processes have counted. A *registry* of yours needs a ``MultiProcessCollector``
    there. With *port*, a worker serves ``/metrics`` at *addr*, by a thread of its main process.

    Raises StoreError for an app without a Defer, and prometheus_client's ValueError if a registry
    has such metrics already.

    >>> registry = install(app, port=9808)
    """
    if extension_of(app) is None:
        raise StoreError(f"{safe_repr(app)} has no Defer(app): call Defer(app) where it is made")
    is_shared = any(name in os.environ for name in _DIRECTORIES)
    shown = registry or (_of_all_processes() if is_shared else REGISTRY)
    Counters(app, None if is_shared else shown).connect()
    # Flower shows the gauges also where the processes share a directory.
    Gauges(app).register({shown} if registry else {shown, REGISTRY})

    def on_ready(sender: Any, **_: Any) -> None:
        if sender.app is not app:
            return
        if not is_shared and type(sender.pool).__module__ == _PREFORK:
            logger.warning(
                "PROMETHEUS_MULTIPROC_DIR is not set, so no scrape sees what the processes of "
                "this worker's pool count: deferred, published, skipped and parked"
            )
        if port is not None:
            start_http_server(port, addr, shown)

    worker_ready.connect(on_ready, weak=False)
    return shown


def _of_all_processes() -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
