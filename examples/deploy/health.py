"""Shows by a file that a worker takes tasks: the file is new while the worker is connected."""

import os
from pathlib import Path
from typing import Any

from celery import bootsteps

FILE = Path(os.environ.get("HEALTH_FILE", "/tmp/worker-is-alive"))
SECONDS = 2.0


class Health(bootsteps.StartStopStep):
    """Touches the file from the loop that takes messages, and removes it when that stops."""

    requires = ("celery.worker.consumer:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        FILE.unlink(missing_ok=True)  # of a worker that was killed

    def start(self, parent: Any) -> None:
        """Begin when the worker has connected, each time."""
        FILE.touch()
        self._timer = parent.timer.call_repeatedly(SECONDS, FILE.touch)

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        """End when the connection is lost, or the worker stops."""
        if self._timer:
            self._timer.cancel()
        FILE.unlink(missing_ok=True)

    def terminate(self, parent: Any) -> None:
        """End at once."""
        self.stop(parent)
