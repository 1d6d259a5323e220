"""Messages to Celery's broker, many at once."""
