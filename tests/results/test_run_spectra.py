import pytest

import spectra
from spectra.errors import ResultsError
from spectra.results.run_spectra import analysis_folders, epoch_name, load_run_spectra
from tests.run_folders import block_alphas, heavy_tailed, write_spectra

WEIGHTS = heavy_tailed(block_alphas(), size=20)


def test_analyses_come_in_the_order_of_time(tmp_path):
    for name, step in (("after", 40), ("epoch-010", 20), ("epoch-009", 18), ("before", 0)):
        write_spectra(tmp_path, name, WEIGHTS, step=step, epoch=step / 2)
    found = load_run_spectra(tmp_path)
    assert [(one.name, one.step, one.epoch) for one in found] == [
        ("before", 0, 0.0), ("epoch-009", 18, 9.0), ("epoch-010", 20, 10.0), ("after", 40, 20.0)
    ]  # fmt: skip
    assert [layer.layer_name for layer in found[0].report.layers] == list(block_alphas())


def test_a_best_state_stands_where_it_was_reached(tmp_path):
    for name, step in (("before", 0), ("epoch-002", 20), ("after", 10)):
        write_spectra(tmp_path, name, WEIGHTS, step=step, epoch=step / 10)
    assert [one.name for one in load_run_spectra(tmp_path)] == ["before", "after", "epoch-002"]


def test_unfinished_and_other_folders_are_left_out(tmp_path):
    write_spectra(tmp_path, "before", WEIGHTS, step=0, epoch=0.0)
    for name in ("epoch-001", "epoch-x", "other"):
        (tmp_path / "diagnostics" / name).mkdir()
    assert [path.name for path in analysis_folders(tmp_path)] == ["before"]
    assert load_run_spectra(tmp_path / "nowhere") == ()


def test_epochs_are_named_so_that_they_sort(tmp_path):
    assert [epoch_name(number) for number in (1, 12, 1234)] == ["epoch-001", "epoch-012", "epoch-1234"]


def test_an_analysis_from_elsewhere_is_refused(tmp_path):
    spectra.analyze(WEIGHTS, output=tmp_path / "diagnostics" / "before")
    with pytest.raises(ResultsError, match="does not say at which step of a run it was made"):
        load_run_spectra(tmp_path)
