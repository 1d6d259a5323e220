"""Celery's JSON, in which arguments are written; it has more types than JSON."""

from kombu.utils import json

dumps, loads = json.dumps, json.loads
