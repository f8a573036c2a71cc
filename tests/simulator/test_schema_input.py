import pytest

from gateway.simulator.schema_input import fill


def filled(schema, question="What is the weather in San Francisco today?"):
    return fill({"type": "object", "properties": {"value": schema}, "required": ["value"]}, question)["value"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "San Francisco"),
        ({"const": "fixed"}, "fixed"),
        ({"type": "string", "default": "x"}, "x"),
        ({"enum": ["celsius", "fahrenheit"]}, "celsius"),
        ({"enum": ["rain", "weather"]}, "weather"),
        ({"type": "string", "examples": ["one"]}, "one"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"type": ["integer", "null"]}, 1),
        ({"type": "null"}, None),
        ({"type": "number", "minimum": 5}, 5.0),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array", "minItems": 1000}, ["San Francisco"] * 3),
        ({"type": "string", "format": "date"}, "2026-01-15"),
        ({"type": "string", "maxLength": 3}, "San"),
        ({"type": "string", "minLength": 15}, "San Franciscoxx"),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"type": "boolean"}, "b": {}}}, {"a": True}),
        ({"properties": "wrong"}, {}),
        (True, "San Francisco"),
        ({"$ref": "#/$defs/missing"}, "San Francisco"),
    ],
)
def test_a_value_conforms_to_its_schema(schema, value):
    assert filled(schema) == value


def test_numbers_are_taken_from_the_question():
    assert filled({"type": "integer"}, "Roll 3 dice") == 3
    assert filled({"type": "number"}, "Pay 4.5 euros") == 4.5


def test_names_are_taken_from_the_question_and_searches_are_the_whole_of_it():
    assert filled({"type": "string"}, "please call Ada Lovelace") == "Ada Lovelace"
    assert filled({"type": "string"}, "tides") == "tides"
    assert filled({"type": "string"}, " ") == "example"
    schema = {"type": "object", "properties": {"search_query": {"type": "string"}}}
    assert fill(schema, "hotels in Paris") == {"search_query": "hotels in Paris"}


def test_references_are_followed_and_circles_end():
    schema = {
        "type": "object",
        "properties": {"node": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    }
    value = fill(schema, "")
    depth = 0
    while isinstance(value, dict) and value:
        value = next(iter(value.values()))
        depth += 1
    assert 5 < depth < 12
