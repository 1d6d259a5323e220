"""The app of the Flowers under test: ``celery -A tests.views.flower.shop flower``.

The environment says where its broker and its results are: CELERY_BROKER_URL, CELERY_RESULT_BACKEND.
"""

from __future__ import annotations

from celery import Celery

from celery_defer import Defer

app = Celery("shop", set_as_current=False)
app.conf.broker_transport_options = {"socket_timeout": 2}
Defer(app)
