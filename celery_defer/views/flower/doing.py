"""How a button of the Deferred tab is pressed: by POST, from a page of this Flower."""

from __future__ import annotations

from tornado.web import authenticated

from celery_defer import guard
from celery_defer.views.flower.actions import ACTIONS, Action, Fields, run_of
from celery_defer.views.flower.errors import PageError
from celery_defer.views.flower.page import Page

logger = guard.logger(__name__)


class ActionPage(Page):
    """Performs an action; one that loses work asks first."""

    conflict = 409
    trouble = "This has failed"

    @authenticated
    async def get(self, *_: str) -> None:
        self.show(PageError(405, "An action is a button on one of the other pages."))

    @authenticated
    async def post(self, name: str) -> None:
        try:
            action = self._allowed(name)
            fields = {field: self._field(field) for field in action.fields}
            if action.question and not self.get_body_argument("sure", ""):
                self.render("deferred/sure.html", said=None, place=None, action=action, name=name,
                            fields=fields, back=self._back(action, fields))  # fmt: skip
                return
            await self._perform(name, action, fields)
        except PageError as error:
            self.show(error)

    def _allowed(self, name: str) -> Action:
        if name not in ACTIONS:
            raise PageError(404, f"There is no action {name!r}.")
        if self.refusal:
            raise PageError(403, f"Nothing was changed. {self.refusal}")
        return ACTIONS[name]

    async def _perform(self, name: str, action: Action, fields: Fields) -> None:
        logger.info("%s of %r, from %s", name, dict(fields), self.request.remote_ip)
        outcome = await self.read(action.call, fields)
        self.say(action.outcome(fields, outcome))
        self.redirect(self._back(action, fields), status=303)

    def _field(self, name: str) -> str:
        text: str = self.get_body_argument(name, "", strip=False)
        if not text and name != "data":
            raise PageError(400, f"The form has no {name}.")
        return text

    def _back(self, action: Action, fields: Fields) -> str:
        if action.back:
            return str(self.reverse_url(action.back))
        return str(self.reverse_url("deferred-run", run_of(fields)))
