"""Celery's JSON, which knows more types than JSON has: what arguments in a message are made of."""

from kombu.utils.json import dumps, loads

__all__ = ["dumps", "loads"]
