"""A command of ``celery defer``, run in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner, Result

Cli = Callable[..., Result]


@pytest.fixture
def cli(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs ``celery -A unit defer …`` with the app of the test."""
    monkeypatch.setattr("celery.bin.celery.find_app", lambda *_, **__: app)

    def run(*args: str) -> Result:
        return CliRunner().invoke(celery, ["-A", "unit", "defer", *args], prog_name="celery")

    return run
