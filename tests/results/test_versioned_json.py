import json

import pytest

from spectra.errors import ResultsError
from spectra.results.versioned_json import read_versioned


def read(path, content=None):
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_versioned(path, "sum", 2, lambda given: given["a"] + given["b"], again="Add again.")


def test_what_is_read_is_what_is_made_of_the_content(tmp_path):
    assert read(tmp_path / "sum.json", {"schema_version": 2, "a": 1, "b": 2}) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"there is no sum at '.*sum.json'. Add again."),
        ("{", r"'.*sum.json' is no sum, or a damaged one \(.*\). Add again."),
        ([1], "is no sum, or a damaged one"),
        ({"a": 1}, r"is no sum, or a damaged one \('schema_version'\)"),
        ({"schema_version": 3}, "has schema version 3, this Spectra reads 2. Add again."),
        ({"schema_version": 2, "a": 1}, r"is no sum, or a damaged one \('b'\)"),
        ({"schema_version": 2, "a": 1, "b": "x"}, "is no sum, or a damaged one"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tmp_path, content, said):
    with pytest.raises(ResultsError, match=said):
        read(tmp_path / "sum.json", content)
