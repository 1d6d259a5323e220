"""The app under test: ``celery -A tests.bench.batch.app worker``."""

from __future__ import annotations

from tests.bench.app import app, config, records
from tests.bench.batch.functions import declare

__all__ = ["app"]

declare(app, lambda count: records.incrby(config["queue"] + "-done", count))
