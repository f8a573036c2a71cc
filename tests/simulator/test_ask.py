import pytest

from gateway.simulator.ask import read_ask
from gateway.simulator.refusals import Refused

TOOL = {"name": "look", "input_schema": {"type": "object"}}


def asked(**changes):
    body = {"model": "claude-x", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}], **changes}
    return {name: value for name, value in body.items() if value is not ...}


def test_what_is_not_said_has_claudes_defaults():
    ask = read_ask(asked())
    assert (ask.stream, ask.choice, ask.thinking, ask.stop_sequences, ask.schema) == (False, "auto", "off", (), None)


def test_everything_that_changes_the_answer_is_read():
    ask = read_ask(
        asked(
            stream=True,
            system=[{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}],
            tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}],
            tool_choice={"type": "tool", "name": "look"},
            stop_sequences=["END"],
            output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
            some_future_field=1,
        )
    )
    assert (ask.stream, ask.system, ask.choice, ask.forced) == (True, "Be\nbrief", "tool", "look")
    assert [tool.name for tool in ask.tools] == ["look"]
    assert ask.stop_sequences == ("END",)
    assert ask.schema == {"type": "object"}


def test_a_server_tool_may_be_forced():
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    assert read_ask(asked(tools=tools, tool_choice={"type": "tool", "name": "web_search"})).forced == "web_search"


@pytest.mark.parametrize(
    ("thinking", "read"),
    [
        ({"type": "disabled"}, "off"),
        ({"type": "between_tools"}, "off"),
        ({"type": "adaptive"}, "shown"),
        ({"type": "adaptive", "display": "omitted"}, "omitted"),
        ({"type": "enabled", "budget_tokens": 1024, "display": "summarized"}, "shown"),
    ],
)
def test_thinking_is_off_shown_or_omitted(thinking, read):
    assert read_ask(asked(thinking=thinking, max_tokens=2000)).thinking == read


def test_counting_takes_no_max_tokens_and_no_smaller_budget():
    thinking = {"type": "enabled", "budget_tokens": 5000}
    assert read_ask(asked(max_tokens=..., thinking=thinking), counting=True).thinking == "shown"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ...}, "model: Field required"),
        ({"model": 3}, "model: Input should be a valid string"),
        ({"model": ""}, "model: String should have at least 1 character"),
        ({"messages": ...}, "messages: Field required"),
        ({"messages": "Hi"}, "messages: Input should be a valid list"),
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 0}, "max_tokens: must be greater than or equal to 1"),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"temperature": "hot"}, "temperature: Input should be a valid number"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"stop_sequences": "END"}, "stop_sequences: Input should be a valid list"),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain non-whitespace"),
        ({"tools": {}}, None),
        ({"metadata": None, "system": None}, None),
        ({"metadata": []}, "metadata: Input should be a valid dictionary"),
        ({"metadata": {"user_id": 3}}, "metadata.user_id: Input should be a valid string"),
        ({"system": {}}, "system: Input should be a valid string"),
        ({"system": [{"type": "text"}]}, "system.0.text.text: Field required"),
        ({"system": [{"type": "image"}]}, "system.0.type: Input should be 'text'"),
        ({"thinking": {"type": []}}, "thinking: Input should be a valid dictionary"),
        ({"tools": "x"}, "tools: Input should be a valid list"),
        ({"tools": ["x"]}, "tools.0: Input does not match the expected shape."),
        ({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.custom.name: Field required"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name: String should match pattern"),
        ({"tools": [{**TOOL, "input_schema": 1}]}, "tools.0.custom.input_schema: Input does not match"),
        ({"tools": [{**TOOL, "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required"),
        ({"tools": [{**TOOL, "input_schema": {"type": "array"}}]}, "input_schema.type: Input should be 'object'"),
        ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
        ({"tool_choice": {"type": "auto"}}, "`tool_choice` may only be specified while providing `tools`."),
        ({"tool_choice": "auto", "tools": [TOOL]}, "tool_choice: Input should be a valid dictionary"),
        ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [TOOL]}, "Tool 'x' not found in provided tools"),
        ({"thinking": {"type": "deep"}}, "thinking: Input should be a valid dictionary"),
        ({"thinking": {"type": "enabled"}}, "thinking.enabled.budget_tokens: Field required"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`max_tokens` must be greater than"),
        (
            {"thinking": {"type": "adaptive"}, "tools": [TOOL], "tool_choice": {"type": "any"}},
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
    ],
)
def test_wrong_fields_are_refused_in_claudes_words(changes, message):
    if message is None:
        assert read_ask(asked(**changes)).tools == ()
        return
    with pytest.raises(Refused) as caught:
        read_ask(asked(**changes))
    assert caught.value.status == 400
    assert message in caught.value.message


def test_a_body_that_is_no_object_is_refused():
    with pytest.raises(Refused, match="valid dictionary"):
        read_ask([])


def test_a_model_that_is_not_claudes_is_not_found():
    with pytest.raises(Refused) as caught:
        read_ask(asked(model="gpt-4"))
    assert (caught.value.status, caught.value.kind, caught.value.message) == (404, "not_found_error", "model: gpt-4")
    assert read_ask(asked(model="sim-anything")).model == "sim-anything"
