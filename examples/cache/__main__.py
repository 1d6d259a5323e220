"""``python -m examples.cache``: two new prices, one of which is refused; on a real worker."""

from __future__ import annotations

from celery_defer import run_id
from examples.cache.app import app, change_price, page, prices
from examples.program import program
from examples.worker import running_worker


def main() -> None:
    with program(app) as url, running_worker(app, "examples.cache.app", CACHE_REDIS_URL=url):
        prices.put("teapot", "19")
        print(page("teapot"), page("teapot"), sep="\n")

        refused = change_price.delay("teapot", "-1")
        refused.get(timeout=20, propagate=False)
        print(f"\nA price of -1: {refused.state}, {refused.result}")
        print(page("teapot"))

        changed = change_price.delay("teapot", "21")
        changed.get(timeout=20)
        app.AsyncResult(run_id(changed.id, "page")).get(timeout=20)
        print(f"\nA price of 21: {changed.state}; the deferred run has dropped the page")
        print(page("teapot"), page("teapot"), sep="\n")


if __name__ == "__main__":
    main()
