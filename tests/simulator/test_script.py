from gateway.simulator.ask import read_ask
from gateway.simulator.directives import parse
from gateway.simulator.ids import Ids
from gateway.simulator.script import write_script

WEATHER = {
    "name": "getWeather",
    "description": "Tells the forecast for a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "clock", "description": "Tells the hour", "input_schema": {"type": "object"}}


def script(question="What are your opening hours?", directives="", **more):
    body = {"model": "claude-x", "max_tokens": 4096, "messages": [{"role": "user", "content": question}], **more}
    return write_script(read_ask(body), parse(directives), Ids(0), 0)


def text(written):
    return "".join("".join(block.pieces) for block in written.blocks if block.kind == "text")


def kinds(written):
    return [block.kind for block in written.blocks]


def test_max_tokens_bounds_the_answer():
    cut = script(max_tokens=10)
    assert (cut.output_tokens, cut.stop_reason) == (10, "max_tokens")
    assert script(max_tokens=44).stop_reason == "end_turn"


def test_max_tokens_counts_thinking_and_may_leave_nothing_else():
    thinking = {"type": "adaptive"}
    cut = script(thinking=thinking, max_tokens=3)
    assert kinds(cut) == ["thinking"]
    assert (cut.thinking_tokens, cut.blocks[0].signature, cut.stop_reason) == (3, "", "max_tokens")


def test_max_tokens_may_end_exactly_at_a_block():
    whole = script(thinking={"type": "adaptive"})
    cut = script(thinking={"type": "adaptive"}, max_tokens=whole.thinking_tokens)
    assert kinds(cut) == ["thinking"]
    assert cut.blocks[0].signature


def test_the_first_stop_sequence_ends_the_text_and_is_not_part_of_it():
    cut = script(stop_sequences=["Saturday", "Friday", "never"])
    assert text(cut) == "We are open Monday to "
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", "Friday")
    assert script(stop_sequences=["never"]).stop_reason == "end_turn"


def test_a_stop_sequence_at_the_start_leaves_no_block():
    assert script(stop_sequences=["We"]).blocks == ()


def test_a_tool_that_fits_the_question_is_announced_and_used():
    used = script("How is the weather in Rome?", tools=[CLOCK, WEATHER])
    assert kinds(used) == ["text", "tool_use"]
    assert used.stop_reason == "tool_use"
    assert (used.blocks[1].name, "".join(used.blocks[1].pieces)) == ("getWeather", '{"city": "Rome"}')


def test_a_question_that_fits_no_tool_is_answered_in_text():
    assert kinds(script(tools=[CLOCK, WEATHER])) == ["text"]
    assert kinds(script("How is the weather in Rome?", tools=[WEATHER], tool_choice={"type": "none"})) == ["text"]


def test_a_forced_tool_is_used_without_a_word():
    forced = script(tools=[CLOCK, WEATHER], tool_choice={"type": "tool", "name": "clock"})
    assert [block.name for block in forced.blocks] == ["clock"]
    assert kinds(script("Rome", tools=[CLOCK, WEATHER], tool_choice={"type": "any"})) == ["tool_use"]


def test_a_forced_server_tool_is_answered_in_text():
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    assert kinds(script(tools=tools, tool_choice={"type": "tool", "name": "web_search"})) == ["text"]


def test_a_tool_whose_schema_is_odd_is_only_judged_by_its_words():
    odd = {"name": "weather", "input_schema": {"type": "object", "properties": 3}}
    assert kinds(script("How is the weather?", tools=[odd])) == ["text", "tool_use"]


def test_directives_set_the_text_its_length_and_the_stop_reason():
    assert text(script(directives="text=Hi you")) == "Hi you"
    assert script(directives="tokens=100").output_tokens == 100
    ended = script(directives="stop-reason=refusal", stop_sequences=["Friday"])
    assert (ended.stop_reason, ended.stop_sequence) == ("refusal", None)
