import builtins
import json
import math

import pytest

from spectra.errors import MissingPackageError, ResultsError
from spectra.results.base_shift import BaseShift, load_base_shift
from spectra.results.records import SkippedTensor
from tests.base_shifts import base_shift_of, change_of

NOTHING = {"norm_change": 0.0, "rounding": 0.0, "matrix_rank": 0.0, "stable_rank": math.nan, "effective_rank": math.nan}
STILL = change_of("still", **NOTHING, energy=dict.fromkeys((1, 2, 4), math.nan), status="unchanged")
BROKEN = change_of("broken", norm_change=math.nan, stable_rank=math.nan, status="nonfinite", notes="2 NaN")


def same(one, other):
    """Equal, with NaN equal to NaN: as text."""
    return repr(one) == repr(other)


def test_relative_changes_are_shares_of_the_norm_before():
    assert change_of(norm_before=8.0, norm_change=2.0).relative_change == 0.25
    assert change_of(norm_before=0.0, norm_change=2.0).relative_change == math.inf
    assert math.isnan(change_of(norm_before=0.0, norm_change=0.0).relative_change)


def test_norms_are_of_the_matrices_whose_change_is_known():
    shift = base_shift_of(change_of(norm_before=3.0, norm_change=0.3), change_of(norm_before=4.0, norm_change=0.4), BROKEN)
    assert (shift.norm_before, shift.norm_change) == pytest.approx((5.0, 0.5), rel=1e-15)
    assert shift.relative_change == pytest.approx(0.1, rel=1e-15)


def test_a_change_is_reliable_if_little_of_it_may_be_rounding():
    assert change_of(norm_change=1.0, rounding=0.05).is_reliable
    assert not change_of(norm_change=1.0, rounding=0.1).is_reliable
    assert not change_of(rounding=math.nan).is_reliable


def test_medians_are_over_the_matrices_that_changed():
    rows = [change_of(stable_rank=rank, energy={1: 1.0 / rank}) for rank in (2.0, 4.0, 5.0)]
    shift = base_shift_of(*rows, STILL, BROKEN)
    assert shift.changed == tuple(rows)
    assert (shift.median("stable_rank"), shift.energy(1)) == (4.0, 0.25)
    assert math.isnan(shift.energy(3))
    assert math.isnan(base_shift_of(STILL).median("stable_rank"))
    unknown = base_shift_of(change_of(matrix_rank=math.nan), change_of(matrix_rank=7.0))
    assert unknown.median("matrix_rank") == 7.0


@pytest.mark.parametrize(
    ("num_tasks", "rank", "standard", "leftover"),
    # T(q - 1) / (T - 2), rounded down: 3 * 3 / 1, 10 * 7 / 8, 5 * 1 / 3.
    [(3, 4, 12, 9), (10, 8, 80, 8), (5, 2, 10, 1), (3, 1, 3, 0), (2, 4, 8, None), (1, 4, 4, None), (None, 4, None, None)],
)
def test_the_theory_gives_ranks_of_what_is_left_in_the_base(num_tasks, rank, standard, leftover):
    shift = base_shift_of(num_tasks=num_tasks, rank=rank)
    assert (shift.standard_rank, shift.leftover_rank) == (standard, leftover)


def test_the_theory_is_said_as_far_as_it_goes():
    assert base_shift_of(num_tasks=10, rank=8).theory == (
        "theory, of A - A*: rank 80 after standard retraining, 0 to 8 after LoRA-ML"
    )
    assert base_shift_of(num_tasks=3, rank=1).theory.endswith("rank 3 after standard retraining, 0 after LoRA-ML")
    assert base_shift_of(num_tasks=2, rank=1).theory.endswith("rank 2 after standard retraining")
    assert base_shift_of(num_tasks=None).theory == base_shift_of(rank=None).theory == ""


def test_it_says_all_in_two_lines():
    assert str(base_shift_of(change_of("a"), STILL)) == (
        "'runs/base' is 0.0442 of the norm of 'models/base' away from it (0.5 of 11.31; 1 of 2 matrices changed)\n"
        "median change: stable rank 2.5, energy top 2 60%, top 6 85%, top 8 90%; "
        "theory, of A - A*: rank 6 after standard retraining, 0 to 3 after LoRA-ML"
    )


def test_it_says_what_there_is():
    assert str(base_shift_of(change_of(), rank=None, top=())).endswith("\nmedian change: stable rank 2.5")
    assert str(base_shift_of(STILL)).endswith("\nno matrix changed by a known amount, so that there is no spectrum of a change")


def test_what_is_saved_reads_back_as_it_was(tmp_path):
    rows = (change_of("a", norm_before=0.1 + 0.2), STILL, BROKEN, change_of("b", norm_before=0.0))
    skipped = (SkippedTensor("c.weight", (3, 4), "float32", "excluded: c"),)
    shift = base_shift_of(*rows, skipped=skipped, notes=("one", "two"))
    file = tmp_path / "new" / "ml.base-shift.json"
    shift.save(file)
    assert same(load_base_shift(file), shift)
    assert same(BaseShift.from_dict(shift.to_dict()), shift)
    content = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert (content["schema_version"], content["standard_rank"], content["leftover_rank"]) == (1, 6, 3)
    assert content["matrices"][0]["energy"]["4"] == 0.8
    assert content["matrices"][1]["energy"] == {"1": None, "2": None, "4": None}
    assert content["matrices"][3]["relative_change"] == "inf"


def test_unknown_tasks_and_ranks_read_back_as_unknown(tmp_path):
    shift = base_shift_of(num_tasks=None, rank=None)
    shift.save(tmp_path / "a.json")
    assert same(load_base_shift(tmp_path / "a.json"), shift)


def test_a_file_of_others_is_not_replaced(tmp_path):
    file = tmp_path / "shift.json"
    file.write_text("mine")
    with pytest.raises(ResultsError, match="exists. Choose another name, or pass force=True"):
        base_shift_of().save(file)
    base_shift_of().save(file, force=True)
    assert same(load_base_shift(file), base_shift_of())


def test_a_data_frame_has_a_row_for_each_matrix_and_a_column_for_each_share():
    frame = base_shift_of(change_of("a"), STILL).to_pandas()
    assert list(frame["matrix_name"]) == ["a", "still"]
    assert "energy" not in frame.columns
    assert list(frame["relative_change"]) == [0.0625, 0.0]
    assert list(frame["is_reliable"]) == [True, False]
    assert frame["energy_4"][0] == 0.8
    assert math.isnan(frame["energy_4"][1])
    assert base_shift_of().to_pandas().empty


def test_a_data_frame_needs_pandas(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingPackageError, match="tables need pandas"):
        base_shift_of().to_pandas()


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="there is no base shift at .*Make it again: base_shift"):
        load_base_shift(tmp_path / "shift.json")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("not JSON", "is no base shift, or a damaged one"),
        ('{"schema_version": 1}', "is no base shift, or a damaged one .'pretrained'"),
        ({"schema_version": 2}, "has schema version 2, this Spectra reads 1"),
        ({"matrices": 3}, "damaged one .'int' object is not iterable"),
        ({"matrices": [{}]}, "damaged one .'layer_name'"),
        ({"skipped": [{"name": "a", "shape": [1]}]}, "damaged one .*missing 2 required"),
        ({"top": ["many"]}, "damaged one .invalid literal"),
        ({"matrices": [change_of().to_dict() | {"norm_before": "much"}]}, "damaged one .could not convert string to float"),
    ],
    ids=["text", "other", "schema", "rows", "row", "skipped", "top", "number"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, broken, message):
    file = tmp_path / "shift.json"
    content = base_shift_of(change_of()).to_dict()
    file.write_text(broken if isinstance(broken, str) else json.dumps(content | broken))
    with pytest.raises(ResultsError, match=message):
        load_base_shift(file)
