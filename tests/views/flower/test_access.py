"""Who may see the Deferred tab, and who may press its buttons: as in Flower itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery

from celery_defer import Defer
from celery_defer.ids import run_id
from celery_defer.store import RunState, Store
from tests.support.flower import Flower, Visitor
from tests.support.processes import ROOT
from tests.support.redis import Server
from tests.support.redis import running as running_redis
from tests.views.flower.conftest import SHOP, env_of
from tests.views.flower.runs import Call, add_experiment, add_run

pytestmark = pytest.mark.worker

ADA = ("ada", "secret")
PATHS = ("", "/waiting", "/limits", "/outbox", "/run/nobody")


@contextmanager
def running(server: Server, *options: str, prefix: str = "", **env: str) -> Iterator[Flower]:
    with Flower(SHOP, *options, env=env_of(server, **env), prefix=prefix) as flower:
        yield flower


@pytest.fixture
def parent(records: Store) -> str:
    return add_run(records, "shop.process_order", [Call("receipt", state=RunState.PUBLISHED)])


def abort(visitor: Visitor, parent: str, **headers: str) -> int:
    """Press the button without having seen it; return the status."""
    fields = {"parent": parent, "defer_id": "receipt", "sure": "yes"}
    return visitor.post("/deferred/do/abort", data=fields, headers=headers).status_code


def test_a_password_is_asked_for(server: Server, parent: str) -> None:
    with running(server, "--basic_auth=ada:secret") as flower:
        with flower.visitor() as stranger:
            for path in PATHS:
                stranger.page(f"/deferred{path}", status=401)
            assert abort(stranger, parent) in (401, 403)
            assert stranger.post("/deferred/switch").status_code in (401, 403)
        with flower.visitor(auth=ADA) as ada:
            child = f"/deferred/run/{run_id(parent, 'receipt')}"
            assert ada.press(child, "abort").status_code == 200  # it asks
            assert ada.press(child, "abort", sure="yes").status_code == 303
            # A browser sends the password with whatever another site makes it send.
            assert abort(ada, parent) == 403
            assert abort(ada, parent, Origin="https://evil.example") == 403
            token = {"X-XSRFToken": ada.cookies["_xsrf"]}
            assert abort(ada, parent, **token) == 303
            assert abort(ada, parent, **token, **{"Sec-Fetch-Site": "cross-site"}) == 403


def test_who_has_not_signed_in_is_led_to_the_page_for_that(server: Server) -> None:
    options = ["--auth=ada@example.com", "--oauth2_key=k", "--oauth2_secret=s"]
    options += ["--oauth2_redirect_uri=http://localhost/login"]

    with running(server, *options) as flower, flower.visitor() as stranger:
        for path in PATHS:
            response = stranger.get(f"/deferred{path}")
            assert response.status_code == 302
            assert response.headers["location"].startswith("/login")


def test_where_nobody_is_asked_for_a_password_there_are_no_buttons(
    server: Server, parent: str
) -> None:
    with running(server) as flower, flower.visitor() as visitor:
        page = visitor.page(f"/deferred/run/{run_id(parent, 'receipt')}")
        token = {"X-XSRFToken": visitor.cookies["_xsrf"]}

        assert "/deferred/do/" not in page
        assert "Flower asks nobody for a password" in page
        assert abort(visitor, parent, **token) == 403
        assert "/deferred/do/" not in visitor.page("/deferred/waiting")


def test_a_flower_that_only_reads_changes_nothing(server: Server, parent: str) -> None:
    options = ["--read_only", "--basic_auth=ada:secret"]

    with running(server, *options) as flower, flower.visitor(auth=ADA) as ada:
        page = ada.page(f"/deferred/run/{run_id(parent, 'receipt')}")
        token = {"X-XSRFToken": ada.cookies["_xsrf"]}

        assert "--read-only" in page
        assert abort(ada, parent, **token) == 403


def test_a_button_needs_the_token_of_its_page_even_in_an_open_flower(
    visitor: Visitor, parent: str
) -> None:
    visitor.page("/deferred")

    assert abort(visitor, parent) == 403
    assert abort(visitor, parent, **{"X-XSRFToken": "2|0|0|0"}) == 403
    assert abort(visitor, parent, **{"X-XSRFToken": visitor.cookies["_xsrf"]}) == 303


def test_an_address_alone_changes_nothing(visitor: Visitor, parent: str) -> None:
    visitor.page(f"/deferred/do/abort?parent={parent}&defer_id=receipt&sure=yes", status=405)


def test_all_addresses_begin_with_the_prefix(server: Server, parent: str) -> None:
    child = f"/deferred/run/{run_id(parent, 'receipt')}"

    with (
        running(server, prefix="ops", FLOWER_UNAUTHENTICATED_API="true") as flower,
        flower.visitor() as visitor,
    ):
        pages = [visitor.page(path) for path in ("/deferred", "/deferred/waiting", "/tasks")]
        pages += [visitor.page("/deferred/outbox"), visitor.page(child)]
        addresses = re.findall(r'(?:href|action|src)="(/[^"]*)"', "".join(pages))

        assert {address.split("/")[1] for address in addresses} == {"ops"}
        visitor.page("/deferred/static/deferred.css")
        pressed = visitor.press(child, "abort", sure="yes")
        assert pressed.headers["location"] == f"/ops{child}"


def test_a_redis_user_who_only_reads_sees_all_pages_and_changes_nothing() -> None:
    with running_redis("--aclfile", str(ROOT / "examples/deploy/redis.acl")) as server:
        worker, reader = (
            server.url.replace("//", f"//{user}:secret@") for user in ("worker", "flower")
        )
        app = Celery("client", broker=worker, backend=worker, set_as_current=False)
        store = Defer(app).store
        assert store
        parent = add_run(store, "shop.process_order", [Call("receipt", state=RunState.PUBLISHED)])
        store.remember(run_id(parent, "receipt"), {"charge": b"a memo"}, 60)
        add_experiment(store, "checkout", ["a", "b"], 10)
        env = {"CELERY_BROKER_URL": reader, "CELERY_RESULT_BACKEND": reader}

        with (
            Flower(SHOP, env={**env, "FLOWER_UNAUTHENTICATED_API": "true"}) as flower,
            flower.visitor() as visitor,
        ):
            child = f"/deferred/run/{run_id(parent, 'receipt')}"
            top = f"/deferred/run/{parent}"
            lists = ("/deferred", "/deferred/waiting", "/deferred/outbox", "/deferred/experiments")
            for path in (*lists, "/deferred/experiment?id=checkout", child, top):
                visitor.page(path)
            response = visitor.press(child, "abort", sure="yes")

    assert response.status_code == 503
    assert "This has failed" in response.text
    assert "secret" not in response.text
