"""How the Deferred tab gets into Flower, and what becomes of a Flower that it does not know."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flower
import pytest
from flower import urls
from tornado.web import url

from celery_defer.flower import install
from tests.support.flower import INSTALL, Flower
from tests.support.redis import Server


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    handlers, settings = list(urls.handlers), dict(urls.settings)
    yield
    urls.handlers[:] = handlers
    urls.settings.clear()
    urls.settings.update(settings)


def addresses() -> list[str]:
    return [getattr(route, "regex", route) and _pattern(route) for route in urls.handlers]


def _pattern(route: Any) -> str:
    return str(route.regex.pattern if isinstance(route, url) else route[0])


def test_it_adds_pages_before_the_one_that_takes_every_address() -> None:
    last = urls.handlers[-1]

    assert install()

    assert "/deferred$" in addresses()
    assert urls.handlers[-1] is last


def test_a_second_call_adds_nothing() -> None:
    install()
    once = list(urls.handlers)

    assert install(hide_deferred=True)

    assert urls.handlers == once
    assert urls.settings["deferred_hidden"]


def unchanged(caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """Check that the tab is not there, that the log says why, and that Flower is as it was."""
    handlers, settings = list(urls.handlers), dict(urls.settings)

    with caplog.at_level(logging.ERROR):
        assert not install()

    assert urls.handlers == handlers
    assert "template_loader" not in {**urls.settings, **settings}
    assert caplog.messages
    assert caplog.messages[0].startswith("Flower has no Deferred tab: ")
    assert reason in caplog.messages[0]


@pytest.mark.parametrize("version", ["1.2.0", "2.1.0", "3.0", "unknown"])
def test_a_version_that_it_does_not_know_gets_no_tab(
    version: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flower, "__version__", version)

    unchanged(caplog, f"this is {version}")


def test_a_later_version_2_gets_the_tab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower, "__version__", "2.10.1")

    assert install()


def test_a_flower_without_a_page_that_is_extended_gets_no_tab(
    caplog: pytest.LogCaptureFixture,
) -> None:
    urls.handlers[:] = [each for each in urls.handlers if _pattern(each) != "/task/(.+)$"]

    unchanged(caplog, "/task/(.+)")


def test_a_flower_with_another_page_in_its_place_gets_no_tab(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class TaskView: ...

    urls.handlers[:] = [
        url("/task/(.+)", TaskView) if _pattern(each) == "/task/(.+)$" else each
        for each in urls.handlers
    ]

    unchanged(caplog, "TaskView")


def test_a_flower_with_other_templates_gets_no_tab(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("base", "navbar", "tasks", "task"):
        (tmp_path / f"{name}.html").write_text("<html></head></ul></html>")
    monkeypatch.setitem(urls.settings, "template_path", str(tmp_path))

    unchanged(caplog, "its template tasks.html has no")


@pytest.mark.worker
def test_a_flower_that_it_does_not_know_runs_without_the_tab(server: Server) -> None:
    env = {"CELERY_BROKER_URL": server.url, "CELERY_RESULT_BACKEND": server.url}
    config = f"import flower; flower.__version__ = '3.0.0'\n{INSTALL}"

    with Flower("tests.worker.stepping", env=env, config=config) as running:
        with running.visitor() as visitor:
            assert "Deferred" not in visitor.page("/tasks")
            visitor.page("/deferred", status=404)
        assert "Flower has no Deferred tab: " in running.logs()
