"""What a plan allows; several plans restrict together."""

from __future__ import annotations

import pytest

from gateway.core.call import Restrictions
from gateway.core.errors import Forbidden, InvalidRequest, ModelNotAllowed, ThreadsNotOffered
from gateway.core.plans import Plan
from gateway.core.restrictions import (
    check_account_resources,
    check_betas,
    check_max_tokens,
    check_model,
    check_other_models,
    restrictions_of,
    whole_number,
)

HAIKU = Restrictions(models=(("claude-haiku-*",),), max_output_tokens=100)
CLOSED = Restrictions(account_resources=False)


def test_plans_are_joined_the_narrowest_wins():
    narrow = Plan(models=("claude-haiku-*",), betas=("a-*",), max_output_tokens=5, account_resources=True)
    wide = Plan(models=("claude-*",), max_output_tokens=9)
    assert restrictions_of(narrow, wide) == Restrictions(
        models=(("claude-haiku-*",), ("claude-*",)),
        betas=(("a-*",),),
        max_output_tokens=5,
        account_resources=False,
        unbounded=False,
    )
    assert restrictions_of(Plan(account_resources=True, allow_unbounded=True)) == Restrictions()
    assert restrictions_of() == Restrictions()


@pytest.mark.parametrize(
    ("plans", "model", "allowed"),
    [
        ([], "claude-x", True),
        ([Plan()], "claude-x", True),
        ([Plan(models=("claude-haiku-*", "claude-opus-4-5"))], "claude-haiku-4-5", True),
        ([Plan(models=("claude-haiku-*", "claude-opus-4-5"))], "claude-opus-4-5", True),
        ([Plan(models=("claude-haiku-*", "claude-opus-4-5"))], "claude-opus-4-5-20251101", False),
        ([Plan(models=("claude-*",)), Plan(models=("claude-haiku-*",))], "claude-haiku-4-5", True),
        ([Plan(models=("claude-*",)), Plan(models=("claude-haiku-*",))], "claude-opus-4-5", False),
        ([Plan(models=("claude-haiku-*",)), Plan()], "claude-opus-4-5", False),
        ([Plan(models=("Claude-*",))], "claude-opus-4-5", False),
        ([Plan(models=())], "claude-opus-4-5", False),
    ],
)
def test_a_model_is_allowed_if_every_plan_that_lists_models_allows_it(plans, model, allowed):
    restrictions = restrictions_of(*plans)
    if allowed:
        check_model(model, restrictions)
        return
    with pytest.raises(ModelNotAllowed, match=rf"'{model}'\. Allowed: "):
        check_model(model, restrictions)


def test_a_refusal_says_what_is_allowed():
    with pytest.raises(ModelNotAllowed, match=r"Allowed: a, b and none\.$"):
        check_model("c", Restrictions(models=(("a", "b"), ())))


@pytest.mark.parametrize("header", ["", "files-1", "files-1,cache-2", " files-1 , ,cache-2,"])
def test_betas_of_the_plan_pass(header):
    check_betas(header, Restrictions(betas=(("files-*", "cache-*"), ("*",))))


@pytest.mark.parametrize("header", ["computer-3", "files-1,computer-3", "files-1, computer-3", "FILES-1", "files"])
def test_one_beta_that_is_not_in_the_plan_is_enough(header):
    with pytest.raises(Forbidden, match="does not include the beta"):
        check_betas(header, Restrictions(betas=(("files-*", "cache-*"),)))


def test_max_tokens_may_reach_the_plans_limit_and_not_pass_it():
    check_max_tokens(100, HAIKU)
    check_max_tokens(10**30, Restrictions())
    with pytest.raises(InvalidRequest, match=r"^max_tokens: 101 is over your plan's max_output_tokens of 100\.$"):
        check_max_tokens(101, HAIKU)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"fallbacks": None, "tools": None},
        {"fallbacks": 7, "tools": "all"},
        {"fallbacks": [{"model": "claude-haiku-4-5"}, {"model": "claude-haiku-5-5", "max_tokens": 100}, "x"]},
        {"fallbacks": [{"model": "claude-haiku-4-5", "max_tokens": None}]},
        {"tools": [{"name": "f", "input_schema": {"properties": {"model": {"type": "string"}}}}, None]},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-haiku-4-5"}]},
    ],
)
def test_other_models_that_are_in_the_plan_pass(fields):
    check_other_models(fields, HAIKU)


@pytest.mark.parametrize(
    "fields",
    [
        {"fallbacks": "default"},
        {"fallbacks": [{"model": "claude-haiku-4-5"}, {"model": "claude-opus-5-5"}]},
        {"fallbacks": [{"model": ["claude-haiku-4-5"]}]},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5-5"}]},
    ],
)
def test_a_fallback_or_an_advisor_is_a_model_too(fields):
    with pytest.raises(ModelNotAllowed):
        check_other_models(fields, HAIKU)


@pytest.mark.parametrize("max_tokens", [101, "9", 1.0, True])
def test_a_fallback_gets_no_more_tokens_than_the_plan_allows(max_tokens):
    with pytest.raises(InvalidRequest, match="max_tokens: "):
        check_other_models({"fallbacks": [{"model": "claude-haiku-4-5", "max_tokens": max_tokens}]}, HAIKU)


def test_without_a_list_of_models_claude_may_choose():
    check_other_models({"fallbacks": "default"}, Restrictions())


@pytest.mark.parametrize("value", [0, -1, 4096, 10**40])
def test_integers_are_whole_numbers(value):
    assert whole_number(value, "max_tokens") == value


@pytest.mark.parametrize("value", [True, False, None, 4096.0, float("inf"), "4096", [4096], {}])
def test_what_claude_might_take_for_an_integer_is_none(value):
    with pytest.raises(InvalidRequest, match=r"^max_tokens: Input should be a valid integer$"):
        whole_number(value, "max_tokens")


FILE = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"container": "container_1"}, "container"),
        ({"container": {"skills": []}}, "container"),
        ({"messages": [{"role": "user", "content": [FILE]}]}, "file_id"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "file_1"}]}]}, "file_id"),
        ({"messages": [{"content": [{"type": "tool_result", "content": [[{"deep": [FILE]}]]}]}]}, "file_id"),
        ({"messages": [{"content": [{"type": "tool_use", "file_id": "file_1", "input": {}}]}]}, "file_id"),
        ({"messages": [{"content": [{"type": "document", "input": FILE}]}]}, "file_id"),
        ({"messages": [{"content": [{"type": ["tool_use"], "input": FILE}]}]}, "file_id"),
        ({"system": [FILE]}, "file_id"),
    ],
)
def test_what_reaches_the_operators_account_needs_the_plans_word(fields, named):
    check_account_resources(fields, Restrictions())
    with pytest.raises(Forbidden, match=rf"^{named}: .*account_resources"):
        check_account_resources(fields, CLOSED)


def test_a_thread_is_refused_in_words_that_the_sdks_understand():
    with pytest.raises(ThreadsNotOffered):
        check_account_resources({"thread": {"type": "create"}}, CLOSED)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"container": None, "thread": None, "system": "file_id", "messages": "file_id"},
        {"messages": [{"role": "user", "content": "file_id"}]},
        {"messages": [{"content": [{"type": "tool_use", "input": {"file_id": "mine"}}]}]},
        {"messages": [{"content": [{"type": "mcp_tool_use", "input": {"source": FILE}}]}]},
        {"tools": [{"input_schema": {"properties": {"file_id": {"type": "string"}}}}]},
    ],
)
def test_what_a_tool_is_called_with_is_the_callers_own(fields):
    check_account_resources(fields, CLOSED)


def test_depth_is_no_way_around():
    nested = FILE
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(Forbidden):
        check_account_resources({"messages": nested}, CLOSED)
