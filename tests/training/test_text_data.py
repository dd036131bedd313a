"""Which column is what, and what is refused rather than dropped."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.training.text_data import Examples, read_examples

PAIRS = 'index\tfirst\tsecond\tlabel\n0\tit "was\tgood\tyes\n1\t\tbad\tno\n2\tthe\ta\tno\n'


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.tsv").write_text(PAIRS)
    return tmp_path / "pairs.tsv"


def written(folder, records):
    (folder / "a.json").write_text(json.dumps(records))
    return folder / "a.json"


def test_columns_are_read_by_name_and_empty_texts_are_kept(pairs):
    examples = read_examples(pairs, "first", pair_column="second", label_column="label")
    assert examples == Examples(('it "was', "", "the"), (1, 2, 3), pairs=("good", "bad", "a"), labels=("yes", "no", "no"))
    assert len(examples) == 3


def test_a_text_file_needs_no_column(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    assert read_examples(str(tmp_path / "a.txt")).texts == ("one", "two")


def test_targets_are_texts(tmp_path):
    path = written(tmp_path, [{"q": "1 + 1", "a": "2"}])
    assert read_examples(path, "q", target_column="a").targets == ("2",)


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (("0", "1"), (0, 1)),
        (("-1", "2"), (-1, 2)),
        (("0", "1.5"), (0.0, 1.5)),
        (("0", "one"), ("0", "one")),
        (("nan", "inf"), ("nan", "inf")),
    ],
    ids=["whole", "signed", "decimal", "names", "names that floats have too"],
)
def test_labels_of_a_file_without_types_are_numbers_if_all_are(tmp_path, words, labels):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"x,{word}\n" for word in words))
    read = read_examples(tmp_path / "a.csv", "text", label_column="label").labels
    assert read == labels
    assert list(map(type, read)) == list(map(type, labels))


def test_a_number_that_is_not_finite_is_refused_among_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,0.5\nx,nan\n")
    with pytest.raises(InputError, match="row 2: label 'nan' is no finite number, and others of its column are"):
        read_examples(tmp_path / "a.csv", "text", label_column="label")


def test_true_and_false_are_names_as_in_a_csv_file(tmp_path):
    path = written(tmp_path, [{"text": "a", "label": True}, {"text": "b", "label": False}])
    assert read_examples(path, "text", label_column="label").labels == ("True", "False")


def test_words_with_a_label_each_are_read_from_lists(tmp_path):
    path = written(tmp_path, [{"words": ["the", "film"], "tags": ["D", "N"]}, {"words": ["it"], "tags": ["P"]}])
    examples = read_examples(path, "words", label_column="tags")
    assert examples.texts == (("the", "film"), ("it",))
    assert examples.labels == (("D", "N"), ("P",))


@given(limit=st.integers(1, 12), seed=st.integers(0, 3))
def test_a_larger_limit_adds_to_the_examples_of_a_smaller_one(limit, seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_text("".join(f"text {i}\n" for i in range(10)))
    fewer, more = (read_examples(path, limit=number, seed=seed) for number in (limit, limit + 1))
    assert len(fewer) == min(limit, 10)
    assert set(fewer.rows) <= set(more.rows)
    assert list(fewer.rows) == sorted(fewer.rows)
    assert all(text == f"text {row - 1}" for row, text in zip(fewer.rows, fewer.texts, strict=True))


def test_blank_lines_of_a_text_file_are_skipped_and_counted(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n \t\ntwo\n\n")
    examples = read_examples(tmp_path / "a.txt")
    assert (examples.texts, examples.rows, examples.num_blank) == (("one", "two"), (1, 4), 3)
    assert len(read_examples(tmp_path / "a.txt", limit=2)) == 2


def test_a_text_file_of_blank_lines_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"a.txt' holds blank lines only\. Give a file with at least one text"):
        read_examples(tmp_path / "a.txt")


def test_examples_are_drawn_by_the_seed_rather_than_from_the_top(tmp_path):
    (tmp_path / "a.txt").write_text("x\n" * 100)
    drawn = [read_examples(tmp_path / "a.txt", limit=10, seed=seed).rows for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] != tuple(range(1, 11))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"text_column": "frist"},
            r"has no column 'frist'\. Did you mean 'first'\? Columns: 'index', 'first', 'second', 'label'",
        ),
        (
            {"text_column": "first", "pair_column": "secnd", "label_column": "labels"},
            r"has no column 'secnd' and no 'labels'\. Did you mean 'second'\? Did you mean 'label'\?",
        ),
        ({}, r"text_column: say which column of '.*pairs\.tsv' holds the texts: index, first, second, label\. \(--text-column"),
        ({"text_column": "first", "limit": 0}, r"limit: expected at least 1 example, got 0"),
    ],
    ids=["unknown", "several unknown", "none", "limit"],
)
def test_arguments_that_cannot_be_used_are_refused(pairs, arguments, message):
    with pytest.raises(InputError, match=message):
        read_examples(pairs, **arguments)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": None, "label": 1}, r"a\.json', row 2 has no value in column 'text'\. Fill it in, or take the row out"),
        ({"label": 1}, r"row 2 has no value in column 'text'"),
        ({"text": "x", "label": None}, r"row 2 has no value in column 'label'"),
        ({"text": "x", "label": float("nan")}, r"row 2 has no value in column 'label'"),
        ({"text": "x", "label": " "}, r"row 2 has no value in column 'label'"),
        ({"text": 5, "label": 1}, r"row 2: column 'text' holds 5, expected a text\. Quote it"),
        ({"text": ["a", 5], "label": 1}, r"row 2: column 'text' holds \['a', 5\], expected a text"),
        ({"text": "x", "label": {}}, r"row 2: label \{\} in column 'label' is no name and no finite number"),
        ({"text": "x", "label": float("inf")}, r"row 2: label inf in column 'label'"),
        ({"text": "x", "label": [None]}, r"row 2: label None in column 'label'"),
    ],
    ids=["null text", "no text", "null label", "nan", "blank", "number", "mixed words", "object", "infinity", "null in a list"],
)
def test_a_value_of_another_kind_is_refused_with_its_row(tmp_path, record, message):
    path = written(tmp_path, [{"text": "fine", "label": 1}, record])
    with pytest.raises(InputError, match=message):
        read_examples(path, "text", label_column="label")


def test_a_pair_that_is_missing_is_refused(tmp_path):
    path = written(tmp_path, [{"text": "a", "pair": "b"}, {"text": "a", "pair": None}])
    with pytest.raises(InputError, match=r"row 2 has no value in column 'pair'"):
        read_examples(path, "text", pair_column="pair")
