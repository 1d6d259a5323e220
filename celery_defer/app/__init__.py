"""``Defer(app)``: where Celery's tracer, worker and signals are met."""
