"""Which Redis keeps what is deferred, under which names, and for how long."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from redis.connection import SSLConnection
from redis.sentinel import SentinelConnectionPool

from celery_defer import Defer, SettingsError
from celery_defer.settings import Settings

DAY = 86_400.0


def store_of(app: Celery) -> Any:
    return Defer(app).store


def kwargs_of(app: Celery) -> Mapping[str, Any]:
    return store_of(app)._client.connection_pool.connection_kwargs  # type: ignore[no-any-return]


def where(**settings: Any) -> Any:
    """Return the database number of the store: each place in these tests has its own."""
    app = Celery("app", set_as_current=False)
    app.conf.update(settings)
    return kwargs_of(app)["db"] if store_of(app) else None


REDIS = "redis://localhost:6379"


@pytest.mark.parametrize(
    ("settings", "db"),
    [
        (
            {
                "defer_store_url": f"{REDIS}/1",
                "result_backend": f"{REDIS}/2",
                "broker_url": f"{REDIS}/3",
            },
            1,
        ),
        ({"result_backend": f"{REDIS}/2", "broker_url": f"{REDIS}/3"}, 2),
        ({"result_backend": "cache+memory://", "broker_url": f"{REDIS}/3"}, 3),
        ({"result_backend": "rpc://", "broker_url": f"{REDIS}/3"}, 3),
        ({"broker_url": f"{REDIS}/3"}, 3),
        ({"result_backend": f"{REDIS}/2", "broker_url": "amqp://"}, 2),
        ({"defer_store_url": f"{REDIS}/1", "broker_url": "amqp://"}, 1),
        ({"result_backend": "rpc://", "broker_url": "amqp://"}, None),
        ({"broker_url": "memory://"}, None),
        ({"result_backend": "db+sqlite://", "broker_url": "memory://"}, None),
        ({"broker_url": [f"{REDIS}/4", f"{REDIS}/5"]}, 4),
        ({"broker_write_url": f"{REDIS}/6", "broker_read_url": f"{REDIS}/7"}, 6),
    ],
)
def test_the_store_is_the_first_redis_of_the_settings(settings: Any, db: int | None) -> None:
    assert where(**settings) == db


def test_a_brokers_password_is_the_stores() -> None:
    app = Celery("app", broker="redis://shop:p%40ss%2Fword@example.com:6380/3")

    kwargs = kwargs_of(app)

    assert (kwargs["username"], kwargs["password"]) == ("shop", "p@ss/word")
    assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("example.com", 6380, 3)


def test_a_broker_on_a_unix_socket_is_the_store() -> None:
    app = Celery("app", broker="redis+socket:///tmp/redis.sock?virtual_host=3")

    kwargs = kwargs_of(app)

    assert (kwargs["path"], kwargs["db"]) == ("/tmp/redis.sock", 3)


def test_a_brokers_tls_settings_are_the_stores() -> None:
    app = Celery("app", broker="rediss://example.com:6380/3")
    app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"}

    pool = store_of(app)._client.connection_pool

    assert pool.connection_class is SSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    assert pool.connection_kwargs["ssl_cert_reqs"] == ssl.CERT_REQUIRED


def test_a_broker_behind_sentinels_is_the_store() -> None:
    app = Celery("app", broker="sentinel://one:26379/3;sentinel://two:26379/3")
    app.conf.broker_transport_options = {"master_name": "shop"}

    pool = store_of(app)._client.connection_pool

    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "shop"
    hosts = [
        node.connection_pool.connection_kwargs["host"] for node in pool.sentinel_manager.sentinels
    ]
    assert hosts == ["one", "two"]


def test_a_backend_behind_sentinels_is_the_store() -> None:
    app = Celery("app", backend="sentinel://one:26379/3;sentinel://two:26379/3")
    app.conf.result_backend_transport_options = {"master_name": "shop"}

    assert store_of(app)._client.connection_pool.service_name == "shop"


@pytest.mark.parametrize(
    ("options", "settings", "prefix"),
    [
        ({}, {}, "celery-defer:"),
        ({}, {"defer_key_prefix": "shop:"}, "shop:"),
        ({"global_keyprefix": "team:"}, {}, "team:celery-defer:"),
        ({"global_keyprefix": "team:"}, {"defer_key_prefix": "shop:"}, "team:shop:"),
    ],
)
def test_keys_begin_with_both_prefixes(options: Any, settings: Any, prefix: str) -> None:
    app = Celery("app", broker="amqp://", backend=f"{REDIS}/2")
    app.conf.update(settings, result_backend_transport_options=options)

    assert store_of(app)._prefix == prefix


def test_the_prefix_of_a_broker_that_is_the_store_counts_too() -> None:
    app = Celery("app", broker=f"{REDIS}/3")
    app.conf.broker_transport_options = {"global_keyprefix": "team:"}

    assert store_of(app)._prefix == "team:celery-defer:"


@pytest.mark.parametrize("url", ["valkey://localhost", "amqp://", "localhost:6379", "http://x"])
def test_a_store_that_is_no_redis_is_refused_by_its_name(url: str) -> None:
    app = Celery("app", broker="memory://")
    app.conf.defer_store_url = url

    with pytest.raises(SettingsError, match="defer_store_url"):
        store_of(app)


def test_the_store_is_made_once() -> None:
    extension = Defer(Celery("app", broker=f"{REDIS}/3"))

    assert extension.store is extension.store


# -- how long --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, DAY),
        ({"result_expires": 60}, 60.0),
        ({"result_expires": timedelta(hours=1)}, 3600.0),
        ({"result_expires": None}, DAY),
        ({"result_expires": 0}, DAY),
        ({"result_expires": 60, "defer_result_expires": 120}, 120.0),
        ({"defer_result_expires": timedelta(minutes=3)}, 180.0),
    ],
)
def test_results_expire_as_celerys_do(settings: Any, seconds: float) -> None:
    app = Celery("app")
    app.conf.update(settings)

    assert Defer(app).settings.result_expires == seconds


@pytest.mark.parametrize("value", [-1, float("inf"), "soon"])
def test_an_impossible_expiry_is_refused(value: Any) -> None:
    app = Celery("app")
    app.conf.defer_result_expires = value

    with pytest.raises(SettingsError, match="setting defer_result_expires"):
        Defer(app).settings  # noqa: B018


@pytest.mark.parametrize(
    ("expires", "lasting", "ended"),
    [(60, 7 * DAY, DAY), (DAY, 7 * DAY, DAY), (30 * DAY, 30 * DAY, 30 * DAY)],
)
def test_records_and_steps_outlast_short_results(
    expires: float, lasting: float, ended: float
) -> None:
    settings = Settings(result_expires=expires)

    assert settings.outbox_keeps == settings.run_keeps == lasting
    assert settings.end_keeps == ended


@pytest.mark.parametrize("name", ["defer_grace", "defer_relay_interval"])
@pytest.mark.parametrize("value", [0, -1, "long"])
def test_the_relays_times_are_more_than_nothing(name: str, value: Any) -> None:
    app = Celery("app")
    app.conf[name] = value

    with pytest.raises(SettingsError, match=f"setting {name} = "):
        Defer(app).settings  # noqa: B018
