"""Durations, sizes and origins as people write them."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.core.units import Bytes, Seconds, TimeZone, WebOrigin, zone_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), (" 1.5 m ", 90), ("2h", 7200), ("30d", 2_592_000), ("7", 7), (7, 7), (0.25, 0.25)],
)
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(text, seconds):
    assert TypeAdapter(Seconds).validate_python(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1w", "1h30m", None, True, "nan", "inf", "9" * 400])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(text)


def test_a_size_is_a_number_of_bytes_or_has_a_unit():
    assert [TypeAdapter(Bytes).validate_python(text) for text in (7, "7", "1KiB", "1MB")] == [7, 7, 1024, 1_000_000]
    with pytest.raises(ValidationError):
        TypeAdapter(Bytes).validate_python(0)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Shop.Example/", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("*", "*"),
        ("same-origin", "same-origin"),
        ("loopback", "loopback"),
    ],
)
def test_an_origin_is_brought_into_the_form_that_browsers_send(text, origin):
    assert TypeAdapter(WebOrigin).validate_python(text) == origin


@pytest.mark.parametrize(
    "text", ["", "shop.example", "https://", "https://a/b", "https://*.example", "https://a:b", "https://u@a"]
)
def test_what_no_browser_sends_is_refused(text):
    with pytest.raises(ValidationError, match=r"allowed: \*, same-origin"):
        TypeAdapter(WebOrigin).validate_python(text)


@pytest.mark.parametrize("name", ["UTC", "Europe/Paris", "America/Sao_Paulo"])
def test_a_time_zone_is_one_that_the_machine_knows(name):
    assert TypeAdapter(TimeZone).validate_python(name) == name
    assert zone_of(name).utcoffset(datetime(2026, 7, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "Europe/Paris\0", "/etc"])
def test_anything_else_is_no_time_zone(name):
    with pytest.raises(ValidationError, match="allowed: UTC, or a name"):
        TypeAdapter(TimeZone).validate_python(name)
