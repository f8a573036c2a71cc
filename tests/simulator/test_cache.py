from gateway.simulator import cache
from gateway.simulator.cache import InputUsage, PromptCache, count_input

MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
LONG = "word " * 100


def request(system_mark=None, text="Hello", **more):
    system = [{"type": "text", "text": LONG, **(system_mark or {})}]
    return {"model": "claude-x", "system": system, "messages": [{"role": "user", "content": text}], **more}


def account(store, body, now=0.0, credential="key"):
    return store.account(body, credential, now, marked=True)


def test_without_a_mark_everything_is_plain_input():
    body = request()
    assert PromptCache().account(body, "key", 0.0, marked=False) == InputUsage(count_input(body))
    assert account(PromptCache(), body).written == 0


def test_the_first_call_writes_and_the_later_ones_read():
    store = PromptCache()
    first, second = account(store, request(MARK)), account(store, request(MARK, text="Another question"))
    assert first.read == 0
    assert first.written_5m == second.read > 100
    assert second.written == 0
    assert second.plain > 0


def test_the_two_lifetimes_are_told_apart():
    store = PromptCache()
    assert account(store, request(HOUR)).written_1h > 100
    assert account(store, request(HOUR), now=3000.0).read > 100
    assert account(store, request(MARK, text="x"), now=9000.0).written_5m > 100
    assert account(store, request(MARK, text="x"), now=9301.0).read == 0


def test_use_renews_an_entry():
    store = PromptCache()
    account(store, request(MARK))
    assert account(store, request(MARK), now=250.0).read
    assert account(store, request(MARK), now=500.0).read


def test_a_longer_prefix_writes_only_what_is_new():
    store = PromptCache()
    first = account(store, request(MARK))
    turn = {"role": "user", "content": [{"type": "text", "text": LONG, **MARK}]}
    second = account(store, request(MARK) | {"messages": [turn]})
    assert second.read == first.written
    assert second.written_5m > 100


def test_moving_the_mark_forward_still_reads_the_old_prefix():
    store = PromptCache()
    first = account(store, request(MARK))
    turn = {"role": "user", "content": [{"type": "text", "text": LONG, **MARK}]}
    assert account(store, request() | {"messages": [turn]}).read == first.written


def test_automatic_caching_marks_the_last_block():
    store = PromptCache()
    body = request(cache_control={"type": "ephemeral"}, tools=[{"name": "a", "input_schema": {}}])
    first = account(store, body)
    assert first.plain == 0
    assert account(store, body).read == first.written


def test_caches_are_apart_by_model_and_credential():
    store = PromptCache()
    account(store, request(MARK))
    assert account(store, request(MARK), credential="other").read == 0
    assert account(store, request(MARK) | {"model": "claude-y"}).read == 0


def test_the_number_of_entries_is_bounded(monkeypatch):
    monkeypatch.setattr(cache, "_MAX_ENTRIES", 2)
    store = PromptCache()
    for text in ("a", "b", "c"):
        account(store, request(text=text, cache_control={"type": "ephemeral"}))
    assert account(store, request(text="a", cache_control={"type": "ephemeral"})).read == 0
    assert account(store, request(text="c", cache_control={"type": "ephemeral"})).read > 0
