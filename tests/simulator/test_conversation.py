import pytest

from gateway.simulator.conversation import read_conversation, text_of
from gateway.simulator.refusals import Refused


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


USE = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "found"}]}


def test_the_question_is_the_last_user_turn_without_its_directives():
    talk = read_conversation([user("First [[sim: status=500]]"), assistant("Yes"), user("Second [[sim: tokens=3]]")])
    assert (talk.question, talk.directives.strip()) == ("Second", "tokens=3")


def test_a_turn_of_directives_alone_asks_the_earlier_question_again():
    talk = read_conversation([user("First"), assistant("Yes"), user("[[sim: tokens=3]]")])
    assert talk.question == "First"


def test_a_tool_result_is_read_with_the_name_of_its_tool():
    talk = read_conversation([user("Look"), assistant([USE]), user([RESULT])])
    assert talk.result is not None
    assert (talk.result.name, talk.result.text, talk.question) == ("look", "found", "Look")


def test_an_image_in_the_last_turn_is_seen():
    assert read_conversation([user([{"type": "image", "source": {}}, {"type": "text", "text": "?"}])]).has_image


def test_a_prefill_may_end_the_conversation_even_empty():
    assert read_conversation([user("Hi"), assistant("")]).question == "Hi"
    assert read_conversation([assistant("Hi")]).question == ""


def test_texts_are_joined_by_lines():
    assert text_of([{"type": "text", "text": "a"}, {"type": "image"}, "x", {"type": "text", "text": "b"}]) == "a\nb"
    assert text_of(None) == ""


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages: at least one message is required"),
        (["Hi"], "messages.0: Input does not match the expected shape."),
        ([{"content": "Hi"}], "messages.0.role: Field required"),
        ([{"role": "user"}], "messages.0.content: Field required"),
        ([{"role": "bot", "content": "Hi"}], "messages.0.role: Input should be 'user' or 'assistant'"),
        ([{"role": {}, "content": "Hi"}], "messages.0.role: Input should be 'user' or 'assistant'"),
        (
            [{"role": "user", "content": [{"type": {}, "text": "Hi"}]}],
            "messages.0.content.0.type: Input should be a valid string",
        ),
        (
            [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": []}]}],
            "messages.0.content.0.tool_use_id: Input should be a valid string",
        ),
        ([user(3)], "messages.0.content: Input should be a valid list"),
        ([user("")], "messages.0: all messages must have non-empty content"),
        ([user(["Hi"])], "messages.0.content.0: Input should be a valid dictionary"),
        ([user([{"text": "Hi"}])], "messages.0.content.0.type: Field required"),
        ([user([{"type": "text"}])], "messages.0.content.0.text.text: Field required"),
        ([user([{"type": "text", "text": ""}])], "messages: text content blocks must be non-empty"),
        ([user("Hi"), assistant([USE]), user("And?")], "messages.1: `tool_use` ids were found without `tool_result`"),
        ([user([RESULT])], "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: t1"),
    ],
)
def test_wrong_turns_are_refused_in_claudes_words(messages, message):
    with pytest.raises(Refused) as caught:
        read_conversation(messages)
    assert caught.value.message.startswith(message)
