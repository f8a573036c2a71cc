"""Label values are bounded."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from gateway.metrics.labels import Children, Values


def test_values_pass_until_the_limit_and_are_other_after_it():
    values = Values(2)
    assert [values(v) for v in ("a", "b", "c", "a", "b")] == ["a", "b", "other", "a", "b"]


def test_an_empty_value_is_none_and_takes_no_room():
    values = Values(1)
    assert [values(""), values("other"), values("none"), values("a")] == ["none", "other", "none", "a"]


def test_a_value_that_is_not_allowed_is_other_and_takes_no_room():
    values = Values(1, {"good"}.__contains__)
    assert [values("bad"), values("worse"), values("good")] == ["other", "other", "good"]


def test_children_are_made_once():
    metric = Counter("c", "c", ["a"], registry=CollectorRegistry())
    children = Children(metric)
    assert children["x",] is children["x",] is metric.labels("x")
