"""Messages to Celery's broker, many at once."""

from celery_defer.broker.delivery import Delivery
from celery_defer.broker.message import Message
from celery_defer.broker.pool import MainConnections
from celery_defer.broker.publish import capture, is_there, send
from celery_defer.broker.redelivery import marks_redelivery

__all__ = [
    "Delivery",
    "MainConnections",
    "Message",
    "capture",
    "is_there",
    "marks_redelivery",
    "send",
]
