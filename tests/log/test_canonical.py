"""One line per request, with stable names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.log.canonical import FIELDS, fields_of, level_of


def test_a_full_line_has_every_field_in_order(outcome):
    assert tuple(fields_of(outcome, "192.0.2.1")) == FIELDS


def test_times_are_milliseconds_and_speeds_are_rounded(outcome):
    fields = fields_of(outcome, None)
    assert (fields["ttft_ms"], fields["overhead_ms"], fields["duration_ms"]) == (300.0, 2.1, 2500.0)
    assert fields["tokens_per_second"] == 10.0


def test_what_is_unknown_is_left_out(outcome):
    empty = replace(
        outcome, trace_id="", limit=None, tenant="", key_id=None, usage=None, cost_usd=None, first_token=None
    )
    left_out = set(FIELDS) - set(fields_of(empty, None))
    assert {"trace_id", "limit", "tenant", "key_id", "input_tokens", "cost_usd", "ttft_ms", "address"} <= left_out


def test_zeros_and_falsehoods_are_said(outcome):
    fields = fields_of(replace(outcome, client_bytes=0, stream=False, attempts=0), None)
    assert (fields["client_bytes"], fields["stream"], fields["attempts"]) == (0, False, 0)


def test_a_name_that_the_caller_chose_is_clipped(outcome):
    assert len(fields_of(replace(outcome, model="m" * 100_000), None)["model"]) == 200


@pytest.mark.parametrize(
    ("kind", "origin", "code", "level"),
    [
        ("done", None, None, "info"),
        ("disconnected", "upstream", "upstream_timeout", "info"),
        ("refused", "client", "rate_limited", "info"),
        ("error", "client", "invalid_request", "info"),
        ("error", "upstream", "upstream_timeout", "warning"),
        ("error", "upstream", "upstream_credential", "error"),
        ("error", "gateway", "slow_client", "warning"),
        ("error", "gateway", "access_cut", "warning"),
        ("refused", "gateway", "overloaded", "warning"),
        ("refused", "gateway", "store_unavailable", "error"),
        ("error", "gateway", "internal_error", "error"),
        ("error", None, None, "error"),
    ],
)
def test_the_level_says_who_has_to_act(outcome, kind, origin, code, level):
    assert level_of(replace(outcome, kind=kind, error_origin=origin, error_code=code)) == level


@pytest.mark.parametrize("route", ["/health", "/"])
def test_probes_that_went_well_are_not_seen_unless_debug_is_asked_for(outcome, route):
    probe = replace(outcome, route=route, kind="done", error_code=None, error_origin=None)
    assert level_of(probe) == "debug"
    assert level_of(replace(probe, kind="error", error_origin="gateway", error_code="internal_error")) == "error"
