"""The Deferred tab in Flower."""

from celery_defer.views.flower.install import install

__all__ = ["install"]
