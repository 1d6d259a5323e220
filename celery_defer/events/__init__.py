"""Named payloads, sent from anywhere, that waiting runs receive."""

from celery_defer.events.event import Event, Received, received, typed, wanted
from celery_defer.events.send import send_event

__all__ = ["Event", "Received", "received", "send_event", "typed", "wanted"]
