"""Trace context in and out, and request ids."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.trace import Trace, client_request_id, kept_state, new_request_id, trace_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def digits(size):
    return "ab" * size


NEW = Trace("ab" * 16, f"00-{'ab' * 16}-{'ab' * 8}-00", "")


@pytest.mark.parametrize(
    ("traceparent", "flags"),
    [
        (f"00-{TRACE}-{PARENT}-01", "01"),
        (f"00-{TRACE}-{PARENT}-00", "00"),
        (f"00-{TRACE}-{PARENT}-03", "03"),
        (f"00-{TRACE}-{PARENT}-ff", "03"),
        (f" 00-{TRACE}-{PARENT}-01\t", "01"),
        (f"cc-{TRACE}-{PARENT}-01", "01"),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-brings", "01"),
    ],
)
def test_a_valid_parent_is_continued_with_a_parent_id_of_our_own(traceparent, flags):
    assert trace_of(traceparent, "a=1", digits) == Trace(TRACE, f"00-{TRACE}-{'ab' * 8}-{flags}", "a=1", PARENT)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}0-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-0x",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        f"0-{TRACE}-{PARENT}-01",
        "x" * 10_000,
    ],
)
def test_an_invalid_parent_starts_a_new_trace_without_its_state(traceparent):
    assert trace_of(traceparent, "a=1", digits) == NEW


def test_without_a_parent_nothing_is_passed_on():
    assert trace_of(None, "a=1", digits) == Trace("", "", "")


def test_all_zeros_are_not_an_id():
    draws = iter(["0" * 32, "12" * 16, "0" * 16, "34" * 8])
    assert trace_of("broken", None, lambda _: next(draws)).traceparent == f"00-{'12' * 16}-{'34' * 8}-00"


def test_by_default_ids_are_random():
    first, second = (trace_of("broken", None) for _ in range(2))
    assert first.trace_id != second.trace_id
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", first.traceparent)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (" a=1 ,\t, b=2,", "a=1,b=2"),
        ("tenant@vendor=x y!", "tenant@vendor=x y!"),
        ("0a=1", "0a=1"),
        ("a=1,a=2", ""),
        ("a=1,b", ""),
        ("A=1", ""),
        ("a=", ""),
        ("a=1=2", ""),
        ("a=é", ""),
        ("=1", ""),
        (f"{'k' * 257}=1", ""),
        (f"a={'v' * 257}", ""),
        ("x" * 9000, ""),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
        (",".join(f"k{n}=v" for n in range(33)), ""),
    ],
)
def test_a_well_formed_state_is_passed_on_and_no_other(given, kept):
    assert kept_state(given) == kept


def test_a_state_that_is_too_long_loses_large_members_and_then_its_end():
    large = "large=" + "v" * 200
    small = [f"k{n}={'v' * 96}" for n in range(6)]
    assert kept_state(",".join([large, *small])) == ",".join(small[:5])
    assert kept_state(",".join([large, *small[:3]])) == ",".join([large, *small[:3]])


@given(st.text(), st.text())
def test_whatever_comes_what_goes_on_is_valid_and_bounded(traceparent, tracestate):
    trace = trace_of(traceparent, tracestate)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", trace.traceparent)
    assert len(kept_state(tracestate)) <= 512


def test_a_request_id_is_ours_and_new():
    assert new_request_id(digits) == "req_gw" + "ab" * 12
    assert new_request_id() != new_request_id()


@pytest.mark.parametrize("value", ["a", "A.b_c-9", "x" * 128])
def test_a_clients_request_id_is_kept_for_the_log(value):
    assert client_request_id(value) == value


@pytest.mark.parametrize("value", [None, "", "x" * 129, "a b", "a\n", "ü", 'a"b', "{}"])
def test_what_could_spoil_a_log_is_no_request_id(value):
    assert client_request_id(value) is None


def test_a_trace_may_begin_here_and_says_whether_it_is_kept():
    kept, left = (trace_of(None, None, digits, sampled=sampled) for sampled in (True, False))
    assert kept == Trace("ab" * 16, f"00-{'ab' * 16}-{'ab' * 8}-01", "")
    assert (kept.sampled, left.sampled, kept.span_id) == (True, False, "ab" * 8)
    assert trace_of("nonsense", "a=1", digits, sampled=True).sampled
    assert not trace_of(None, None, digits).sampled
