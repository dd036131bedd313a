"""JSON values: equal ones have one spelling, whatever else is no value."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from spectra.training.sdft.extractors import agree
from spectra.training.sdft.extractors.json_value import JSON, json_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": 2}', '{"b":2,"a":1}'),
        ('{"a": [1, {"c": 2, "b": 3}]}', '{"a": [1.0, {"b": 3, "c": 2e0}]}'),
        ("1", "1.0"),
        ("-0.0", "0"),
        ("0.10", "0.1"),
        ("100", "1e2"),
        ('"é"', '"\\u00e9"'),
        ("[1]", "```json\n[1]\n```"),
        ("[1]", "Here it is:\n\n```\n[\n  1\n]\n```\nDone."),
        (" null ", "null"),
    ],
)
def test_values_agree_however_they_are_written(one, other):
    assert agree(JSON, one, other, {})[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("1", '"1"'),
        ("[1, 2]", "[2, 1]"),
        ("{}", "[]"),
        ("null", "0"),
        ('{"a": 1}', '{"a": 1, "b": null}'),
        ("9007199254740993", "9007199254740992"),
    ],
)
def test_other_values_do_not(one, other):
    assert not agree(JSON, one, other, {})[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It is 5.",
        "[1",
        "[1] [2]",
        "```json\n[1]\n```\n```json\n[1]\n```",
        '{"a": 1, "a": 2}',
        "NaN",
        "[Infinity]",
        "1e999",
        '"\\ud800"',
        "{'a': 1}",
        "9" * 5000,
        "[" * 5000,
    ],
    ids=lambda text: text[:20],
)
def test_what_is_not_one_value_is_none(text):
    assert json_value(text, {}) is None


@settings(deadline=None, max_examples=100)
@given(VALUES)
def test_indented_fenced_and_compact_texts_have_one_spelling_that_reads_back(value):
    spelled = json_value(json.dumps(value), {})
    assert json.loads(spelled) == value
    assert json_value(f"So:\n\n```json\n{json.dumps(value, indent=2)}\n```\n", {}) == spelled
    assert json_value(spelled, {}) == spelled
