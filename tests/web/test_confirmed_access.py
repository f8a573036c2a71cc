"""Access that ends while the body of a request is on the way: whoever is cut off then is not served."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected
from tests.support.scripted_upstream import scripted_upstream

PATH = "/api/chat/stream"
BODY = b'{"message":"Hi"}'
ORIGIN = "https://shop.example"


@asynccontextmanager
async def let_in(caller, *headers: str):
    """Send a request up to its body, so that it has been authenticated and waits."""
    lines = [f"POST {PATH} HTTP/1.1", "host: g", "expect: 100-continue", "connection: close", *headers]
    head = "\r\n".join([*lines, f"content-length: {len(BODY)}", "", ""]).encode()
    async with connected(caller.gateway.url, head) as raw:
        # With the key in memory nothing is awaited between this and the wait for the body.
        assert await raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        yield raw


async def warm(caller) -> None:
    async with caller.post(PATH, {"message": "Hi"}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [("suspend", 403, "tenant_suspended"), ("revoke", 401, "unauthenticated")],
)
async def test_a_key_cut_off_while_the_body_is_on_the_way_is_not_served(tmp_path, change, status, code):
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url)) as caller:
        await warm(caller)
        async with let_in(caller, f"x-api-key: {caller.key}") as raw:
            store = caller.gateway.store
            if change == "suspend":
                store.suspend("acme", cut_streams=True)
            else:
                store.revoke(store.list_keys("acme")[0].id, cut_streams=True)
            assert await caller.gateway.services.directory.synchronise()
            await raw.send(BODY)
            got, _, body = await raw.answer()
        assert len(claude.requests) == 1
        assert len(caller.gateway.services.streams) == 0
    assert got == status
    assert json.loads(body)["code"] == code


async def test_an_anonymous_tenant_suspended_while_the_body_is_on_the_way_is_not_served(tmp_path):
    mapping = [{"origins": [ORIGIN], "tenant": "shop"}]
    config = configuration(tmp_path, "http://127.0.0.1:1", anonymous=mapping)
    async with serving(config) as caller, let_in(caller, f"origin: {ORIGIN}") as raw:
        caller.gateway.store.suspend("shop", cut_streams=True)
        assert await caller.gateway.services.directory.synchronise()
        await raw.send(BODY)
        status, _, body = await raw.answer()
    assert status == 403
    assert json.loads(body)["code"] == "tenant_suspended"


async def test_a_key_that_was_only_forgotten_meanwhile_is_looked_up_again(tmp_path):
    config_of = {"keys": {"cache_size": 1}}
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url, **config_of)) as caller:
        await warm(caller)
        async with let_in(caller, f"x-api-key: {caller.key}") as raw:
            _, other = caller.gateway.store.create_key("acme", caller.gateway.peppers)
            async with caller.post(PATH, {"message": "Hi"}, authorization=f"Bearer {other.text}") as response:
                assert response.status == 200
            await raw.send(BODY)
            status, _, _ = await raw.answer()
    assert status == 200


async def test_a_refused_request_gives_back_what_it_held(tmp_path):
    plans = {"default": {"concurrent_streams": 1}}
    async with scripted_upstream() as claude, serving(configuration(tmp_path, claude.url, plans=plans)) as caller:
        await warm(caller)
        async with let_in(caller, f"x-api-key: {caller.key}") as raw:
            caller.gateway.store.suspend("acme")
            await caller.gateway.services.directory.synchronise()
            await raw.send(BODY)
            assert (await raw.answer())[0] == 403
        caller.gateway.store.resume("acme")
        await caller.gateway.services.directory.synchronise()
        await warm(caller)
        assert caller.gateway.services.bodies.used == 0
        assert not caller.gateway.services.streams.running
        assert not caller.gateway.services.streams.holds
