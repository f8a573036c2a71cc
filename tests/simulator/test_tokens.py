from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.tokens import count_part, count_text, split, split_json


@given(st.text())
def test_the_pieces_join_to_the_text(text):
    assert "".join(split(text)) == text
    assert "".join(split_json(text)) == text


def test_a_token_is_a_short_piece_of_a_word_with_the_space_before_it():
    assert split("We are open on Saturdays.") == ("We", " are", " open", " on", " Saturda", "ys", ".")


def test_scripts_without_spaces_have_a_token_per_character():
    assert split("营业时间ok") == ("营", "业", "时", "间", "ok")


def test_no_piece_is_empty():
    assert all(split("a  b \n\n c !!!!! "))
    assert split("") == ()


def test_four_bytes_of_text_are_a_token():
    assert count_text("abcdefgh") == 2
    assert count_text("abcdefghi") == 3
    assert count_text("é") == 1


def test_media_are_counted_by_their_own_measure():
    image = {"type": "image", "source": {"type": "base64", "data": "x" * 10_000_000}}
    document = {"type": "document", "source": {"type": "base64", "media_type": "pdf!", "data": "x" * 4000}}
    assert count_part([image]) == 1600
    assert count_part(document) == 100


def test_tools_and_turns_cost_something_themselves():
    tool = {"name": "abcd", "input_schema": {"type": "object"}}
    assert count_part(tool) == 60 + 1
    assert count_part({"role": "user", "content": "abcd"}) == 4 + 1
    assert count_part({"strict": True, "cache_control": {"type": "ephemeral"}}) == 1
