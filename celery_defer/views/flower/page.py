"""What all pages of the Deferred tab share: who may see them, how they read, how they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from typing import Any, ClassVar, TypeVar

from flower.views import BaseHandler
from tornado.web import RequestHandler, authenticated

from celery_defer import guard
from celery_defer.errors import DeferError, StoreError
from celery_defer.text import masked, text_of
from celery_defer.views import words
from celery_defer.views.flower.errors import PageError

T = TypeVar("T")

#: Seconds that a page waits for the store.
PATIENCE = 5.0
_SAID = "deferred_said"

# Flower has threads of its own, which a store that hangs must not use up.
_READERS = ThreadPoolExecutor(4, "deferred-tab")

logger = guard.logger(__name__)


class Reader(BaseHandler):  # type: ignore[misc]
    """Calls the read API outside of Flower's loop, which it would hold up."""

    application: Any
    #: The status of the HTTP response where the package refuses what it is asked for.
    conflict: ClassVar[int] = 404

    async def read(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """Return what *function* returns for Flower's app; raise PageError if it cannot."""
        call = partial(function, *args, app=self.capp, **options)
        try:
            loop = asyncio.get_running_loop()
            return await asyncio.wait_for(loop.run_in_executor(_READERS, call), PATIENCE)
        except asyncio.TimeoutError:
            raise PageError(503, f"The store has not replied for {PATIENCE:.0f} seconds.") from None
        except PageError:
            raise
        except StoreError as error:
            raise PageError(503, masked(str(error))) from error
        except DeferError as error:
            raise PageError(self.conflict, masked(str(error))) from error
        except Exception as error:
            with guard.logged(logger, "the Deferred tab cannot read the store"):
                raise
            text = f"The store cannot be read: {masked(text_of(error))}"
            raise PageError(503, text) from error

    @property
    def refusal(self) -> str | None:
        """Why this Flower changes nothing, by the rules of its own API; None if it does."""
        options = self.application.options
        if options.read_only:
            return "Flower was started with --read-only."
        if not (options.basic_auth or options.auth or self.unauthenticated_api):
            return (
                "Flower asks nobody for a password: start it with --basic-auth or --auth, or set "
                "FLOWER_UNAUTHENTICATED_API=true."
            )
        return None

    def get_template_namespace(self) -> dict[str, Any]:
        now = datetime.now(timezone.utc)
        names: dict[str, Any] = super().get_template_namespace()
        return {**names, "words": words, "now": now, "refusal": self.refusal}


class Page(Reader):
    """A page of the tab, from one template."""

    template: ClassVar[str]
    #: The name of the list whose link is marked as the current page.
    place: ClassVar[str | None] = None
    #: What the page says if it cannot say what it should.
    trouble: ClassVar[str] = "This page cannot be shown"

    async def values(self, *path: str) -> dict[str, Any]:
        """Return what the template shows; raise PageError if that cannot be read."""
        raise NotImplementedError

    @authenticated
    async def get(self, *path: str) -> None:
        try:
            values = await self.values(*path)
        except PageError as error:
            self.show(error)
        else:
            self.render(self.template, said=self._said(), place=self.place, **values)

    def check_xsrf_cookie(self) -> None:
        # Flower lets a form without a token pass if it asks nobody for a password, or for Basic
        # authentication, which a browser sends along by itself.
        super().check_xsrf_cookie()
        RequestHandler.check_xsrf_cookie(self)

    def show(self, error: PageError) -> None:
        """Render an error as a page."""
        self.set_status(error.status)
        self.render(
            "deferred/error.html", said=None, place=self.place, title=self.trouble, text=str(error)
        )

    def say(self, text: str) -> None:
        """Let the next page say what was done."""
        self.set_secure_cookie(_SAID, text, expires_days=1)

    def _said(self) -> str | None:
        if not self.get_cookie(_SAID):
            return None
        said = self.get_secure_cookie(_SAID)
        self.clear_cookie(_SAID)
        return said.decode() if said else None
