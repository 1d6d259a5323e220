"""The settings: where they come from, and what a wrong one says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import click
import pytest
from celery import Celery
from celery.bin.worker import worker

from celery_defer import Defer, SettingsError
from celery_defer.settings import Settings


def settings_of(app: Celery) -> Settings:
    return Defer(app).settings


def test_what_is_not_set_has_its_default() -> None:
    assert settings_of(Celery("app")) == Settings()


def test_they_may_be_set_after_the_app_is_given_to_defer() -> None:
    app = Celery("app")
    extension = Defer(app)
    app.conf.update(defer_strict=True, defer_max_per_run=3)

    assert (extension.settings.strict, extension.settings.max_per_run) == (True, 3)


def test_they_come_from_a_namespace_as_celerys_own_do() -> None:
    app = Celery("app")
    project = SimpleNamespace(CELERY_DEFER_STRICT=True, CELERY_TASK_ALWAYS_EAGER=True)
    app.config_from_object(project, namespace="CELERY")

    assert settings_of(app).strict
    assert app.conf.task_always_eager


def test_a_wrong_name_in_a_namespace_is_told() -> None:
    app = Celery("app")
    app.config_from_object(SimpleNamespace(CELERY_DEFER_STRCT=True), namespace="CELERY")

    with pytest.raises(
        SettingsError, match=r"defer_strct does not exist; did you mean defer_strict"
    ):
        settings_of(app)


def test_they_are_read_once() -> None:
    app = Celery("app")
    extension = Defer(app)
    assert not extension.settings.strict
    app.conf.defer_strict = True

    assert not extension.settings.strict


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        (
            {"defer_max_per_run": 0},
            "setting defer_max_per_run = 0: Input should be greater than or equal to 1",
        ),
        (
            {"defer_strict": "perhaps"},
            "setting defer_strict = 'perhaps': Input should be a valid boolean",
        ),
        (
            {"defer_max_per_rn": 3},
            "setting defer_max_per_rn does not exist; did you mean defer_max_per_run?",
        ),
        ({"defer_zzz": 3}, "setting defer_zzz does not exist"),
    ],
)
def test_a_wrong_one_is_told_by_its_name(conf: dict[str, Any], words: str) -> None:
    app = Celery("app")
    app.conf.update(conf)

    with pytest.raises(SettingsError, match=words.replace("?", r"\?")):
        settings_of(app)


def test_no_password_stands_in_the_error_or_in_the_repr() -> None:
    app = Celery("app")
    app.conf.defer_store_url = "postgres://shop:secret@db/1"

    with pytest.raises(SettingsError, match=r"= 'postgres://\*\*@db/1': ") as raised:
        settings_of(app)

    assert "secret" not in str(raised.value)
    assert "secret" not in repr(Settings(store_url="redis://shop:secret@db/1"))


@pytest.mark.filterwarnings("ignore::celery.exceptions.SecurityWarning")
def test_the_command_line_shows_the_error_alone(app: Celery) -> None:
    app.conf.defer_max_depth = -1

    with click.Context(worker), pytest.raises(click.ClickException, match="defer_max_depth"):
        app.Worker(pool="solo")


@pytest.mark.filterwarnings("ignore::celery.exceptions.SecurityWarning")
def test_a_worker_does_not_start_with_a_wrong_one(app: Celery) -> None:
    app.conf.defer_max_depth = -1

    with pytest.raises(SettingsError, match="defer_max_depth"):
        app.Worker(pool="solo")


def test_defer_may_be_called_before_the_app_is_configured() -> None:
    app = Celery("app", autofinalize=False)
    Defer(app)

    assert not app.configured
    assert not app.finalized
