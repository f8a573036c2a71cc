"""Exceptions are logged without their text."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from gateway.log.failure import describe, name_of, take_exc_info


def _raised(make):
    try:
        make()
    except BaseException as exc:  # noqa: BLE001 - whatever the test raises
        return exc
    raise AssertionError


def _fail(exc):
    raise exc


def test_class_and_places_are_told_and_the_text_is_not():
    told = describe(_raised(lambda: _fail(ValueError("S3cr3t prompt"))))
    assert told.splitlines()[0] == "ValueError"
    assert told.splitlines()[-1].endswith(" _fail")
    assert "test_failure:" in told
    assert "S3cr3t" not in told


def test_the_cause_comes_first_and_without_its_text():
    def chained():
        try:
            _fail(KeyError("S3cr3t"))
        except KeyError as exc:
            raise RuntimeError("S3cr3t") from exc

    heads = [line for line in describe(_raised(chained)).splitlines() if not line.startswith(" ")]
    assert heads == ["KeyError", "RuntimeError"]


def test_a_suppressed_context_is_not_told_and_a_plain_one_is():
    def during(*, hide):
        try:
            _fail(KeyError("S3cr3t"))
        except KeyError:
            if hide:
                raise RuntimeError from None
            raise RuntimeError  # noqa: B904 - the implicit chain is what is tested

    assert "KeyError" not in describe(_raised(lambda: during(hide=True)))
    assert "KeyError" in describe(_raised(lambda: during(hide=False)))


def test_all_of_a_group_is_told_up_to_a_bound():
    group = ExceptionGroup("S3cr3t", [ValueError("S3cr3t"), ExceptionGroup("x", [OSError(*range(2))] * 3)])
    told = describe(group)
    assert {"ExceptionGroup", "ValueError"} <= set(told.splitlines())
    assert "S3cr3t" not in told
    assert len(describe(ExceptionGroup("x", [ValueError() for _ in range(100)])).splitlines()) == 6


def test_a_circular_chain_ends():
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert describe(first).splitlines() == ["KeyError", "ValueError"]


def test_a_deep_trace_is_bounded():
    def deep(n):
        return deep(n - 1) if n else _fail(ValueError())

    assert len(describe(_raised(lambda: deep(100))).splitlines()) == 16


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (OSError(errno.ECONNREFUSED, "S3cr3t"), "ConnectionRefusedError: Connection refused"),
        (OSError("S3cr3t"), "OSError"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "socket.gaierror: Name or service not known"),
        (ssl.SSLError("S3cr3t"), "ssl.SSLError"),
    ],
)
def test_the_operating_systems_words_are_kept(exc, words):
    assert describe(exc) == words


def test_names_are_as_people_import_them():
    assert (name_of(ValueError()), name_of(socket.gaierror())) == ("ValueError", "socket.gaierror")


@pytest.mark.parametrize("exc_info", [None, False, True, (None, None, None)])
def test_without_an_exception_nothing_is_told(exc_info):
    assert take_exc_info(None, "error", {"exc_info": exc_info}) == {}


def test_an_exception_is_taken_in_every_form_that_logging_knows():
    exc = ValueError("S3cr3t")
    expected = {"error_type": "ValueError", "exception": "ValueError"}
    assert take_exc_info(None, "error", {"exc_info": exc}) == expected
    assert take_exc_info(None, "error", {"exc_info": (ValueError, exc, None)}) == expected
