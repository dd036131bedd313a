import csv
import dataclasses
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from spectra.errors import InputError, MissingPackageError, ResultsError
from spectra.results.hard_samples import COLUMNS, class_word
from spectra.results.sample_history import SampleHistory, WeightRound, load_sample_history
from tests.histories import histories, history_of, round_of, tiny_history

HEADER = "spectra_sample_history"
ARRAYS = (
    "weights", "weights_by_round", "discordance_by_round", "losses_by_round", "predicted_by_round", "labels",
    "teacher_predictions",
)  # fmt: skip


def saved(tmp_path, **changes):
    tiny_history(**changes).save(tmp_path / "h.safetensors")
    return tmp_path / "h.safetensors"


def assert_same(first, second):
    np.testing.assert_equal([vars(each) for each in first.rounds], [vars(each) for each in second.rounds])  # NaN equals NaN
    assert (first.class_names, first.settings) == (second.class_names, second.settings)
    for name in ARRAYS:
        one, other = getattr(first, name), getattr(second, name)
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


# The hardest samples


def test_the_order_by_loss_has_the_largest_mean_loss_first_and_what_is_not_known_last():
    found = tiny_history().hardest(by="mean_loss")
    losses = [sample.mean_loss for sample in found if not math.isnan(sample.mean_loss)]
    assert losses == sorted(losses, reverse=True)
    assert all(math.isnan(sample.mean_loss) for sample in found[len(losses) :])
    assert [row["index"] for row in tiny_history().table(2, by="mean_loss")] == [sample.index for sample in found[:2]]
    with pytest.raises(InputError, match="unknown order 'loss'.*mean_loss"):
        tiny_history().hardest(by="loss")


def test_a_sample_comes_with_all_that_is_known_of_it():
    hardest, second, third, last = tiny_history().hardest()
    assert [sample.index for sample in (hardest, second, third, last)] == [2, 0, 3, 1]
    assert dataclasses.asdict(hardest) == {
        "index": 2, "weight": 2.0, "mean_discordance": 1.0, "mean_loss": 3.0, "label": 0, "teacher": 2, "predicted": 0,
        "discordance": (1.0, 1.0, 1.0), "weights": (1.0, 1.5, 2.0),
    }  # fmt: skip
    assert (second.mean_discordance, second.mean_loss, second.predicted) == (0.5, 0.375, 1)
    assert math.isnan(second.discordance[2])
    assert math.isnan(last.mean_discordance)
    assert math.isnan(last.mean_loss)
    assert last.predicted is None
    assert [(s.rounds_discordant, s.num_rounds) for s in (hardest, second, third, last)] == [(3, 3), (1, 2), (0, 3), (0, 0)]


def test_values_are_those_of_python():
    sample = tiny_history().hardest(1)[0]
    assert [type(value) for value in (sample.index, sample.weight, sample.mean_loss, sample.label)] == [int, float, float, int]
    assert type(history_of(1, is_regression=True).hardest(1)[0].label) is float


@given(histories())
def test_the_order_is_by_weight_then_discordance_then_loss_then_index(history):
    def mean(values):
        known = [value for value in values.astype(float).tolist() if not math.isnan(value)]
        return sum(known) / len(known) if known else -math.inf

    keys = [
        (-history.weights[i], -mean(history.discordance_by_round[:, i]), -mean(history.losses_by_round[:, i]), i)
        for i in range(history.num_samples)
    ]
    assert [sample.index for sample in history.hardest(None)] == [index for *_, index in sorted(keys)]


def test_samples_without_a_discordance_or_loss_come_after_those_with_one():
    equal = {"weights": np.ones(4)}
    assert [sample.index for sample in tiny_history(**equal).hardest()] == [2, 0, 3, 1]
    same = {"discordance_by_round": np.ones((3, 4), np.float32)}
    assert [sample.index for sample in tiny_history(**equal, **same).hardest()] == [2, 0, 3, 1]
    none = {"losses_by_round": np.full((3, 4), np.nan, np.float32)}
    assert [sample.index for sample in tiny_history(**equal, **same, **none).hardest()] == [0, 1, 2, 3]


@pytest.mark.parametrize(("num", "expected"), [(0, []), (1, [2]), (3, [2, 0, 3]), (99, [2, 0, 3, 1]), (None, [2, 0, 3, 1])])
def test_as_many_are_returned_as_were_asked_for(num, expected):
    history = tiny_history()
    assert [sample.index for sample in history.hardest(num)] == expected
    assert [row["index"] for row in history.table(num)] == expected
    assert history.to_pandas(num)["index"].tolist() == expected


def test_twenty_are_returned_by_default():
    assert len(history_of(2, 30).hardest()) == 20


def test_a_negative_number_is_refused():
    with pytest.raises(InputError, match="num is -1: pass how many samples to return, 0 or more, or None for all"):
        tiny_history().hardest(-1)


# Tables


def test_the_table_has_the_words_of_classes_and_none_for_what_is_not_known():
    first, *_, last = tiny_history().table()
    assert tuple(first) == COLUMNS
    assert first == {
        "index": 2, "weight": 2.0, "mean_discordance": 1.0, "mean_loss": 3.0, "label": "no", "teacher": "yes",
        "predicted": "no", "rounds_discordant": 3, "num_rounds": 3,
    }  # fmt: skip
    assert (last["mean_discordance"], last["mean_loss"], last["predicted"]) == (None, None, None)


@pytest.mark.parametrize(
    ("value", "names", "word"),
    [(1, ("a", "b"), "b"), (2, ("a", "b"), 2), (-100, ("a",), -100), (1.0, ("a", "b"), 1.0), (None, ("a",), None), (0, (), 0)],
)
def test_only_a_class_with_a_name_is_named(value, names, word):
    assert class_word(value, names) == word


def test_a_frame_keeps_numbers_as_numbers():
    frame = tiny_history(class_names=()).to_pandas()
    assert list(frame) == list(COLUMNS)
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert types == dict.fromkeys(COLUMNS, "int64") | {
        "weight": "float64", "mean_discordance": "float64", "mean_loss": "float64", "predicted": "Int64"
    }  # fmt: skip
    assert frame["predicted"].isna().tolist() == [False, False, False, True]
    assert frame["mean_loss"].isna().tolist() == [False, False, False, True]


def test_a_frame_of_names_or_of_a_regression_or_of_nothing_can_be_made():
    assert tiny_history().to_pandas()["label"].tolist() == ["no", "no", "yes", "maybe"]
    regression = history_of(2, is_regression=True)
    frame = regression.to_pandas()
    assert frame["label"].tolist() == regression.labels[frame["index"]].tolist()
    assert frame["predicted"].isna().all()
    assert tiny_history(labels=None, teacher_predictions=None).to_pandas()["teacher"].isna().all()
    assert len(tiny_history().to_pandas(0)) == 0


def test_frames_need_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match=r'tables need pandas: pip install "spectra-nn\[frames\]"'):
        tiny_history().to_pandas()


def test_a_csv_file_reads_back_to_the_same_numbers(tmp_path):
    history = history_of(3, is_regression=True)
    history.to_csv(tmp_path / "new" / "hard.csv", 7)
    content = (tmp_path / "new" / "hard.csv").read_bytes()
    assert b"\r" not in content
    rows = list(csv.DictReader(content.decode().splitlines()))
    expected = history.table(7)
    assert [tuple(row) for row in rows] == [COLUMNS] * 7
    for row, known in zip(rows, expected, strict=True):
        assert {name: "" if value is None else str(value) for name, value in known.items()} == row
        assert float(row["weight"]) == known["weight"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["hard.csv"]


def test_names_with_commas_quotes_and_line_ends_stay_one_cell(tmp_path):
    tiny_history(class_names=('a, "b"', "c\nd", "ä")).to_csv(tmp_path / "hard.csv")
    with (tmp_path / "hard.csv").open(encoding="utf-8", newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ['a, "b"', 'a, "b"', "ä", "c\nd"]


# The file


@given(histories())
def test_saving_and_loading_is_the_identity(tmp_path_factory, history):
    file = tmp_path_factory.mktemp("history") / "h.safetensors"
    history.save(file)
    assert_same(history, load_sample_history(file))


def test_settings_come_back_as_plain_values(tmp_path):
    file = saved(
        tmp_path, settings={"v_max": math.inf, "low": -math.inf, "none": math.nan, "pair": (1, {"a": math.inf}), "p": tmp_path}
    )
    expected = {"v_max": "inf", "low": "-inf", "none": None, "pair": [1, {"a": "inf"}], "p": str(tmp_path)}
    assert load_sample_history(file).settings == expected


def test_the_arrays_can_be_read_without_spectra_and_unknown_ones_are_not_there(tmp_path):
    arrays = load_file(saved(tmp_path, labels=None, teacher_predictions=None))
    assert sorted(arrays) == sorted(ARRAYS[:-2])
    np.testing.assert_array_equal(arrays["weights"], tiny_history().weights)


def test_any_strides_are_written(tmp_path):
    history = tiny_history()
    turned = dataclasses.replace(history, losses_by_round=np.asfortranarray(history.losses_by_round))
    turned.save(tmp_path / "h.safetensors")
    assert_same(history, load_sample_history(tmp_path / "h.safetensors"))


def test_equal_histories_give_equal_bytes_and_no_other_file(tmp_path):
    for name in ("a", "b"):
        tiny_history().save(tmp_path / "new" / f"{name}.safetensors")
    first, second = sorted((tmp_path / "new").iterdir())
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(("write", "name"), [("save", "h.safetensors"), ("to_csv", "h.csv")])
def test_a_file_is_replaced_only_when_forced(tmp_path, write, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ResultsError, match=f"{name}' exists. Choose another name, or replace it with force=True."):
        getattr(tiny_history(), write)(tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"
    getattr(tiny_history(), write)(tmp_path / name, force=True)
    assert (tmp_path / name).read_bytes() != b"mine"


@pytest.mark.parametrize(("write", "name"), [("save", "h.safetensors"), ("to_csv", "h.csv")])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, write, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write to"):
        getattr(tiny_history(), write)(tmp_path / "file" / name)


def test_other_endings_are_refused(tmp_path):
    for use in (tiny_history().save, load_sample_history):
        with pytest.raises(ResultsError, match=r"h.npz': a sample history is a file that ends in .safetensors"):
            use(tmp_path / "h.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"there is no sample history at '.*h.safetensors'. DCSTrainer writes one"):
        load_sample_history(tmp_path / "h.safetensors")


def rewritten(tmp_path, change):
    """A file whose arrays and header were changed after they had been written."""
    file = saved(tmp_path)
    arrays = load_file(file)
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))["__metadata__"][HEADER]
    content = {"arrays": arrays, "header": json.loads(header)}
    change(content)
    save_file(content["arrays"], file, {HEADER: json.dumps(content["header"])})
    return file


def in_header(**changes):
    return lambda content: content["header"].update(changes)


def in_arrays(**changes):
    return lambda content: content["arrays"].update(changes)


BROKEN = {
    "other kind": (lambda content: content.update(header=[1]), "is no sample history"),
    "no version": (lambda content: content["header"].pop("schema_version"), "is no sample history"),
    "later version": (in_header(schema_version=2), "has schema version 2, this Spectra reads 1. Read it with the Spectra that"),
    "no rounds": (lambda content: content["header"].pop("rounds"), "is damaged"),
    "rounds of something else": (in_header(rounds=3), "is damaged"),
    "a round without step": (lambda content: content["header"]["rounds"][1].pop("step"), "is damaged .'step'"),
    "a step in words": (lambda content: content["header"]["rounds"][1].update(step="ten"), "is damaged"),
    "a share in words": (lambda content: content["header"]["rounds"][1].update(ess="much"), "is damaged"),
    "rounds out of order": (lambda content: content["header"]["rounds"].reverse(), r"do not ascend: \[2, 1, 0\]"),
    "a round too few": (
        lambda content: content["header"]["rounds"].pop(),
        r"of shape \(3, 4\), expected float32 of shape \(2,",
    ),
    "no settings": (in_header(settings=None), "is damaged"),
    "names of something else": (in_header(class_names=5), "is damaged"),
    "an array lost": (lambda content: content["arrays"].pop("losses_by_round"), "is damaged .*losses_by_round"),
    "an array more": (in_arrays(colours=np.ones(4)), "is damaged .*colours"),
    "another type": (in_arrays(weights=np.ones(4, np.float32)), "'weights' is float32 of shape"),
    "weights of NaN": (in_arrays(weights=np.full(4, np.nan)), "'weights' holds numbers that are negative or not finite"),
}


@pytest.mark.parametrize(("change", "words"), BROKEN.values(), ids=BROKEN)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, words):
    with pytest.raises(ResultsError, match=words) as caught:
        load_sample_history(rewritten(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_files_of_other_kinds_are_refused(tmp_path):
    file = saved(tmp_path)
    whole = file.read_bytes()
    for content in (b"", b"text", whole[:100], whole[:-3]):
        file.write_bytes(content)
        with pytest.raises(ResultsError, match="is no sample history, or a damaged one"):
            load_sample_history(file)
    save_file({"weights": np.ones(3)}, file)
    with pytest.raises(ResultsError, match="is no sample history, or a damaged one"):
        load_sample_history(file)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ResultsError, match="is no sample history, or a damaged one"):
        load_sample_history(tmp_path / "folder.safetensors")


# What cannot be


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.zeros(4, np.int32)}, r"'labels' is int32 of shape \(4,\), expected int64 or float64 of shape \(4,\)"),
        ({"teacher_predictions": np.zeros(3, int)}, r"'teacher_predictions' is int64 of shape \(3,\), expected"),
        ({"losses_by_round": np.zeros((2, 4), np.float32)}, r"\(2, 4\), expected float32 of shape \(3, 4\)"),
        ({"predicted_by_round": np.zeros((3, 4), int)}, "'predicted_by_round' is int64"),
        ({"weights": np.array([1.0, 2.0, -1.0, 2.0])}, "'weights' holds numbers that are negative or not finite"),
        (
            {"weights_by_round": np.full((3, 4), np.inf, np.float32)},
            "'weights_by_round' holds numbers that are negative or not",
        ),
        ({"rounds": (round_of(0), round_of(0), round_of(1))}, r"do not ascend: \[0, 0, 1\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(InputError, match=f"these parts make no sample history: .*{words}"):
        tiny_history(**changes)


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError, match="'labels' is .*; 'teacher_predictions' is "):
        tiny_history(labels=np.zeros(3), teacher_predictions=np.zeros(5))


def test_a_history_without_samples_is_refused():
    none, rows = np.zeros(0), np.zeros((0, 0), np.float32)
    with pytest.raises(InputError, match="there is no sample"):
        SampleHistory(
            rounds=(), weights=none, weights_by_round=rows, discordance_by_round=rows, losses_by_round=rows,
            predicted_by_round=rows.astype(np.int32),
        )  # fmt: skip


@given(st.integers(0, 3))
def test_a_run_is_read_as_it_was_at_any_round(number):
    history = tiny_history()
    rows = {name: getattr(history, name)[:number] for name in ARRAYS if name.endswith("_by_round")}
    earlier = dataclasses.replace(history, rounds=history.rounds[:number], **rows)
    assert [len(sample.discordance) for sample in earlier.hardest()] == [number] * 4


def test_it_reads_well():
    history = tiny_history()
    assert str(history).splitlines() == [
        "Weights of 4 samples over 3 rounds, 1 skipped: effective sample share 90.0%, largest weight 2",
        "hardest samples, with their weights: 2 (2), 0 (1), 3 (0.5), 1 (0.5)",
    ]
    assert str(history_of(1, 1)).startswith("Weights of 1 sample over 1 round, 0 skipped: ")


def test_before_the_first_round_there_is_little_to_say(tmp_path):
    empty = np.zeros((0, 4), np.float32)
    names = ("weights_by_round", "discordance_by_round", "losses_by_round")
    history = tiny_history(rounds=(), predicted_by_round=empty.astype(np.int32), **dict.fromkeys(names, empty))
    assert str(history) == "Weights of 4 samples over 0 rounds"
    history.save(tmp_path / "h.safetensors")
    assert_same(history, load_sample_history(tmp_path / "h.safetensors"))


def test_the_time_of_a_round_need_not_be_known():
    assert math.isnan(
        WeightRound(
            number=0, step=1, eps=0.1, step_size=0.0, skipped="warmup", ess=1.0, v_max=1.0, top_share=0.01, num_seen=4
        ).seconds
    )
