"""Who asks: where the key may stand, what guessing costs, and who is still let in later."""

from __future__ import annotations

import time

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.core.errors import InvalidRequest
from gateway.core.keys import new_key
from gateway.web.authenticate import credential_of
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import answer, scripted_upstream

CHAT = "/api/chat/stream"
MODELS = "/v1/models"
NO_MODELS = answer(200, b'{"data":[]}')


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


def guess() -> str:
    """A key with a right checksum that nobody made."""
    return new_key(lambda size: time.monotonic_ns().to_bytes(8, "big") * (size // 8 + 1)).text


def _credential(*headers: tuple[str, str]) -> str | None:
    return credential_of(make_mocked_request("GET", "/", headers=[*headers]))


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([("Authorization", "Bearer a")], "a"),
        ([("authorization", "bearer   a ")], "a"),
        ([("x-api-key", " a ")], "a"),
        ([("x-api-key", "a"), ("Authorization", "Bearer a")], "a"),
        ([("x-api-key", "a"), ("X-Api-Key", "a")], "a"),
        ([("Authorization", "Basic dXNlcg=="), ("x-api-key", "a")], "a"),
        ([("Authorization", "Basic dXNlcg=="), ("Authorization", "Bearer a")], "a"),
        ([("Authorization", "Bearer")], None),
        ([("Authorization", ""), ("x-api-key", "")], None),
        ([("Authorization", "Bearer a b")], "a b"),
    ],
)
def test_the_key_is_found_wherever_clients_put_it(headers, found):
    assert _credential(*headers) == found


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", "a"), ("Authorization", "Bearer b")],
        [("x-api-key", "a"), ("x-api-key", "b")],
        [("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
    ],
)
def test_two_different_keys_are_refused_for_nobody_knows_which_one_counts(headers):
    with pytest.raises(InvalidRequest, match="Two different API keys"):
        _credential(*headers)


async def _status(caller, key: str | None, path: str = MODELS, **headers: str) -> int:
    sent = {"Authorization": f"Bearer {key}"} if key else {"Authorization": ""}
    async with caller.get(path, **sent, **headers) as response:
        return response.status


async def test_guessing_is_refused_per_address_and_keys_in_use_go_on(shop):
    """Whoever shares an address with an attacker keeps working; a key that was not seen yet has to wait."""
    server = {"trusted_proxies": ["127.0.0.1"]}
    async with (
        scripted_upstream(NO_MODELS) as claude,
        shop(claude, server=server, keys={"failures_per_minute": 3}) as (caller, outcomes),
    ):
        here, elsewhere = {"X-Forwarded-For": "2001:db8::1"}, {"X-Forwarded-For": "2001:db8:1::1"}
        assert await _status(caller, caller.key, **here) == 200
        for key in (guess(), "nonsense", "sk-ant-api03-x"):
            assert await _status(caller, key, **here) == 401
        assert await _status(caller, guess(), **here) == 429
        assert await _status(caller, guess(), **{"X-Forwarded-For": "2001:db8::ffff"}) == 429
        assert await _status(caller, caller.key, **here) == 200
        fresh = caller.gateway.store.create_key("acme", caller.gateway.peppers)[1].text
        assert await _status(caller, fresh, **here) == 429
        assert await _status(caller, fresh, **elsewhere) == 200
        assert await _status(caller, fresh, **here) == 200
        throttled = [o for o in outcomes.all if o.status == 429]
    assert {(o.error_code, o.error_origin, o.kind, o.tenant) for o in throttled} == {
        ("too_many_failed_authentications", "client", "refused", "")
    }


async def test_asking_without_a_key_is_no_guess(shop):
    async with scripted_upstream(NO_MODELS) as claude, shop(claude, keys={"failures_per_minute": 1}) as (caller, _):
        assert [await _status(caller, None) for _ in range(4)] == [401] * 4
        assert await _status(caller, caller.key) == 200


async def test_a_suspended_tenant_is_told_so_only_with_its_genuine_key_and_is_no_guess(shop):
    async with scripted_upstream(NO_MODELS) as claude, shop(claude, keys={"failures_per_minute": 2}) as (caller, _):
        caller.gateway.store.suspend("acme")
        assert [await _status(caller, caller.key) for _ in range(4)] == [403] * 4
        forged = caller.key[:-7] + ("0" if caller.key[-7] != "0" else "1") + caller.key[-6:]
        assert await _status(caller, forged) == 401


async def test_a_valid_key_is_read_from_the_database_once(shop):
    async with scripted_upstream(NO_MODELS) as claude, shop(claude, keys={"refresh": "4s"}) as (caller, _):
        assert await _status(caller, caller.key) == 200
        directory = caller.gateway.services.directory
        reads = []
        directory._source = _Counting(directory._source, reads)
        for _ in range(5):
            assert await _status(caller, caller.key) == 200
        assert [keys for keys in reads if keys] == []


class _Counting:
    """The store, with the keys that each read asked for."""

    def __init__(self, store, reads) -> None:
        self._store = store
        self._reads = reads

    def read(self, since, key_ids, tenant_names):
        self._reads.append(list(key_ids))
        return self._store.read(since, key_ids, tenant_names)


@pytest.mark.parametrize("change", ["revoke", "suspend"])
async def test_who_is_shut_out_while_the_body_comes_is_not_let_through(shop, change):
    async with scripted_upstream() as claude, shop(claude, keys={"refresh": "10ms"}) as (caller, _):
        services, store = caller.gateway.services, caller.gateway.store
        sent = request_bytes("POST", CHAT, f"x-api-key: {caller.key}", body=b'{"message":"hi"}')
        async with connected(caller.gateway.url, sent[:-3]) as raw:
            await eventually(lambda: services.directory.cached(caller.key, time.time()) is not None)
            if change == "revoke":
                store.revoke(caller.key.split("_")[1], cut_streams=True)
            else:
                store.suspend("acme", cut_streams=True)
            await eventually(lambda: services.directory.cached(caller.key, time.time()) is None)
            await raw.send(sent[-3:])
            status, _, _ = await raw.answer()
    assert status == {"revoke": 401, "suspend": 403}[change]
    assert not claude.requests


async def test_a_browser_whose_tenant_is_suspended_while_its_body_comes_is_not_let_through(shop):
    anonymous = [{"origins": ["https://shop.example"], "tenant": "shop", "plan": "default"}]
    async with (
        scripted_upstream() as claude,
        shop(claude, anonymous=anonymous, keys={"refresh": "10ms"}) as (caller, _),
    ):
        services, store = caller.gateway.services, caller.gateway.store
        sent = request_bytes("POST", CHAT, "Origin: https://shop.example", body=b'{"message":"hi"}')
        async with connected(caller.gateway.url, sent[:-3]) as raw:
            await eventually(lambda: len(services.streams) == 1)
            store.suspend("shop")
            await eventually(lambda: services.directory._anonymous["shop"].suspended_at is not None)
            await raw.send(sent[-3:])
            status, _, _ = await raw.answer()
    assert status == 403
    assert not claude.requests
