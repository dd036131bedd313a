import pytest

from spectra.errors import ResultsError
from spectra.report.run_figures import draw_run
from tests.run_folders import log_lines, run_record, write_log, write_run

NAMES = ["alpha-trajectory", "losses", "metrics", "tempbalance-trajectory"]


def test_all_figures_of_a_run_and_its_summary_are_written_alike_each_time(tmp_path):
    written = draw_run(write_run(tmp_path))
    assert sorted(path.stem for path in (tmp_path / "figures").glob("*.png")) == NAMES
    assert sorted(path.stem for path in (tmp_path / "figures").glob("*.pdf")) == NAMES
    assert sorted(written) == sorted([*(tmp_path / "figures").iterdir(), tmp_path / "summary.md"])
    assert written[-1] == tmp_path / "summary.md"
    text = written[-1].read_text(encoding="utf-8")
    assert all(f"](figures/{name}.png)" in text for name in NAMES)
    first = {path: path.read_bytes() for path in written}
    assert {path: path.read_bytes() for path in draw_run(tmp_path)} == first


def test_nothing_is_drawn_where_there_is_nothing(tmp_path):
    write_log(tmp_path, [line for line in log_lines() if "loss" in line.numbers])
    run_record(output=str(tmp_path), test_metrics={}).save(tmp_path)
    assert [path.name for path in draw_run(tmp_path)] == ["losses.png", "losses.pdf", "summary.md"]


def test_weight_decays_have_a_figure_of_their_own(tmp_path):
    write_run(tmp_path)
    (tmp_path / "tempbalance.jsonl").rename(tmp_path / "alphadecay.jsonl")
    assert (tmp_path / "figures" / "alphadecay-trajectory.pdf") in draw_run(tmp_path)


def test_a_run_that_is_not_finished_has_no_summary(tmp_path):
    with pytest.raises(ResultsError, match="there is no record of a finished run"):
        draw_run(tmp_path)


def test_a_recipe_that_cannot_be_read_is_named(tmp_path):
    write_run(tmp_path)
    (tmp_path / "recipe.yaml").write_text("{")
    with pytest.raises(ResultsError, match=r"recipe.yaml' cannot be read \(.*Put the run's recipe there"):
        draw_run(tmp_path)
