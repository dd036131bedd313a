"""``spectra plot``, as a user types it."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import spectra
from tests.models import small_weights

MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-1.", "svg": b"<?xml"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A result folder, with a layer that has no spectrum; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("report") / "out"
    weights = small_weights()
    weights["layers.2.fc.weight"][3, 4] = np.nan
    spectra.analyze(weights, output=folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "out")


@pytest.mark.parametrize(
    "options", [["esd"], ["esd", "--layer", "layers.0.fc"], ["alpha-by-depth"], ["alpha-by-depth", "--wide"]], ids=" ".join
)
def test_a_figure_is_written_in_three_formats_and_named_on_stdout(run, folder, options):
    code, out, err = run(folder, *options)
    files = sorted((folder / "figures").iterdir())
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == [str(file) for file in files]
    assert {file.suffix[1:] for file in files} == set(MAGIC)
    for file in files:
        assert file.read_bytes().startswith(MAGIC[file.suffix[1:]])
        assert file.stat().st_size > 4000


@pytest.mark.parametrize("figure", ["esd", "alpha-by-depth"])
def test_drawing_twice_gives_the_same_bytes(run, folder, tmp_path, figure):
    run(folder, figure, "--output", tmp_path / "a")
    run(folder, figure, "--output", tmp_path / "b")
    first, second = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "ab")
    assert len(first) == 3
    assert first == second


def test_another_process_draws_the_same_bytes(run, folder, tmp_path):
    run(folder, "alpha-by-depth", "--output", tmp_path / "a")
    command = [sys.executable, "-m", "spectra", "plot", str(folder), "alpha-by-depth", "--output", str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second


def test_formats_may_be_chosen(run, folder):
    assert run(folder, "esd", "--layer", "head", "--format", "svg, png")[0] == 0
    assert sorted(file.name for file in (folder / "figures").iterdir()) == ["esd-head.png", "esd-head.svg"]


def test_a_name_that_a_file_cannot_have_is_written_without_harm(run, tmp_path):
    spectra.analyze({"../a/b c.weight": small_weights()["embed.weight"]}, output=tmp_path / "out")
    assert run(tmp_path / "out", "esd", "--format", "svg")[0] == 0
    assert [file.name for file in (tmp_path / "out" / "figures").iterdir()] == ["esd-..-a-b-c.svg"]


def test_dollar_signs_in_a_name_are_no_formula(run, tmp_path):
    spectra.analyze({r"$\price$.weight": small_weights()["embed.weight"]}, output=tmp_path / "out")
    assert run(tmp_path / "out", "esd", "--format", "svg")[0] == 0


def test_figures_may_go_elsewhere(run, folder, tmp_path):
    assert run(folder, "esd", "--format", "png", "--output", tmp_path / "new" / "place")[0] == 0
    assert len(list((tmp_path / "new" / "place").iterdir())) == 1
    assert not (folder / "figures").exists()


def test_without_a_layer_the_worst_is_drawn(run, folder):
    from spectra.report.table import worst_first

    worst = next(row for row in worst_first(spectra.load(folder).layers) if row.status == "ok")
    out = run(folder, "esd", "--format", "png")[1]
    assert out == f"{folder}/figures/esd-{worst.layer_name}.png\n"


def test_an_unknown_figure_is_one_line_with_the_nearest(refused, folder):
    assert refused(folder, "alpha-by-dept") == (
        "unknown figure 'alpha-by-dept'. Did you mean 'alpha-by-depth'? Known: esd, alpha-by-depth."
    )


def test_an_unknown_layer_is_one_line_with_the_nearest(refused, folder):
    assert refused(folder, "esd", "--layer", "layers.1.fcc").startswith(
        "no layer 'layers.1.fcc' in the report. Did you mean 'layers.1.fc'?"
    )


@pytest.mark.parametrize("formats", ["bmp", "png,bmp", "", "png,"])
def test_an_unknown_format_is_one_line_and_nothing_is_drawn(refused, folder, formats):
    wrong = formats.split(",")[-1]
    assert refused(folder, "esd", "--format", formats) == f"unknown format '{wrong}'. Known: png, pdf, svg."
    assert not (folder / "figures").exists()


def test_a_layer_without_spectrum_is_one_line(refused, folder):
    assert refused(folder, "esd", "--layer", "layers.2.fc") == "layer 'layers.2.fc' has no spectrum: its status is 'nonfinite'."


@pytest.mark.parametrize("figure", ["esd", "alpha-by-depth"])
def test_a_report_without_fits_has_nothing_to_draw(refused, tmp_path, figure):
    spectra.analyze({"a.weight": np.zeros((20, 20))}, output=tmp_path / "out")
    assert "was fitted" in refused(tmp_path / "out", figure)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_text("no folder"),
        lambda path: save_file(small_weights(), path),
    ],
    ids=["missing", "empty", "text", "weights"],
)
def test_what_is_no_report_is_one_line_with_the_command_that_makes_one(refused, tmp_path, make):
    make(tmp_path / "other")
    assert refused(tmp_path / "other", "esd") == (
        f"'{tmp_path / 'other'}' is no result folder: it has no report.json. Make one: spectra analyze MODEL --output DIR"
    )


def test_an_unfinished_run_is_one_line_with_the_way_to_finish_it(refused, tmp_path):
    (tmp_path / "progress.jsonl").write_text('{"header": {}}\n')
    assert "holds an unfinished run. Run the same 'spectra analyze' command again" in refused(tmp_path, "esd")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema_version": 99}',
        '{"schema_version": 1}',
        '{"schema_version": 1, "settings": [], "summary": {}}',
    ],
)
def test_a_damaged_report_is_one_line(refused, folder, content):
    (folder / "report.json").write_text(content)
    line = refused(folder, "esd")
    assert str(folder / "report.json") in line
    assert "Run 'spectra analyze' again" in line


def test_lost_spectra_are_one_line_and_alpha_can_still_be_drawn(refused, run, folder):
    (folder / "spectra.safetensors").unlink()
    assert f"'{folder / 'spectra.safetensors'}' cannot be read" in refused(folder, "esd")
    assert run(folder, "alpha-by-depth", "--format", "png")[0] == 0


def test_a_place_that_cannot_be_written_is_one_line(refused, folder, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert refused(folder, "esd", "--output", tmp_path / "file").startswith(f"cannot write '{tmp_path / 'file'}")


@pytest.mark.parametrize("arguments", [[], ["out"], ["out", "esd", "--colour", "red"], ["out", "esd", "more"]], ids=" ".join)
def test_wrong_usage_is_one_line(refused, arguments):
    assert refused(*arguments)
