"""An app whose broker, results, store and clock are replaced for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from celery import _state
from celery.app.backends import by_url
from celery.app.task import Task
from celery.backends.base import DisabledBackend
from celery.signals import task_postrun

from celery_defer.current import extension_of
from celery_defer.run import signals
from celery_defer.testing.broker import Queue, SimulatedBackend, connect, producers
from celery_defer.testing.store import SimulatedStore


@dataclass(frozen=True, slots=True)
class Ports:
    """What replaces the app's broker, results, store and clock."""

    queue: Queue
    store: SimulatedStore
    clock: Callable[[], float]
    pause: Callable[[float], None]
    now: Callable[[], Any]
    drain: Callable[[], object]
    call_step: Callable[[str, Callable[[], Any]], Any]
    on_postrun: Callable[..., None]
    on_dropped: Callable[..., None]
    watch_block: Callable[[Any], None]
    samples: Callable[..., bool]


@contextmanager
def simulated(app: Any, ports: Ports) -> Iterator[None]:
    """Let *app* use *ports*; restore everything at the end.

    Only attributes of the app are replaced, where Celery keeps or makes its connections. The one
    setting that changes is ``task_always_eager``.
    """
    with ExitStack() as stack:
        stack.enter_context(_broker(app, ports.queue))
        stack.enter_context(_results(app, ports.drain))
        stack.enter_context(_extension(extension_of(app), ports))
        stack.enter_context(swapped(vars(app), {"now": ports.now}))
        stack.enter_context(swapped(app.conf.changes, {"task_always_eager": False}))
        stack.enter_context(_current(app))
        for signal, handler in (
            (task_postrun, ports.on_postrun),
            (signals.run_dropped, ports.on_dropped),
        ):
            signal.connect(handler, weak=False)
            stack.callback(signal.disconnect, handler)
        yield


@contextmanager
def swapped(names: Any, values: Mapping[str, Any], without: tuple[str, ...] = ()) -> Iterator[None]:
    """Put *values* into a mapping and remove *without*, for the length of the block."""
    before = {name: names[name] for name in (*values, *without) if name in names}
    names.update(values)
    for name in without:
        names.pop(name, None)
    try:
        yield
    finally:
        for name in (*values, *without):
            names.pop(name, None)
        names.update(before)


@contextmanager
def _broker(app: Any, queue: Queue) -> Iterator[None]:
    """Replace celery.app.base.Celery._connection, which makes all connections, and both pools."""

    def connection(*_: Any, **__: Any) -> Any:
        return connect(queue)

    pool = producers(connect(queue))
    with (
        swapped(vars(app), {"_connection": connection, "_pool": pool.connections}),
        swapped(vars(app.amqp), {"_producer_pool": pool}),
    ):
        try:
            yield
        finally:
            pool.connections.force_close_all()


@contextmanager
def _results(app: Any, drain: Callable[[], object]) -> Iterator[None]:
    """Replace what celery.app.base.Celery.backend keeps, unless results are disabled."""
    with ExitStack() as stack:
        if not _has_no_results(app):
            backend = SimulatedBackend(app, drain)
            stack.enter_context(swapped(vars(app), {"_backend_cache": backend}))
        for task in app.tasks.values():
            if task.backend is not app.backend:
                own = SimulatedBackend(app, drain)
                stack.enter_context(swapped(vars(task), {_backend_of(task): own}))
        yield


def _has_no_results(app: Any) -> bool:
    backend: Any = by_url(app.backend_cls or app.conf.result_backend, app.loader)
    return issubclass(backend[0], DisabledBackend)


def _backend_of(task: Any) -> str:
    """Return the attribute that holds a task's own backend: celery.app.task.Task.backend."""
    return "_backend" if type(task).backend is Task.backend else "backend"


@contextmanager
def _extension(extension: Any, ports: Ports) -> Iterator[None]:
    names = ("store", "clock", "pause", "call_step", "watch_block", "samples")
    ours = {name: getattr(ports, name) for name in names}
    with swapped(vars(extension), ours, without=("settings",)):
        yield


@contextmanager
def _current(app: Any) -> Iterator[None]:
    state: Any = _state  # its stubs leave this out
    before = state._tls.current_app
    app.set_current()
    try:
        yield
    finally:
        state._tls.current_app = before
