"""The planner of conferences: a check for updates that mails the staff, and a task for any mail."""

from __future__ import annotations

from typing import Any

from django.utils.functional import lazystr as _

from celery_defer import deferred
from tests.worker.shapes.project import app, later, note, way


class MailServerDownError(Exception):
    """It takes no connection; it may in a while."""


@deferred
@app.task(bind=True, name="conference.send_mail")
def send_mail(
    self: Any,
    to: list,  # type: ignore[type-arg]
    subject: str,
    body: str,
    html: str | None = None,
    reply_to: list | None = None,  # type: ignore[type-arg]
    event: int | None = None,
    headers: dict | None = None,  # type: ignore[type-arg]
) -> None:
    scenario = (headers or {})["scenario"]
    if self.request.retries == 0 and reply_to:
        raise self.retry(exc=MailServerDownError(), countdown=0)
    note(
        scenario, "mail", to=to, subject=subject, body=body, html=html, event=event,
        headers=headers, retries=self.request.retries,
    )  # fmt: skip


@app.task(name="conference.check_for_update")
def check_for_update(kind, scenario):  # type: ignore[no-untyped-def]
    way.set((kind, scenario))
    note(scenario, "checked")
    tell_staff("9.1")
    return "update available"


def tell_staff(version: str) -> None:
    """Mail the staff; a page of the settings calls this helper too."""
    _kind, scenario = way.get()
    later(
        "update-mail",
        send_mail,
        to=["staff@conference.example"],
        subject=_("An update is available"),
        body=str(_("Version %s is out.")) % version,
        html=None,
        headers={"scenario": scenario, "X-Version": _("new")},
    )
    later(
        "update-copy",
        send_mail,
        ["archive@conference.example"],
        _("Copy"),
        _("See above."),
        reply_to=["staff@conference.example"],
        event=7,
        headers={"scenario": scenario},
    )
