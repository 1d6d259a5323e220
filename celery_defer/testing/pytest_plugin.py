"""The pytest plugin by its former name."""

from _celery_defer_pytest import defer_simulation

__all__ = ["defer_simulation"]
