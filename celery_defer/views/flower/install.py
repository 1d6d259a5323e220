"""How the Deferred tab gets into Flower."""

from __future__ import annotations

from typing import Any

from celery_defer import guard
from celery_defer.text import text_of
from celery_defer.views.flower.errors import UnknownFlowerError

_OLDEST = (2, 2)

logger = guard.logger(__name__)


def install(*, hide_deferred: bool = False) -> bool:
    """Add the Deferred tab to Flower; call it in ``flowerconfig.py``.

    With *hide_deferred* Flower's own list of tasks leaves out the runs that others have deferred;
    a switch above the list shows them.

    It raises nothing: with a Flower that it does not know it logs why and returns False, and Flower
    runs without the tab.

    >>> from celery_defer.flower import install; install()
    """
    try:
        _install(hide_deferred)
    except Exception as error:
        logger.error("Flower has no Deferred tab: %s", text_of(error))
        return False
    return True


def _install(hide_deferred: bool) -> None:
    import flower  # noqa: PLC0415 - an extra

    _check_version(getattr(flower, "__version__", "0"))
    from flower import urls  # noqa: PLC0415

    from celery_defer.views.flower.loader import Templates  # noqa: PLC0415
    from celery_defer.views.flower.routes import routes  # noqa: PLC0415
    from celery_defer.views.flower.tasks import are_hidden  # noqa: PLC0415

    settings: dict[str, Any] = urls.settings
    settings["deferred_hidden"] = hide_deferred
    if isinstance(settings.get("template_loader"), Templates):
        return  # it was called before
    loader = Templates(settings["template_path"], deferred_are_hidden=are_hidden)
    loader.check()
    urls.handlers[:] = routes(urls.handlers)  # flower.app has this very list
    settings["template_loader"] = loader


def _check_version(version: str) -> None:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not _OLDEST <= numbers < (_OLDEST[0] + 1,):
        raise UnknownFlowerError(f"it needs Flower 2.2 or a later 2.x, and this is {version}")
