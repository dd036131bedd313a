import builtins
import csv
import io
import json
import math

import pytest

from spectra.errors import MissingPackageError, ResultsError
from spectra.results.model_shift import Divergence, load_model_shift
from tests.shifts import matrix_of, shift_of

KL = Divergence(mean=0.0125, std_error=0.0004, num_tokens=5000, num_texts=40)


def same(one, other):
    """Equal, with NaN equal to NaN: as text."""
    return repr(one) == repr(other)


def test_relative_changes_are_shares_of_the_norm_before():
    assert matrix_of(norm_before=8.0, norm_change=2.0).relative_change == 0.25
    assert shift_of(norm_before=8.0, norm_change=2.0).relative_change == 0.25


def test_a_matrix_that_was_zero_moved_infinitely_far_and_one_that_stayed_zero_by_no_known_share():
    assert matrix_of(norm_before=0.0, norm_change=2.0).relative_change == math.inf
    assert math.isnan(matrix_of(norm_before=0.0, norm_change=0.0).relative_change)
    assert math.isnan(matrix_of(norm_change=math.nan).relative_change)


def test_a_row_is_reliable_if_both_fits_are_good():
    assert matrix_of().is_reliable
    assert not matrix_of(fit_quality_before="poor").is_reliable
    assert not matrix_of(fit_quality_after="poor").is_reliable
    assert not matrix_of(fit_quality_before="", fit_quality_after="").is_reliable


def test_it_says_all_in_two_lines():
    shift = shift_of(matrix_of("a"), matrix_of("b", alpha_before=4.0, alpha_after=3.0), divergence=KL)
    assert str(shift) == (
        "'runs/tuned' is 0.0125 of the norm of 'models/seed' away from it (1.25 of 100; 2 matrices changed, 5 did not)\n"
        "alpha: mean 3.500 before, 2.875 after, over 2 with good fits; "
        "KL(seed || tuned) 0.0125 ± 0.0004 nats per token (5000 tokens)"
    )


def test_it_says_what_there_is():
    assert str(shift_of(settings={})).count("\n") == 0
    assert "1 matrix changed" in str(shift_of(matrix_of()))
    assert str(shift_of(matrix_of(fit_quality_after="poor"))).endswith("no matrix that changed has good fits before and after")
    assert str(shift_of(settings={}, divergence=KL)).endswith("(5000 tokens)")


def test_a_divergence_of_one_text_has_no_error():
    assert str(Divergence(mean=0.5, std_error=math.nan, num_tokens=1, num_texts=1)) == (
        "KL(seed || tuned) 0.5 nats per token (1 token)"
    )


@pytest.mark.parametrize("divergence", [None, KL, Divergence(mean=1.0, std_error=math.nan, num_tokens=3, num_texts=1)])
def test_what_is_saved_reads_back_as_it_was(tmp_path, divergence):
    rows = (matrix_of("a", norm_before=0.1 + 0.2), matrix_of("b", alpha_after=math.nan), matrix_of("c", norm_before=0.0))
    shift = shift_of(*rows, divergence=divergence, norm_change=math.nan, notes=("one", "two"))
    file = tmp_path / "new" / "shift.json"
    shift.save(file)
    assert same(load_model_shift(file), shift)
    content = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert content["schema_version"] == 1
    assert content["norm_change"] is content["relative_change"] is content["matrices"][1]["alpha_after"] is None
    assert content["matrices"][2]["relative_change"] == "inf"
    assert content["matrices"][0]["alpha_change"] == -0.25


def test_a_file_of_others_is_not_replaced(tmp_path):
    file = tmp_path / "shift.json"
    file.write_text("mine")
    with pytest.raises(ResultsError, match="exists. Choose another name, or pass force=True"):
        shift_of().save(file)
    shift_of().save(file, force=True)
    assert same(load_model_shift(file), shift_of())


def test_csv_has_a_row_for_each_matrix_and_nothing_for_what_is_not_known():
    rows = list(csv.DictReader(io.StringIO(shift_of(matrix_of("a[1]"), matrix_of(alpha_after=math.nan)).to_csv())))
    assert [row["matrix_name"] for row in rows] == ["a[1]", "layers.0.fc"]
    assert float(rows[0]["relative_change"]) == matrix_of().relative_change
    assert (rows[1]["alpha_after"], rows[1]["alpha_change"]) == ("", "")
    assert shift_of().to_csv().count("\n") == 1


def test_a_data_frame_has_the_columns_of_the_csv():
    shift = shift_of(matrix_of(), matrix_of(alpha_after=math.nan, norm_before=0.0))
    frame = shift.to_pandas()
    assert list(frame.columns) == shift.to_csv().splitlines()[0].split(",")
    assert list(frame["relative_change"]) == [matrix_of().relative_change, math.inf]
    assert math.isnan(frame["alpha_change"][1])
    assert frame.dtypes["alpha_after"] == "float64"
    assert shift_of().to_pandas().dtypes["alpha_after"] == "float64"


def test_a_data_frame_needs_pandas(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match="tables need pandas"):
        shift_of().to_pandas()


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="there is no model shift at .*Make it again"):
        load_model_shift(tmp_path / "shift.json")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("not JSON", "is no model shift, or a damaged one"),
        ("[1]", "is no model shift, or a damaged one"),
        ('{"schema_version": 1}', "is no model shift, or a damaged one .'divergence'"),
        ({"schema_version": 2}, "has schema version 2, this Spectra reads 1"),
        ({"matrices": 3}, "damaged one .'int' object is not iterable"),
        ({"matrices": [{}]}, "damaged one .'layer_name'"),
        ({"divergence": {"mean": 1.0}}, "damaged one .'std_error'"),
    ],
    ids=["text", "list", "other", "schema", "rows", "row", "divergence"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, broken, message):
    file = tmp_path / "shift.json"
    content = shift_of(matrix_of()).to_dict()
    file.write_text(broken if isinstance(broken, str) else json.dumps(content | broken))
    with pytest.raises(ResultsError, match=message):
        load_model_shift(file)
