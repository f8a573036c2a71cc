"""Changing tenants and keys: what each change does, what it refuses, and what it leaves behind."""

from __future__ import annotations

import pytest

from gateway.core.keys import Peppers, parse_key
from gateway.core.quota.grants import Grant
from gateway.database.errors import DatabaseFailed, Refused
from gateway.identity.records import TenantRow
from gateway.identity.store import Store

from .conftest import NOON

HOUR = 3600.0


@pytest.fixture
def shop(store):
    return store.create_tenant("shop")


def test_a_tenant_is_made_with_its_plan_and_listed_by_name(store):
    store.create_tenant("b", "gold")
    store.create_tenant("a")
    assert store.list_tenants() == [TenantRow("a", "default", NOON, None, 0), TenantRow("b", "gold", NOON, None, 0)]


def test_one_tenant_is_found_by_its_name(store, shop):
    assert store.fetch_tenant("shop") == shop
    with pytest.raises(Refused, match="there is no tenant 'shp'; did you mean shop"):
        store.fetch_tenant("shp")


def test_what_was_done_to_something_else_is_in_the_audit_too(store):
    store.record("usage.prune", "2025-11-24", requests=3)
    [row] = store.audit()
    assert (row.actor, row.action, row.target, row.details) == (
        "cli:ada", "usage.prune", "2025-11-24", {"requests": 3}
    )  # fmt: skip


def test_a_name_that_is_taken_is_refused(store, shop):
    with pytest.raises(Refused, match="tenant 'shop' exists already"):
        store.create_tenant("shop")
    assert len(store.audit()) == 1


@pytest.mark.parametrize("name", ["", "Shop", "-shop", ".shop", "a b", "a/b", "ä", "a" * 64, "shop\n"])
@pytest.mark.parametrize("method", [Store.create_tenant, Store.ensure_tenant])
def test_a_malformed_name_is_refused(store, name, method):
    with pytest.raises(Refused, match="is not a name for a tenant: 1 to 63"):
        method(store, name)
    assert store.revision() == 0


def test_a_tenant_that_the_configuration_names_is_made_once(store):
    made = store.ensure_tenant("browsers", "small")
    assert store.ensure_tenant("browsers", "other") == made
    assert [row.action for row in store.audit()] == ["tenant.create"]


def test_suspending_and_resuming_change_the_tenant_once_each(store, shop, clock):
    clock.now += 5
    assert store.suspend("shop").suspended_at == NOON + 5
    clock.now += 5
    assert store.suspend("shop").suspended_at == NOON + 5
    assert store.resume("shop").suspended_at is None
    assert store.resume("shop").suspended_at is None
    assert [row.action for row in store.audit()] == ["tenant.create", "tenant.suspend", "tenant.resume"]


def test_a_grant_is_kept_with_its_tenant_until_it_is_replaced_or_over(store, shop, clock):
    store.grant("shop", {"usd_per_day": 5.0, "requests_per_day": 9}, NOON + 100)
    granted = store.grant("shop", {"usd_per_day": 7.5}, NOON + 50).grants
    assert granted == (Grant("requests_per_day", 9, NOON + 100), Grant("usd_per_day", 7.5, NOON + 50))
    assert store.fetch_tenant("shop").grants == store.list_tenants()[0].grants == granted
    clock.now += 60
    assert store.grant("shop", {"requests_per_day": 0}, 0).grants == ()
    assert [row.details for row in store.audit()[1:]] == [
        {"limits": {"usd_per_day": 5.0, "requests_per_day": 9}, "until": NOON + 100},
        {"limits": {"usd_per_day": 7.5}, "until": NOON + 50},
        {"limits": {"requests_per_day": 0}, "until": 0},
    ]
    (changed,) = store.read(store.revision() - 1).tenants
    assert changed.name == "shop"


def test_a_grant_that_would_have_ended_is_refused(store, shop):
    with pytest.raises(Refused, match="would have ended already"):
        store.grant("shop", {"usd_per_day": 5.0}, NOON)
    assert store.fetch_tenant("shop").grants == ()


def test_streams_can_be_cut_of_a_tenant_already_suspended(store, shop):
    assert store.suspend("shop").cut_at == 0
    cut = store.suspend("shop", cut_streams=True)
    assert (cut.cut_at, cut.suspended_at) == (store.revision(), NOON)
    again = store.suspend("shop", cut_streams=True)
    assert again.cut_at == cut.cut_at + 1


@pytest.mark.parametrize("method", ["suspend", "resume", "list_keys"])
def test_an_unknown_tenant_is_refused_with_the_nearest_names(store, method):
    for name in ("shop", "shop-eu", "bank"):
        store.create_tenant(name)
    with pytest.raises(Refused, match="there is no tenant 'shopp'; did you mean shop or shop-eu"):
        getattr(store, method)("shopp")
    with pytest.raises(Refused, match="there is no tenant 'zzz'; `tokenweir tenants list`"):
        getattr(store, method)("zzz")


def test_a_key_is_handed_out_once_and_only_its_hash_is_kept(store, shop, peppers):
    row, key = store.create_key("shop", peppers, plan="small", expires_at=NOON + HOUR)
    assert parse_key(key.text) == key
    assert (row.id, row.tenant, row.plan, row.expires_at) == (key.id, "shop", "small", NOON + HOUR)
    assert peppers.verify(key, row.pepper_version, row.hash)
    assert store.fetch_key(key.id) == row
    assert repr(row.hash) not in repr(row)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_secret_of_a_key_is_nowhere_on_the_disk(store, shop, peppers, tmp_path):
    key = store.create_key("shop", peppers)[1]
    on_disk = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    assert key.id.encode() in on_disk
    assert key.text[16:].encode() not in on_disk


def test_a_key_is_refused_to_an_unknown_or_suspended_tenant_and_for_a_time_that_passed(store, shop, peppers):
    with pytest.raises(Refused, match="there is no tenant 'shp'"):
        store.create_key("shp", peppers)
    with pytest.raises(Refused, match="expired already"):
        store.create_key("shop", peppers, expires_at=NOON)
    store.suspend("shop")
    with pytest.raises(Refused, match="'shop' is suspended; resume it first"):
        store.create_key("shop", peppers)
    assert store.list_keys() == []


def test_keys_are_listed_of_one_tenant_or_of_all(store, shop, peppers, clock):
    store.create_tenant("bank")
    first = store.create_key("shop", peppers)[0]
    clock.now += 1
    second = store.create_key("shop", peppers)[0]
    other = store.create_key("bank", peppers)[0]
    assert store.list_keys() == [other, first, second]
    assert store.list_keys("shop") == [first, second]


def test_revoking_is_for_good_and_counted_once(store, shop, peppers, clock):
    key_id = store.create_key("shop", peppers)[0].id
    revoked = store.revoke(key_id)
    assert (revoked.revoked_at, revoked.cut_at, revoked.ended(clock.now)) == (NOON, 0, True)
    before = store.revision()
    clock.now += 1
    assert store.revoke(key_id) == revoked
    assert store.revision() == before
    cut = store.revoke(key_id, cut_streams=True)
    assert (cut.revoked_at, cut.cut_at) == (NOON, before + 1)


def test_an_id_that_is_unknown_or_no_id_is_refused_without_being_repeated(store):
    with pytest.raises(Refused, match="there is no key abcdefghijkl"):
        store.revoke("abcdefghijkl")
    with pytest.raises(Refused, match="that is not the id of a key") as refused:
        store.fetch_key("tw_something-secret")
    assert "secret" not in str(refused.value)


def test_rotation_makes_a_successor_with_as_long_a_life_and_lets_the_old_key_run_out(store, shop, peppers, clock):
    old = store.create_key("shop", peppers, plan="small", expires_at=NOON + 10 * HOUR)[0]
    clock.now += 4 * HOUR
    row, key = store.rotate(old.id, peppers, overlap=HOUR)
    assert (row.tenant, row.plan, row.rotated_from) == ("shop", "small", old.id)
    assert row.expires_at == clock.now + 10 * HOUR
    assert peppers.verify(key, row.pepper_version, row.hash)
    replaced = store.fetch_key(old.id)
    assert (replaced.expires_at, replaced.replaced_by) == (clock.now + HOUR, row.id)
    assert not replaced.ended(clock.now + HOUR - 1)
    assert replaced.ended(clock.now + HOUR)


def test_rotation_never_lengthens_the_old_key_and_keeps_an_endless_one_endless(store, shop, peppers):
    old = store.create_key("shop", peppers, expires_at=NOON + 60)[0]
    store.rotate(old.id, peppers, overlap=HOUR)
    assert store.fetch_key(old.id).expires_at == NOON + 60
    endless = store.create_key("shop", peppers)[0]
    assert store.rotate(endless.id, peppers)[0].expires_at is None
    assert store.fetch_key(endless.id).expires_at == NOON


def test_a_key_that_has_ended_or_was_rotated_or_whose_tenant_is_suspended_is_not_rotated(store, shop, peppers, clock):
    rotated, revoked, live = (store.create_key("shop", peppers)[0].id for _ in "abc")
    expired = store.create_key("shop", peppers, expires_at=NOON + 1)[0].id
    successor = store.rotate(rotated, peppers)[0].id
    store.revoke(revoked)
    store.suspend("shop")
    clock.now += 1
    before = store.revision()
    for key_id, why in (
        (rotated, f"was rotated already, to {successor}"),
        (revoked, "is revoked"),
        (expired, "has expired"),
        (live, "tenant 'shop' is suspended"),
    ):
        with pytest.raises(Refused, match=why):
            store.rotate(key_id, peppers)
    assert store.revision() == before


def test_every_change_leaves_who_what_and_when_and_no_secret(store, engine, shop, peppers, clock):
    row, _key = store.create_key("shop", peppers, plan="small", expires_at=NOON + HOUR)
    clock.now += 1
    new, _ = store.rotate(row.id, peppers, overlap=60)
    store.revoke(new.id, cut_streams=True)
    Store(engine, actor="cli:bob", clock=clock).suspend("shop", cut_streams=True)
    store.resume("shop")
    end = clock.now + 60
    assert [(entry.at - NOON, entry.actor, entry.action, entry.target, entry.details) for entry in store.audit()] == [
        (0, "cli:ada", "tenant.create", "shop", {"plan": "default"}),
        (0, "cli:ada", "key.create", row.id, {"tenant": "shop", "plan": "small", "expires_at": NOON + HOUR}),
        (
            1,
            "cli:ada",
            "key.rotate",
            new.id,
            {"tenant": "shop", "plan": "small", "expires_at": clock.now + HOUR, "rotated_from": row.id},
        ),
        (1, "cli:ada", "key.replace", row.id, {"tenant": "shop", "expires_at": end, "replaced_by": new.id}),
        (1, "cli:ada", "key.revoke", new.id, {"tenant": "shop", "cut_streams": True}),
        (1, "cli:bob", "tenant.suspend", "shop", {"cut_streams": True}),
        (1, "cli:ada", "tenant.resume", "shop", {}),
    ]
    assert store.revision() == len(store.audit())


def test_a_change_whose_audit_cannot_be_written_does_not_happen(engine, shop):
    nameless = Store(engine, actor=None)
    with pytest.raises(DatabaseFailed, match=r"(?i)not.null"):
        nameless.suspend("shop")
    assert nameless.list_tenants()[0].suspended_at is None


def test_a_read_returns_what_is_named_and_what_changed_since(store, shop, peppers):
    store.create_tenant("bank")
    named = store.create_key("shop", peppers)[0]
    since = store.revision()
    changed = store.create_key("bank", peppers)[0]
    store.suspend("bank")
    changes = store.read(since, [named.id, "unknown00000"], ["nobody"])
    assert {key.id for key in changes.keys} == {named.id, changed.id}
    assert {tenant.name for tenant in changes.tenants} == {"shop", "bank"}
    assert changes.revision == store.revision()
    assert store.read(None).keys == store.read(changes.revision).keys == ()


def test_a_read_of_more_ids_than_a_statement_takes(store, shop, peppers):
    key_id = store.create_key("shop", peppers)[0].id
    changes = store.read(None, [f"{number:012}" for number in range(1200)] + [key_id])
    assert [key.id for key in changes.keys] == [key_id]


def test_looking_for_news_is_one_statement_while_there_are_none(store, shop, statements):
    store.read(store.revision())
    assert [text for text in statements if not text.startswith("BEGIN")][1:] == [
        "SELECT revision.number \nFROM revision"
    ]


def test_a_rotated_pepper_serves_old_and_new_keys(store, shop, peppers):
    old_row, old_key = store.create_key("shop", peppers)
    both = Peppers.parse("1:first-pepper-0123456789,2:second-pepper-0123456789")
    row, key = store.create_key("shop", both)
    assert (old_row.pepper_version, row.pepper_version) == (1, 2)
    assert both.verify(old_key, 1, old_row.hash)
    assert both.verify(key, 2, row.hash)
    assert store.pepper_problems(both) == []


def test_another_pepper_under_a_used_version_makes_no_keys_and_is_told_at_start(store, shop, peppers):
    key_id = store.create_key("shop", peppers)[0].id
    other = Peppers.parse("other-pepper-0123456789")
    with pytest.raises(Refused, match="another pepper of version 1; restore that one"):
        store.create_key("shop", other)
    assert [problem[:40] for problem in store.pepper_problems(other)] == ["1 live key(s) were made with another pep"]
    assert len(store.pepper_problems(Peppers.parse("2:other-pepper-0123456789"))) == 1
    store.revoke(key_id)
    assert store.pepper_problems(other) == []
