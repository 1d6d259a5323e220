"""The settings of Flower for the shop: ``celery -A examples.shop.app flower --conf=...``."""

from celery_defer.flower import install

install()
