"""Files of records, as a user's tools write them."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError, MissingPackageError
from spectra.training.data_files import read_records

FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


def write(folder, name, text):
    (folder / name).write_bytes(text.encode())
    return folder / name


def test_fields_of_csv_may_hold_line_breaks_commas_and_quotes(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\r\n"one, ""two""\nthree",1\r\nfour,2\r\n')
    assert read_records(path) == [{"text": 'one, "two"\nthree', "label": "1"}, {"text": "four", "label": "2"}]


def test_words_that_look_like_missing_values_are_words(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\nNA,None\nnull,nan\n,\n")
    assert [tuple(record.values()) for record in read_records(path)] == [("NA", "None"), ("null", "nan"), ("", "")]


def test_an_unquoted_tsv_keeps_its_quotation_marks(tmp_path):
    path = write(tmp_path, "a.tsv", 'text\tlabel\nhe said "no\t0\n"quoted" at the start\t1\n')
    assert [record["text"] for record in read_records(path)] == ['he said "no', '"quoted" at the start']


def test_a_quoted_tsv_may_hold_line_breaks_and_tabs(tmp_path):
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"one\n\ttwo ""x"""\t0\nthree\t1\n')
    assert [record["text"] for record in read_records(path)] == ['one\n\ttwo "x"', "three"]


def test_a_quoted_tsv_is_recognised_without_a_line_break_in_it(tmp_path):
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"He said ""no"""\t0\n')
    assert read_records(path)[0]["text"] == 'He said "no"'


@given(rows=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=5))
def test_what_a_csv_writer_wrote_is_read_back(rows, tmp_path_factory):
    for delimiter, name in ((",", "a.csv"), ("\t", "a.tsv")):
        path = tmp_path_factory.mktemp("written") / name
        with path.open("w", encoding="utf-8", newline="") as file:
            # A tab and a line break inside one quoted field can make lines that read as well without quoting.
            fields = [tuple(field.replace("\t", " ") for field in row) for row in rows]
            csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *fields])
        assert [tuple(record.values()) for record in read_records(path)] == fields


@given(
    rows=st.lists(st.tuples(FIELDS.filter(lambda field: not set(field) & set("\t\r\n")), st.just("1")), min_size=1, max_size=5)
)
def test_what_was_written_without_quotes_is_read_back(rows, tmp_path_factory):
    loose = [*rows, ('5" wide', "0")]  # the mark that tells
    path = write(tmp_path_factory.mktemp("written"), "a.tsv", "".join(f"{a}\t{b}\n" for a, b in [("text", "label"), *loose]))
    assert [tuple(record.values()) for record in read_records(path)] == loose


def test_a_field_may_be_longer_than_the_limit_of_the_csv_module(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path, "a.csv", f"text,label\n{'x' * (before + 1)},1\n")
    assert len(read_records(path)[0]["text"]) == before + 1
    assert csv.field_size_limit() == before


def test_values_of_json_keep_their_types(tmp_path):
    records = [{"text": "a", "label": 3, "words": ["a", "b"]}, {"text": None, "label": 1.5, "words": []}]
    assert read_records(write(tmp_path, "a.json", json.dumps(records))) == records
    assert read_records(write(tmp_path, "a.jsonl", "\n\n".join(map(json.dumps, records)))) == records


def test_a_text_file_has_a_text_in_every_line(tmp_path):
    path = write(tmp_path, "a.txt", "one\n\n two \u2028 \nthree")
    assert [record["text"] for record in read_records(path)] == ["one", "", " two \u2028 ", "three"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    assert read_records(write(tmp_path, "a.csv", "\ufefftext\nx\n")) == [{"text": "x"}]


def test_parquet_keeps_whole_numbers_whole_and_gaps_empty(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"text": ["a", None], "label": pandas.array([1, None], dtype="Int64")}).to_parquet(tmp_path / "a.parquet")
    first, second = read_records(tmp_path / "a.parquet")
    assert (first, type(first["label"])) == ({"text": "a", "label": 1}, int)
    assert second == {"text": None, "label": None}


def test_a_damaged_parquet_file_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=r"is no Parquet file, or damaged .* Copy it again"):
        read_records(write(tmp_path, "a.parquet", "nothing of the kind"))


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_parquet_without_its_packages_names_the_extra(tmp_path, monkeypatch, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingPackageError, match=r"pip install \"spectra-nn\[frames\]\""):
        read_records(write(tmp_path, "a.parquet", "whatever"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.cvs", "x", r"'.*a\.cvs' is not a kind of data file that is read\. Did you mean '\.csv'\? Known: \.csv, \.tsv"),
        ("a.csv", "", r"holds no examples"),
        ("a.csv", "text,label\n", r"holds no examples\. Give a file with at least one"),
        ("a.tsv", "text\tlabel\n", r"holds no examples"),
        ("a.json", "[]", r"holds no examples"),
        ("a.txt", "", r"holds no examples"),
        ("a.csv", "text,text\na,b\n", r"has two columns of one name: text, text\. Rename one"),
        ("a.csv", "text,label\na,1\nb\n", r"a\.csv', line 3: 1 fields where the header has 2\. Correct the line"),
        ("a.tsv", "text\tlabel\na\t1\tz\n", r"a\.tsv', line 2: 3 fields where the header has 2"),
        ("a.csv", 'text,label\n"a" b,1\n', r"line 2: .* expected after .*Correct its quotes"),
        ("a.csv", 'text,label\n"a,1\n', r"line 2: unexpected end of data"),
        ("a.json", "{", r"a\.json': not readable JSON \(.*\)\. Correct or copy"),
        ("a.json", '{"text": "a"}', r"holds no list of objects\. Write one object per example"),
        ("a.json", '[{"text": "a"}, 3]', r"a\.json', row 2: expected an object with a value per column, got int"),
        ("a.jsonl", '{"text": "a"}\nnothing\n', r"a\.jsonl', line 2: not readable JSON"),
        ("a.jsonl", '["a"]\n', r"a\.jsonl', line 1: expected an object"),
        ("a.json", "[" * 100_000, r"not readable JSON"),
    ],
    ids=lambda value: value[:20],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read_records(write(tmp_path, name, content))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read '.*a\.csv': No such file or directory\. Check the path"):
        read_records(tmp_path / "a.csv")


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(InputError, match=r"cannot read '.*a\.txt': Is a directory"):
        read_records(tmp_path / "a.txt")


def test_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes("größe".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not in UTF-8 \(byte 2\)\. Convert it"):
        read_records(tmp_path / "a.txt")
