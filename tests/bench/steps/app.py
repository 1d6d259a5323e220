"""The app under test: ``celery -A tests.bench.steps.app worker``."""

from __future__ import annotations

from tests.bench.app import app, config

__all__ = ["app"]

# A worker without the package does not even import it.
if config["defer"]:
    from tests.bench.steps import tasks  # noqa: F401
