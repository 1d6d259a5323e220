"""Traces for OpenTelemetry; it needs ``pip install celery-defer[opentelemetry]``."""

from __future__ import annotations

from typing import Any

from celery_defer.run import Tracing, tracing, use_tracing

try:
    from celery_defer.app.telemetry import Telemetry
except ModuleNotFoundError as error:
    raise ImportError(
        f"celery_defer.opentelemetry needs opentelemetry-api, and there is no {error.name}: "
        "pip install 'celery-defer[opentelemetry]'"
    ) from error

__all__ = ["CeleryDeferInstrumentor"]


class CeleryDeferInstrumentor:
    """Switches on traces of runs in this process; ``opentelemetry-instrument`` does it by itself.

    >>> CeleryDeferInstrumentor().instrument()
    """

    def instrument(
        self, *, tracer_provider: Any = None, logger_provider: Any = None, **_: Any
    ) -> None:
        """Trace the runs of all apps with a Defer from now on; a second call has no effect.

        Scores become events of a *logger_provider*. Without a provider, it is the global one, which
        may be set later: in a pool of processes by each of them, on Celery's signal
        ``worker_process_init``.
        """
        if self.is_instrumented_by_opentelemetry:
            return
        telemetry = Telemetry(tracer_provider, logger_provider)
        telemetry.connect()
        use_tracing(telemetry)

    def uninstrument(self, **_: Any) -> None:
        """Trace no more runs; a run in progress has no end in its trace."""
        telemetry = tracing()
        if isinstance(telemetry, Telemetry):
            telemetry.disconnect()
            use_tracing(Tracing())

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether runs are traced."""
        return isinstance(tracing(), Telemetry)
