"""Pseudonyms of end users."""

from __future__ import annotations

from gateway.core.keys import Peppers
from gateway.identity.pseudonym import Pseudonyms

FIRST = "1:the-first-pepper-of-all"
SECOND = "2:the-second-pepper-of-all"


def test_a_user_has_one_pseudonym_and_in_every_version_of_the_program():
    pseudonym = Pseudonyms(Peppers.parse(FIRST))
    assert pseudonym("ann") == pseudonym("ann") == "0de18494f1e409391ed6ca49795e4007"
    assert pseudonym("bob") != pseudonym("ann")


def test_a_user_keeps_it_when_a_pepper_is_added_and_loses_it_with_the_oldest():
    first = Pseudonyms(Peppers.parse(FIRST))("ann")
    assert Pseudonyms(Peppers.parse(f"{FIRST},{SECOND}"))("ann") == first
    assert Pseudonyms(Peppers.parse(SECOND))("ann") != first


def test_any_text_has_one():
    assert len(Pseudonyms(Peppers.parse(FIRST))("\ud800 \0 ünï")) == 32
