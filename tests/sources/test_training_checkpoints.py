import pytest

from spectra.errors import SourceError
from spectra.sources.training_checkpoints import checkpoints_in_order, step_of


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
    return [str(root / name) for name in names]


@pytest.mark.parametrize(
    ("location", "step"),
    [
        ("run/checkpoint-200", 200),
        ("checkpoint-0", 0),
        ("run/checkpoint-last", None),
        ("run/checkpoint-5-best", None),
        ("demo", None),
    ],
)
def test_the_step_stands_in_the_name(location, step):
    assert step_of(location) == step


def test_checkpoints_are_put_in_order_of_their_steps(tmp_path):
    late, early, middle = folders(tmp_path, "checkpoint-1000", "checkpoint-9", "checkpoint-200")
    assert checkpoints_in_order([late, early, middle]) == [early, middle, late]


@pytest.mark.parametrize("inside", ["", "checkpoints/"], ids=["in the folder", "in its checkpoints"])
def test_a_run_stands_for_its_checkpoints_oldest_first(tmp_path, inside):
    late, early = folders(tmp_path, f"run/{inside}checkpoint-1000", f"run/{inside}checkpoint-20")
    folders(tmp_path, "run/diagnostics", f"run/{inside}checkpoint-best")
    (tmp_path / "run" / inside / "checkpoint-5").touch()  # a file is none
    assert checkpoints_in_order([str(tmp_path / "run")]) == [early, late]


def test_where_one_has_no_step_the_order_is_the_given_one(tmp_path):
    late, early = folders(tmp_path, "run/checkpoint-20", "run/checkpoint-10")
    assert checkpoints_in_order(["demo", late, early]) == ["demo", late, early]
    assert checkpoints_in_order(["demo", str(tmp_path / "run")]) == ["demo", early, late]


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (checkpoint,) = folders(tmp_path, "run/checkpoint-20")
    assert checkpoints_in_order(["~/run"]) == [checkpoint]


def test_a_folder_that_is_neither_a_checkpoint_nor_a_run_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"empty' holds no checkpoints of a training run: looked for checkpoint-NUMBER and "):
        checkpoints_in_order([str(tmp_path / "empty")])


def test_a_single_checkpoint_or_what_is_no_folder_is_left_to_the_caller(tmp_path):
    (checkpoint,) = folders(tmp_path, "checkpoint-20")
    assert checkpoints_in_order([checkpoint]) == [checkpoint]
    assert checkpoints_in_order(["org/name"]) == ["org/name"]
