"""Celery's JSON, which knows more types than JSON has: what arguments in a message are made of."""

from kombu.utils import json

dumps, loads = json.dumps, json.loads
