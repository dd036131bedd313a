import csv
import io
import json
import math
import sys

import numpy as np
import pytest

from spectra.errors import InputError, MissingPackageError, ResultsError
from spectra.results.comparison import CHANGE_METRICS, METRICS
from spectra.results.comparison_rows import row_from_dict
from spectra.results.records import LayerStatus
from tests.comparisons import comparison_of, equal_row_of, layer_of, row_of


def test_overlaps_are_means_of_squared_cosines():
    row = row_of(principal_angles_left=(0.0, math.pi / 3), principal_angles_right=(math.pi / 2,))
    assert row.overlap_left == pytest.approx((1.0 + 0.25) / 2, rel=1e-15)
    assert row.overlap_right == pytest.approx(0.0, abs=1e-30)
    assert (row.largest_angle_left, row.largest_angle_right) == (math.pi / 3, math.pi / 2)


def test_what_a_row_lacks_is_nan():
    row = row_of(status="no_counterpart", after=None, norm_change=math.nan, num_directions=0, principal_angles_left=())
    assert math.isnan(row.overlap_left)
    assert math.isnan(row.largest_angle_left)
    assert row.num_intruders is None
    assert math.isnan(row.alpha_change)
    assert math.isnan(row.value("num_intruders"))
    assert row.value_at_base("alpha") == 3.1
    assert not row.is_changed
    assert not row.is_reliable


def test_changes_of_metrics_are_differences():
    row = row_of()
    assert row.alpha_change == 2.6 - 3.1
    assert row.change("stable_rank") == -1.0
    assert row.relative_change == 0.0625
    assert row_of(norm_before=0.0).relative_change == math.inf


def test_a_row_comes_back_from_json():
    rows = [row_of(), equal_row_of(), row_of(after=None, status="no_counterpart", norm_change=math.nan, norm_before=math.inf)]
    for row in rows:
        content = json.loads(json.dumps(row.to_dict(), allow_nan=False))
        again = row_from_dict(content)
        assert json.dumps(again.to_dict()) == json.dumps(content)
        assert again.findings == row.findings
        assert again.intruders == row.intruders
        assert (again.before, again.energy) == (row.before, row.energy) or row.before.to_dict() == again.before.to_dict()


def test_the_table_has_a_column_before_after_and_of_change_for_every_metric():
    table = list(csv.DictReader(io.StringIO(comparison_of(row_of(), equal_row_of()).to_csv())))
    first, second = table
    assert (first["alpha_before"], first["alpha_after"], float(first["alpha_change"])) == ("3.1", "2.6", 2.6 - 3.1)
    assert (first["energy_1"], second["energy_1"]) == ("0.64", "")
    assert (first["findings"], second["findings"]) == ("low-rank; intruders", "unchanged")
    assert (first["num_intruders"], second["num_intruders"]) == ("1", "")
    assert float(first["largest_angle_left"]) == 0.5
    assert not any(value in ("nan", "None") for row in table for value in row.values())


def test_a_trajectory_starts_at_the_base():
    rows = [row_of(model="a"), equal_row_of(model="a"), row_of(model="b", after=layer_of(alpha=2.0), norm_change=0.8)]
    comparison = comparison_of(*rows)
    assert comparison.trajectory("alpha") == {
        "layers.0.fc": [3.1, 2.6, 2.0],
        "layers.1.fc": [3.1, 3.1, pytest.approx(math.nan, nan_ok=True)],
    }
    assert comparison.trajectory("relative_change")["layers.0.fc"] == [0.0, 0.0625, 0.1]
    assert comparison.trajectory("overlap_left")["layers.1.fc"][:2] == [1.0, 1.0]


def test_metrics_are_the_numeric_columns():
    assert {"alpha", "stable_rank", "matrix_rank", "num_tail", "spectral_norm"} <= set(METRICS)
    assert not {"num_rows", "num_params", "status", "label", "expert"} & set(METRICS)
    assert not set(METRICS) & set(CHANGE_METRICS)


def test_equal_models_are_called_identical():
    comparison = comparison_of(equal_row_of(), equal_row_of("layers.2.fc"))
    assert comparison.is_identical
    assert str(comparison) == "'tuned' against 'base': identical, all 2 matrices are equal"
    assert not comparison_of(equal_row_of(), row_of()).is_identical


def test_words_say_what_changed():
    missing = row_of("head", status="no_counterpart", after=None, norm_change=math.nan, findings=())
    assert str(comparison_of(row_of(), equal_row_of(), missing)) == (
        "'tuned' against 'base': 1 of 3 matrices changed by 0.0442 of the norm; 1 not compared; 1 low-rank; 1 with intruders"
    )
    alone = row_of(status="metrics_only", norm_change=math.nan, findings=())
    assert str(comparison_of(alone)) == "'tuned' against 'base': metrics of 1 matrix, no weights to compare"


def test_the_change_of_a_model_is_that_of_all_its_matrices():
    rows = [row_of(norm_change=3.0, norm_before=6.0), equal_row_of(norm_before=8.0)]
    rows.append(row_of("head", norm_change=math.nan, norm_before=100.0))
    assert comparison_of(*rows).relative_change("tuned") == 0.3


def test_spectra_and_directions_of_a_change_are_found_by_name():
    comparison = comparison_of(row_of(), equal_row_of())
    np.testing.assert_array_equal(comparison.eigenvalues_of_change("layers.0.fc"), [0.09, 0.16])
    found = comparison.directions("layers.0.fc", "tuned")
    assert (found.left.shape, found.singular_values.shape, found.right.shape) == ((48, 2), (2,), (32, 2))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c.of("tunde"), r"no model 'tunde' in the comparison. Did you mean 'tuned'\? Known: tuned, other"),
        (lambda c: c.eigenvalues_of_change("layers.0.fc"), "model: which of tuned, other is meant"),
        (lambda c: c.directions("layers.9.fc", "tuned"), r"no matrix 'layers.9.fc' in the comparison. Did you mean"),
        (
            lambda c: c.directions("layers.1.fc", "tuned"),
            "the change of 'layers.1.fc' has no directions: its status is 'unchanged'",
        ),
        (lambda c: c.eigenvalues_of_change("layers.1.fc", "tuned"), "has no spectrum"),
        (lambda c: c.trajectory("alhpa"), r"unknown metric 'alhpa'. Did you mean 'alpha'\?"),
        (lambda c: c.rows[0].value("x"), "unknown metric 'x'"),
        (lambda c: c.rows[0].value_at_base("x"), "unknown metric 'x'"),
        (lambda c: c.rows[0].change("relative_change"), "unknown metric 'relative_change'"),
    ],
)
def test_what_is_not_there_is_refused(ask, message):
    comparison = comparison_of(row_of(), equal_row_of(), row_of(model="other"))
    with pytest.raises(InputError, match=message):
        ask(comparison)


def test_other_files_are_not_written_among(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ResultsError, match="exists and is not empty. Choose another folder"):
        comparison_of(row_of()).save(tmp_path)


def test_a_table_for_pandas_has_the_columns_of_the_csv():
    pytest.importorskip("pandas")
    comparison = comparison_of(row_of(), equal_row_of())
    frame = comparison.to_pandas()
    assert list(frame.columns) == comparison.to_csv().splitlines()[0].split(",")
    assert frame["alpha_after"].tolist() == [2.6, 3.1]


def test_statuses_are_words_of_the_report():
    assert equal_row_of().status == LayerStatus.UNCHANGED


def test_a_data_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="tables need pandas"):
        comparison_of(row_of()).to_pandas()
