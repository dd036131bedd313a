import warnings

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from spectra.cli.flag_words import in_flags, warnings_in_flags
from spectra.errors import SpectraWarning

FLAGS = {"max_length": "--max-length", "output": "--output", "as_json": "--json", "min_rouge_l": "--min-rouge-l"}


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("it is long; raise max_length", "it is long; raise --max-length"),
        ("Raise max_length.", "Raise --max-length."),
        ("raise max_length (--max-length), or wait", "raise --max-length, or wait"),
        ("max_length: expected 3", "--max-length: expected 3"),
        ("generation: max_length: expected 3", "--max-length: expected 3"),
        ("DistillConfig: min_rouge_l: expected 3", "--min-rouge-l: expected 3"),
        ("DistillConfig: unknown task 'x'.", "unknown task 'x'."),
        ("max_length=5 is much", "--max-length=5 is much"),
        ("output: 'x' is a folder", "--output: 'x' is a folder"),
        ("the output is a folder", "the output is a folder"),
        ("a word: max_length", "a word: --max-length"),
        ("row 3: no text", "row 3: no text"),
        # none of an option
        ("column 'max_length' is empty", "column 'max_length' is empty"),
        ("generation.max_length 3 there", "generation.max_length 3 there"),
        ("'/data/max_length/rows.jsonl' is missing", "'/data/max_length/rows.jsonl' is missing"),
        ("max_length.jsonl is missing", "max_length.jsonl is missing"),
        ("max_lengths, my_max_length", "max_lengths, my_max_length"),
    ],
)
def test_options_are_named_as_they_are_typed(said, typed):
    assert in_flags(said, FLAGS) == typed


@given(st.lists(st.sampled_from([*FLAGS, *FLAGS.values(), "raise", "x", ":", ".", "'", "/", "(", ")"]), max_size=8))
@settings(deadline=None, max_examples=50)
def test_what_is_typed_already_stays(words):
    once = in_flags("Now " + " ".join(words), FLAGS)
    assert in_flags(once, FLAGS) == once


def test_only_warnings_of_spectra_are_put_in_other_words():
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, category, *where, **more: shown.append((str(message), category))
        with warnings_in_flags(FLAGS):
            warnings.warn("raise max_length", SpectraWarning, stacklevel=1)
            warnings.warn("raise max_length", UserWarning, stacklevel=1)
        warnings.warn("raise max_length", SpectraWarning, stacklevel=1)
    assert shown == [
        ("raise --max-length", SpectraWarning),
        ("raise max_length", UserWarning),
        ("raise max_length", SpectraWarning),
    ]
