"""``spectra plot``, as a user types it."""

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import spectra
from spectra.cli.plot_figures import FIGURES
from spectra.results.fisher import Aggregate, Fisher, FisherInfo, FisherTensor
from spectra.results.scale_log import ScaleLog, ScaleLogHeader, ScaleRecord
from spectra.results.surface import LossSurface, SurfaceInfo, SurfaceRegion
from tests.base_shifts import base_shift_of, change_of
from tests.data_shifts import shift_of as data_shift_of
from tests.forked import run_python
from tests.histories import tiny_history
from tests.models import small_weights
from tests.policies.plans import tiny_plan
from tests.run_folders import log_lines, write_log, write_run
from tests.shifts import matrix_of
from tests.shifts import shift_of as model_shift_of

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


def write_fisher(path, weights):
    """A Fisher of a model that holds these weights as its base, each with its own score."""
    tensors = tuple(
        FisherTensor(
            f"base.{name}", f"base.{name[:-7]}", "linear", w.shape, w.size, 10.0**-i, 10.0 ** -(i + 1), math.nan, "loop"
        )
        for i, (name, w) in enumerate(weights.items())
    )
    size = sum(t.num_params for t in tensors)
    info = FisherInfo("sampled", "token", "traces", "param_mean", "masked-lm", 8, 64, 0, 1, 0, "toy", size, "float32", "", "0")
    Fisher(info, tensors).save(path)
    return path


@pytest.fixture
def fisher(tmp_path):
    return write_fisher(tmp_path / "fisher.safetensors", small_weights())


@pytest.fixture
def surface(tmp_path):
    grid = np.linspace(-1.5, 1.5, 5)
    bowl = grid[:, None] ** 2 + grid[None, :] ** 2
    info = SurfaceInfo("tensor", True, True, 5, 1.5, 0, "masked-lm", "Toy", 4, 100, 10.0, 64, "", "", "0")
    regions = tuple(SurfaceRegion(name, 2, 50, 10.0, 1.0) for name in ("whole", "top", "bottom"))
    LossSurface(info, regions, 0.0, grid, {r.name: bowl * (i + 1) for i, r in enumerate(regions)}).save(
        tmp_path / "surface.npz"
    )
    return tmp_path / "surface.npz"


@pytest.fixture
def planned(tmp_path):
    tiny_plan().save(tmp_path / "plan.yaml")
    return tmp_path / "plan.yaml"


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
        f"unknown figure 'alpha-by-dept'. Did you mean 'alpha-by-depth'? Known: {', '.join(FIGURES)}."
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
        lambda path: path.mkdir(),
        lambda path: path.write_text("no folder"),
        lambda path: save_file(small_weights(), path),
    ],
    ids=["empty", "text", "weights"],
)
def test_what_is_no_report_is_one_line_with_the_command_that_makes_one(refused, tmp_path, make):
    make(tmp_path / "other")
    assert refused(tmp_path / "other", "esd") == (
        f"'{tmp_path / 'other'}' is no result folder: it has no report.json. Make one: spectra analyze MODEL --output DIR"
    )


def test_a_folder_that_is_not_there_is_one_line(refused, tmp_path):
    assert refused(tmp_path / "other", "esd") == (
        f"there is no folder '{tmp_path / 'other'}'. Give one with a result, such as: spectra analyze MODEL --output DIR"
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


@pytest.mark.parametrize("options", [[], ["--wide"], ["--aggregate", "trace"]], ids=" ".join)
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_fisher_is_drawn_from_either_of_its_files(run, fisher, suffix, options):
    code, out, err = run(fisher.with_suffix(suffix), "fisher-by-layer", "--format", "svg", *options)
    assert (code, out, err) == (0, f"{fisher.parent}/figures/fisher-by-layer.svg\n", "")
    words = "sampled Fisher (sum)" if "trace" in options else "sampled Fisher per parameter"
    assert words in (fisher.parent / "figures" / "fisher-by-layer.svg").read_text()


def test_the_two_diagnostics_are_drawn_against_each_other_into_the_result_folder(run, folder, fisher):
    code, out, err = run(folder, "fisher-vs-alpha", "--fisher", fisher, "--format", "svg", "--aggregate", "trace")
    assert (code, out, err) == (0, f"{folder}/figures/fisher-vs-alpha.svg\n", "")
    text = (folder / "figures" / "fisher-vs-alpha.svg").read_text()
    assert "Spearman" in text
    assert "sampled Fisher (sum)" in text


def test_a_loss_surface_is_drawn_beside_its_file(run, surface):
    code, out, err = run(surface, "loss-surface", "--format", "png")
    assert (code, out, err) == (0, f"{surface.parent}/figures/loss-surface.png\n", "")


@pytest.mark.parametrize(("name", "stem"), [("plan.yaml", "plan"), ("mine.yml", "plan-mine"), ("mine.json", "plan-mine")])
def test_a_plan_is_drawn_beside_its_file(run, tmp_path, name, stem):
    tiny_plan().save(tmp_path / name)
    code, out, err = run(tmp_path / name, "plan", "--format", "svg")
    assert (code, out, err) == (0, f"{tmp_path}/figures/{stem}.svg\n", "")
    assert "learning-rate multiplier" in (tmp_path / "figures" / f"{stem}.svg").read_text()


def test_json_that_is_no_plan_is_one_line(refused, fisher):
    assert refused(fisher.with_suffix(".json"), "plan") == (
        f"'{fisher.with_suffix('.json')}' is no plan. Make one: spectra plan MODEL -o plan.yaml"
    )


DRAW_ALL = """
import json, sys
from spectra.cli.main import main
sys.exit(max(main(["plot", *command]) for command in json.loads(sys.argv[1])))
"""


def test_another_process_draws_the_same_bytes(run, folder, fisher, surface, tmp_path):
    vector = ["--format", "pdf,svg"]
    sources = {
        "alpha-by-depth": [folder],
        "fisher-by-layer": [fisher, *vector],
        "fisher-vs-alpha": [folder, "--fisher", fisher, *vector],
        "loss-surface": [surface, *vector],
    }
    commands = {
        place: [[*map(str, given), figure, "--output", str(tmp_path / place / figure)] for figure, given in sources.items()]
        for place in ("here", "there")
    }
    for command in commands["here"]:
        assert run(*command)[0] == 0
    done = run_python(DRAW_ALL, json.dumps(commands["there"]))
    assert (done.returncode, done.stderr) == (0, "")
    for figure in sources:
        first, second = ({f.name: f.read_bytes() for f in (tmp_path / place / figure).iterdir()} for place in commands)
        assert first
        assert first == second, figure


MADE_BY = {
    "a result folder": "spectra analyze MODEL --output DIR",
    "a Fisher file (.safetensors)": "spectra fisher MODEL --data FILE -o fisher.safetensors",
    "a loss surface (.npz)": "spectra surface MODEL --data FILE --fisher fisher.safetensors -o surface.npz",
    "a plan (.yaml)": "spectra plan MODEL -o plan.yaml",
    "a sample history (.safetensors)": "train with DCSTrainer, which writes sample_weights.safetensors",
}


@pytest.mark.parametrize(
    ("figure", "what", "wrong"),
    [
        ("esd", "a result folder", ("fisher", "surface", "planned")),
        ("alpha-by-depth", "a result folder", ("fisher", "surface")),
        ("fisher-vs-alpha", "a result folder", ("fisher", "surface")),
        ("fisher-by-layer", "a Fisher file (.safetensors)", ("folder", "surface")),
        ("loss-surface", "a loss surface (.npz)", ("folder", "fisher", "planned")),
        ("plan", "a plan (.yaml)", ("folder", "fisher", "surface")),
        ("sample-weights", "a sample history (.safetensors)", ("folder", "surface", "planned")),
    ],
)
def test_the_wrong_source_is_one_line_that_says_which_one_the_figure_wants(refused, request, figure, what, wrong):
    for name in wrong:
        source = request.getfixturevalue(name)
        assert refused(source, figure) == f"'{figure}' is drawn from {what}, and '{source}' is none. Make one: {MADE_BY[what]}"


@pytest.mark.parametrize("given", ["own.jsonl", "own.json", "own.shift.json", "own.model-shift.json"])
@pytest.mark.parametrize("figure", ["data-shift", "model-shift"])
def test_a_shift_is_drawn_of_the_data_set_that_it_lies_beside(run, tmp_path, figure, given):
    (tmp_path / "own.jsonl").write_text("{}\n")
    data_shift_of(-0.5, 0.25, -0.125).save(tmp_path / "own.shift.json")
    model_shift_of(*(matrix_of(f"layers.{block}.fc") for block in range(2))).save(tmp_path / "own.model-shift.json")
    code, out, err = run(tmp_path / given, figure, "--format", "svg")
    assert (code, out, err) == (0, f"{tmp_path}/figures/{figure}-own.svg\n", "")


def test_a_data_set_without_a_shift_is_one_line_with_the_command_that_makes_it(refused, tmp_path):
    (tmp_path / "own.jsonl").write_text("{}\n")
    assert refused(tmp_path / "own.jsonl", "data-shift").endswith("Make one: spectra distill shift OUT.jsonl --model MODEL")


def test_a_folder_may_be_called_like_a_file(run, folder, tmp_path):
    assert run(shutil.move(folder, tmp_path / "report.json"), "alpha-by-depth", "--format", "svg")[0] == 0


def test_the_fisher_must_be_given_to_be_drawn_against_alpha(refused, folder):
    assert refused(folder, "fisher-vs-alpha") == (
        "'fisher-vs-alpha' needs the Fisher of the same model too: --fisher FILE. "
        "Make one: spectra fisher MODEL --data FILE -o fisher.safetensors"
    )


@pytest.mark.parametrize(
    ("figure", "option", "takers"),
    [
        ("alpha-by-depth", "--layer", "esd and mp-overlay"),
        ("esd", "--fisher", "fisher-vs-alpha"),
        ("alpha-by-depth", "--aggregate", "fisher-by-layer and fisher-vs-alpha"),
    ],
)
def test_an_option_of_another_figure_is_one_line(refused, folder, figure, option, takers):
    assert refused(folder, figure, option, "x") == f"'{figure}' has no {option}: that is for {takers}."


def test_an_unknown_aggregate_is_one_line_with_the_nearest(refused, fisher):
    assert refused(fisher, "fisher-by-layer", "--aggregate", "traces").startswith(
        "unknown aggregate 'traces'. Did you mean 'trace'?"
    )


@pytest.mark.parametrize("options", [["mp-overlay", "--layer", "head"], ["alpha-histogram"], ["esd-grid"]], ids=" ".join)
def test_figures_of_all_layers_and_of_the_bulk_need_no_other_analysis(run, folder, tmp_path, options):
    file = tmp_path / "drawn.svg"
    assert run(folder, *options, "-o", file) == (0, f"{file}\n", "")


def test_globs_choose_the_layers_of_a_grid(run, refused, folder, tmp_path):
    assert run(folder, "esd-grid", "--layers", "layers.*", "--layers", "head", "-o", tmp_path / "grid.svg")[0] == 0
    text = (tmp_path / "grid.svg").read_text()
    assert "block 0" in text
    assert "fc" in text
    assert "head" in text
    assert "embed" not in text
    assert refused(folder, "esd-grid", "--layers", "none").startswith("no fitted layer of 'mapping' is called 'none'.")


def test_a_metric_of_models_is_drawn_from_their_table_and_named_after_both(run, refused, folder, tmp_path):
    table = tmp_path / "nets.csv"
    table.write_text(f"report,test_error,name\n{folder.name},8.5,tiny\n{folder},9,same\n")
    code, out, err = run(table, "metric-scatter", "--metric", "alpha_weighted", "--format", "svg")
    assert (code, out, err) == (0, f"{tmp_path}/figures/nets-alpha_weighted.svg\n", "")
    assert "tiny" in (tmp_path / "figures" / "nets-alpha_weighted.svg").read_text()
    assert refused(table, "metric-scatter", "--metric", "alfa").startswith("unknown metric 'alfa'. Did you mean 'alpha'?")


def test_every_row_of_a_table_that_cannot_be_read_is_told_in_one_line(refused, tmp_path):
    (tmp_path / "nets.csv").write_text("report,test_error\nnone,1\nnone,many\n")
    line = refused(tmp_path / "nets.csv", "metric-scatter")
    assert "line 2: " in line
    assert "line 3: test_error 'many' is no number." in line


def test_another_models_fisher_is_one_line(refused, folder, tmp_path):
    other = write_fisher(tmp_path / "other.safetensors", {"x.weight": np.zeros((3, 4))})
    assert refused(folder, "fisher-vs-alpha", "--fisher", other).startswith("no layer is in both: the report has 'embed', ")


@pytest.mark.parametrize("name", ["none.safetensors", "none.json", "weights.safetensors", "none.npz", "text.npz"])
def test_what_is_no_result_is_one_line(refused, tmp_path, name):
    save_file(small_weights(), tmp_path / "weights.safetensors")
    (tmp_path / "text.npz").write_text("text")
    assert str(tmp_path / name) in refused(tmp_path / name, "loss-surface" if name.endswith("npz") else "fisher-by-layer")


def test_the_help_names_every_figure_and_aggregate_and_stays_light():
    code = "import sys; from spectra.cli.main import main; main(['plot', '--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "numpy", "scipy", "pandas", "safetensors"} & set(done.stderr.split())
    assert all(word in done.stdout for word in [*FIGURES, *Aggregate])


@pytest.mark.parametrize(("name", "stem"), [("tempbalance", "tempbalance-trajectory"), ("run", "tempbalance-trajectory-run")])
def test_a_log_of_tempbalance_is_drawn_while_it_is_written(run, tmp_path, name, stem):
    header = ScaleLogHeader(policy={"name": "test"}, units={"blocks.0": ("a",), "blocks.1": ("b",)}, model="Tiny", version="0")
    log = ScaleLog(tmp_path / f"{name}.jsonl", header)
    for step in range(3):
        numbers = {"blocks.0": 2.0 + step, "blocks.1": 3.0}
        numbers_of_step = {"scores": numbers, "scales": numbers, "num_measured": 2, "target": "learning_rate"}
        log.append(ScaleRecord(step=step, seconds=0.1, share=0.01, **numbers_of_step))
    with log.path.open("ab") as file:
        file.write(b'{"step": 3, "sec')
    code, _, err = run(log.path, "tempbalance-trajectory", "--format", "png")
    assert code == 0
    assert "line 5 is no record" in err
    assert (tmp_path / "figures" / f"{stem}.png").read_bytes().startswith(MAGIC["png"])


@pytest.mark.parametrize(("name", "stem"), [("sample_weights", "sample-weights"), ("run", "sample-weights-run")])
def test_sample_weights_are_drawn_beside_their_file(run, tmp_path, name, stem):
    tiny_history().save(tmp_path / f"{name}.safetensors")
    code, out, err = run(tmp_path / f"{name}.safetensors", "sample-weights", "--format", "svg")
    assert (code, out, err) == (0, f"{tmp_path}/figures/{stem}.svg\n", "")
    assert "hardest of 4 samples" in (tmp_path / "figures" / f"{stem}.svg").read_text()


def test_a_fisher_has_no_sample_weights_and_sample_weights_no_fisher(refused, fisher, tmp_path):
    tiny_history().save(tmp_path / "history.safetensors")
    assert refused(fisher, "sample-weights").startswith(f"'{fisher}' is no sample history, or a damaged one")
    # Not: make the missing file of a Fisher under this name.
    assert "is a sample history. Draw 'sample-weights' of it." in refused(tmp_path / "history.safetensors", "fisher-by-layer")
    assert "there is no sample history at" in refused(tmp_path / "none.safetensors", "sample-weights")


def test_shifts_of_bases_are_drawn_together(run, tmp_path):
    for name in ("standard", "lora-ml"):
        base_shift_of(change_of()).save(tmp_path / f"{name}.base-shift.json")
    code, out, err = run(tmp_path, "base-shift", "--format", "svg")
    assert (code, out, err) == (0, f"{tmp_path}/figures/base-shift.svg\n", "")
    together = (tmp_path / "figures/base-shift.svg").stat().st_size
    assert run(tmp_path / "standard.base-shift.json", "base-shift", "--format", "svg")[0] == 0
    assert (tmp_path / "figures/base-shift.svg").stat().st_size < together


def test_a_folder_without_a_shift_of_a_base_is_said_to_be_one(refused, tmp_path):
    assert refused(tmp_path, "base-shift").startswith(f"there is no base shift (*.base-shift.json) in '{tmp_path}'.")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training run."""
    return write_run(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("figure", ["losses", "metrics", "alpha-trajectory", "tempbalance-trajectory"])
def test_figures_of_a_run_are_drawn_from_its_folder_into_a_file_of_any_name(run, trained, tmp_path, figure):
    file = tmp_path / "drawn" / f"my-{figure}.png"
    assert run(trained, figure, "-o", file) == (0, f"{file}\n", "")
    assert file.read_bytes().startswith(MAGIC["png"])
    assert list(file.parent.iterdir()) == [file]


def test_figures_of_a_run_go_into_its_own_folder_unless_told_otherwise(run, tmp_path):
    write_log(tmp_path, log_lines())
    assert run(tmp_path, "losses", "--format", "pdf")[:2] == (0, f"{tmp_path / 'figures' / 'losses.pdf'}\n")


def test_a_run_that_is_not_finished_can_be_looked_at(run, tmp_path):
    write_log(tmp_path, log_lines())
    assert run(tmp_path, "metrics", "-o", tmp_path / "metrics.svg")[0] == 0


@pytest.mark.parametrize("figure", ["losses", "metrics"])
def test_a_folder_of_something_else_has_no_log(refused, folder, figure):
    assert refused(folder, figure) == (
        f"there is no log at '{folder / 'metrics.jsonl'}'. 'spectra finetune' writes one into the folder of a run."
    )


def test_a_run_without_spectra_has_no_trajectory(refused, tmp_path):
    assert refused(tmp_path, "alpha-trajectory").startswith("a trajectory needs two analyses of a run")


def test_a_run_without_tempbalance_has_no_log_of_it(refused, tmp_path):
    assert refused(tmp_path, "tempbalance-trajectory").startswith(
        f"'tempbalance-trajectory' is drawn from a log of TempBalance (.jsonl), and '{tmp_path}' is none."
    )


def test_a_file_is_no_run(refused, tmp_path):
    assert refused(tmp_path / "metrics.jsonl", "losses") == (
        f"'losses' is drawn from the folder of a training run, and '{tmp_path / 'metrics.jsonl'}' is none. Make one: "
        "spectra finetune RECIPE.yaml"
    )
