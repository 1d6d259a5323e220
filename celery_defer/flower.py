"""The Deferred tab in Flower, for its configuration file."""

from celery_defer.views.flower import install

__all__ = ["install"]
