"""docs/simulator.md says what there is, and nothing that there is not."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click

from gateway.cli.simulate import simulate
from gateway.simulator.directives import names, parse
from gateway.simulator.observed import Stats

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_every_directive_has_a_row_with_an_example_to_copy():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| (`claude .*`) \|$", PAGE, re.MULTILINE))
    assert sorted(rows) == sorted(names())
    assert all(name in example for name, example in rows.items())


def test_every_example_is_in_the_language():
    examples = re.findall(r"x-sim-fault: ([^']+?)['`]", PAGE) + re.findall(r"\[\[sim: (.*?)\]\]", PAGE)
    assert len(examples) > 30
    for example in examples:
        assert parse(example).model_fields_set


def test_every_option_has_a_row_with_its_default():
    for option in simulate.params:
        assert isinstance(option, click.Option)
        row = re.search(rf"^\| `{option.opts[0]}( [A-Z:]+)?` \| (.*?) \|", PAGE, re.MULTILINE)
        assert row, option.opts
        if option.default and not option.is_flag and option.show_default:
            assert str(option.default).removesuffix(".0") == row[2].strip("`")


def test_every_count_is_explained():
    for field in fields(Stats):
        assert f"`{field.name}`" in PAGE
