"""The settings of Flower for the shop: ``celery -A examples.shop.app flower --conf=...``."""

from celery_defer.views.flower import install

install()
