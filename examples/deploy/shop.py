"""The app that these files deploy; put your own in its place."""

import os

from celery import Celery
from health import Health

from celery_defer import Defer, defer, deferred, step

app = Celery("shop", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_BACKEND"])
app.conf.update(
    # A worker that is killed loses no run: another one gets its message.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # On Redis, after so many seconds: more than your longest turn takes.
    broker_transport_options={"visibility_timeout": 1800},
    # A worker holds no message that another one could run.
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)
app.steps["consumer"].add(Health)
Defer(app)


@deferred
@app.task
def send_receipt(order_id: int, email: str) -> str:
    step.sleep("cool down", "1s")
    return f"receipt {order_id} to {email}"


@app.task
def process_order(order_id: int, email: str) -> int:
    defer("receipt", send_receipt, order_id=order_id, email=email)
    return order_id
