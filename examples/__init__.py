"""Programs that use celery_defer, each small enough to read at a sitting."""
