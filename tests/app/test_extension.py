"""``Defer(app)``: which apps take it, and which of their settings are its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery

from celery_defer import Defer, OptionError
from celery_defer.settings import Settings


def test_a_setting_of_another_package_is_not_ours() -> None:
    app = Celery("app")
    project = SimpleNamespace(DEFER_LOADING=True, DEFER_STRICT=False, CELERY_DEFER_STRICT=True)
    app.config_from_object(project, namespace="CELERY")

    assert Defer(app).settings == Settings(strict=True)


def test_an_app_may_be_made_with_fixups_of_its_own() -> None:
    assert Defer(Celery("app", fixups=[])).settings


@pytest.mark.parametrize("target", [None, "shop", Celery])
def test_what_is_no_app_is_refused(target: object) -> None:
    with pytest.raises(OptionError, match="Defer takes a Celery app, and not "):
        Defer(target)
