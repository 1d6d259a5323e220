"""Named payloads, sent from anywhere, that waiting runs receive."""

from celery_defer.events.event import Event, Received, kept_for, received, typed, unique, wanted
from celery_defer.events.send import send_event
from celery_defer.events.woken import Woken

__all__ = [
    "Event",
    "Received",
    "Woken",
    "kept_for",
    "received",
    "send_event",
    "typed",
    "unique",
    "wanted",
]
