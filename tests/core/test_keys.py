"""Keys: their form, their checksum, and verification under several peppers."""

from __future__ import annotations

import random
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.keys import KEY_LENGTH, Key, Peppers, hash_secret, is_key_id, key_id_in, mask, new_key, parse_key

SEED = random.Random(7).randbytes
KEY = new_key(SEED)
OLD, NEW = "old-pepper-0123456789", "new-pepper-0123456789"


@given(st.binary(min_size=256, max_size=256))
def test_a_new_key_parses_to_itself(noise):
    source = iter(noise)
    key = new_key(lambda count: bytes(next(source) for _ in range(count)))
    assert parse_key(key.text) == key
    assert len(key.text) == KEY_LENGTH
    assert is_key_id(key.id)


def test_new_keys_differ_and_use_the_whole_alphabet():
    keys = [new_key(secrets.token_bytes) for _ in range(200)]
    assert len({key.id for key in keys}) == len({key.text[-38:] for key in keys}) == 200
    assert len(set("".join(key.id + key.text[16:48] for key in keys))) == 62


def test_the_form_is_fixed_so_that_scanners_recognise_it():
    """A change of this literal breaks every key in use."""
    key = new_key(bytes)
    assert key.text == "tw_000000000000_00000000000000000000000000000000" + key.text[-6:]
    assert parse_key("tw_000000000000_000000000000000000000000000000003SWsMD") == key


@given(st.integers(min_value=0, max_value=KEY_LENGTH - 1), st.characters(codec="ascii"))
def test_one_wrong_character_is_refused_without_a_look_up(position, character):
    typo = KEY.text[:position] + character + KEY.text[position + 1 :]
    assert typo == KEY.text or parse_key(typo) is None


@given(st.text())
def test_parsing_never_raises(text):
    assert parse_key(text) is None
    assert mask(text) == "…"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tw_",
        KEY.text + "\n",
        " " + KEY.text,
        KEY.text + "0",
        KEY.text[:-1] + "\u0663",
        KEY.text.replace("_", "-"),
        "\udc80" * KEY_LENGTH,
        KEY.text * 100_000,
    ],
)
def test_what_is_nearly_a_key_is_refused(text):
    assert parse_key(text) is None


def test_a_key_shows_its_id_only():
    assert KEY.text[16:] not in repr(KEY)
    assert mask(KEY.text) == f"tw_{KEY.id}_…"
    assert mask(KEY.text + "x") == "…"


@pytest.mark.parametrize(("text", "allowed"), [("0aZ" * 4, True), ("0aZ" * 5, False), ("0aZ" * 3 + "_a-", False)])
def test_an_id_has_twelve_letters_or_digits(text, allowed):
    assert is_key_id(text) is allowed


def test_the_hash_covers_the_whole_key_and_the_pepper():
    other = Key(KEY.id, KEY.text[:-1] + "!")
    assert len({hash_secret(b"a", KEY), hash_secret(b"b", KEY), hash_secret(b"a", other)}) == 3


def test_a_rotated_pepper_verifies_old_keys_and_hashes_new_ones():
    before = Peppers.parse(OLD)
    after = Peppers.parse(f"1:{OLD}, 2:{NEW}")
    digest = before.hash(KEY)
    assert (before.current, after.current) == (1, 2)
    assert after.verify(KEY, 1, digest)
    assert not after.verify(KEY, 2, digest)
    assert after.verify(KEY, 2, after.hash(KEY))
    assert not after.verify(new_key(SEED), 1, digest)


def test_a_key_whose_pepper_is_gone_is_refused():
    assert not Peppers.parse(f"2:{NEW}").verify(KEY, 1, Peppers.parse(OLD).hash(KEY))


def test_the_last_pepper_is_the_current_one_whatever_its_number():
    assert Peppers.parse(f"5:{OLD},3:{NEW}").current == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at least 16"),
        ("short", "at least 16"),
        (f"1:{OLD},", "at least 16"),
        (f"0:{OLD}", "version 0 is for end users alone"),
        (f"one:{OLD}", "at least 16"),
        (f"1:{OLD} {NEW}", "at least 16"),
        (f"{OLD}é", "at least 16"),
        (f"1:{OLD},{NEW}", "a version each"),
        (f"1:{OLD},1:{NEW}", "the same version"),
    ],
)
def test_a_malformed_pepper_is_refused_without_being_repeated(text, why):
    with pytest.raises(ValueError, match=why) as refused:
        Peppers.parse(text)
    assert OLD not in str(refused.value)


def test_peppers_show_no_secret_and_are_told_apart_by_fingerprint():
    peppers = Peppers.parse(f"1:{OLD},2:{NEW}")
    assert OLD not in repr(peppers)
    assert peppers.fingerprint(1) != peppers.fingerprint(2)
    assert peppers.fingerprint(1) == Peppers.parse(OLD).fingerprint(1)


def test_the_id_in_a_key_is_found_without_checking_it():
    key = new_key(secrets.token_bytes)
    assert key_id_in(key.text) == key.id


def test_a_pepper_of_version_0_is_for_end_users_and_never_the_current_one():
    peppers = Peppers.parse("0:the-first-pepper-of-all,2:the-second-pepper-of-all")
    assert peppers.current == 2
    assert min(peppers.secrets) == 0
    with pytest.raises(ValueError, match="version 0 is for end users alone"):
        Peppers.parse("2:the-second-pepper-of-all,0:the-first-pepper-of-all")
