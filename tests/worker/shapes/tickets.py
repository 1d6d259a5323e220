"""The seller of tickets: one task notifies of log entries, one for each person, and one mails."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.functional import lazystr as _

from celery_defer import deferred
from tests.worker.shapes.project import (
    AfterCommitTask,
    ProfiledEventTask,
    ProfiledTask,
    app,
    later,
    note,
    way,
)

PEOPLE = [(1, "mail"), (2, "mail"), (3, "none")]


@deferred
@app.task(bind=True, base=AfterCommitTask, acks_late=True, name="tickets.mail")
def mail(
    self: Any,
    *args: Any,
    to: list[str],
    subject: str,
    body: str,
    sender: str,
    event: int | None = None,
    headers: dict | None = None,  # type: ignore[type-arg]
    user=None,  # type: ignore[no-untyped-def]
) -> bool:
    note(
        (headers or {})["scenario"], "mail", args=args, to=to, subject=subject, body=body,
        sender=sender, event=event, user=user,
    )  # fmt: skip
    return True


@app.task(base=AfterCommitTask, acks_late=True, max_retries=9, name="tickets.notify")
def notify(kind, scenario, entries):  # type: ignore[no-untyped-def]
    way.set((kind, scenario))
    if not isinstance(entries, list):
        entries = [entries]
    with transaction.atomic():
        for entry in entries:
            for person, method in PEOPLE:
                later(
                    f"notify-{entry}-{person}",
                    notify_one, kind, scenario, entry, "order.placed", person, method,
                )  # fmt: skip
    later("close", close, 7, datetime(2030, 1, 1, tzinfo=timezone.utc), scenario)
    later(
        "book",
        book,
        event=8,
        scenario=scenario,
        lines=[{"price": Decimal("19.90"), "seat": UUID(int=5), "at": datetime(2030, 5, 1)}],
    )


@deferred
@app.task(base=ProfiledTask, acks_late=True, max_retries=9, name="tickets.notify_one")
def notify_one(  # type: ignore[no-untyped-def]
    kind, scenario, entry: int, action: str, person: int, method: str
):
    way.set((kind, scenario))
    if method == "mail":
        mail_notification(entry, action, person)


def mail_notification(entry: int, action: str, person: int) -> None:
    """Write to a person: a helper outside tasks, without the task's request."""
    _kind, scenario = way.get()
    later(
        "mail",
        mail,
        to=[f"{person}@tickets.example"],
        subject=_("Order placed"),
        body=f"{action}: {entry}",
        sender="shop@tickets.example",
        headers={"scenario": scenario},
        user=person,
    )


@deferred
@app.task(base=ProfiledEventTask, name="tickets.close")
def close(event, at, scenario):  # type: ignore[no-untyped-def]
    note(scenario, "close", event=event, at=at)


@deferred
@app.task(base=ProfiledEventTask, name="tickets.book")
def book(event, lines, scenario=None, **more):  # type: ignore[no-untyped-def]
    note(scenario, "book", event=event, lines=lines, more=more)
