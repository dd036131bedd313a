"""``spectra surface``: what it writes and prints, how it goes on, and what it refuses."""

import numpy as np
import pytest

from spectra.cli.interrupted import Interrupted
from spectra.cli.main import main
from spectra.cli.model_and_data import ModelAndData, prepare
from spectra.cli.surface import surface as command
from spectra.fisher.surface import loss_surface
from spectra.results.fisher_store import load_fisher
from spectra.results.surface import load_surface
from tests.cli.flags import FLAGS
from tests.cli.interrupts import ctrl_c_in
from tests.pretrained import save_bert, save_gpt2

TEXT = "the film was very good\nit was not good and not bad\na bad film\n"
SMALL = ("--points", 3)


@pytest.fixture
def measured(tmp_path, capsys):
    """A model, its texts and their Fisher: the first arguments of every command."""
    (tmp_path / "texts.txt").write_text(TEXT)
    model, output = save_gpt2(tmp_path / "gpt2"), tmp_path / "fisher.safetensors"
    assert main(["fisher", str(model), "--data", str(tmp_path / "texts.txt"), "-o", str(output), "--quiet"]) == 0
    capsys.readouterr()
    return [model, "--data", tmp_path / "texts.txt", "--fisher", output]


@pytest.fixture
def output(tmp_path):
    return tmp_path / "surface.npz"


def test_the_surface_is_written_and_told(run, measured, output):
    code, out, err = run(*measured, *SMALL, "-o", output)
    assert code == 0
    surface = load_surface(output)
    assert surface.is_complete
    assert [region.name for region in surface.regions] == ["whole", "top", "bottom"]
    assert surface.grid.tolist() == [-1.5, 0.0, 1.5]
    assert out == f"3 texts of 'texts.txt', cut to 32 tokens, seed 0\n\n{surface}\n"
    assert f"Next: spectra plot {output} loss-surface" in err
    assert output.with_suffix(".json").exists()


def test_every_setting_reaches_the_surface(run, measured, output):
    settings = ["--regions", "top, bottom", "--level", "parameter", "--radius", 0.5, "--no-norm-matched", "--no-vectors"]
    code, _, err = run(*measured, *SMALL, *settings, "--seed", 4, "--quiet", "-o", output)
    assert (code, err) == (0, "")
    surface = load_surface(output)
    info = surface.info
    assert (info.level, info.radius, info.norm_matched, info.include_vectors, info.seed) == ("parameter", 0.5, False, False, 4)
    assert list(surface.losses) == ["top", "bottom"]


def test_the_task_is_that_of_the_fisher(run, tmp_path, output):
    model = save_bert(tmp_path / "bare", "BertModel")
    (tmp_path / "texts.txt").write_text(TEXT)
    data = ["--data", tmp_path / "texts.txt", "--mask-share", 0.5]
    scores = tmp_path / "fisher.safetensors"
    assert main(["fisher", *map(str, [model, *data, "--task", "masked-lm", "-o", scores])]) == 0
    assert run(model, *data, "--fisher", scores, *SMALL, "--regions", "whole", "-o", output)[0] == 0
    assert load_surface(output).info.task == "masked-lm"


def test_a_finished_surface_is_left_alone_unless_forced(run, refused, measured, output):
    run(*measured, *SMALL, "-o", output)
    before = output.read_bytes()
    line = refused(*measured, *SMALL, "--seed", 1, "-o", output)
    assert line == f"'{output}' exists. Choose another name, or replace it with --force."
    assert output.read_bytes() == before
    assert run(*measured, *SMALL, "--seed", 1, "--force", "-o", output)[0] == 0
    assert load_surface(output).info.seed == 1


def unfinished(measured, output):
    """What a run leaves that is stopped after five points."""
    model, _, data, _, scores = measured
    given = prepare(str(model), ModelAndData(data=data, **FLAGS))

    def stop(progress):
        if progress.num_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loss_surface(given.model, given.batches, load_fisher(scores), num_points=3, state=output, progress=stop)
    assert not load_surface(output).is_complete


def test_the_same_command_continues_an_unfinished_surface(run, measured, output, tmp_path):
    run(*measured, *SMALL, "-o", tmp_path / "whole.npz")
    unfinished(measured, output)
    assert run(*measured, *SMALL, "-o", output)[0] == 0
    whole, continued = load_surface(tmp_path / "whole.npz"), load_surface(output)
    for region, losses in whole.losses.items():
        np.testing.assert_array_equal(continued.losses[region], losses)


def test_an_unfinished_surface_of_other_settings_is_left_alone(refused, measured, output):
    unfinished(measured, output)
    before = output.read_bytes()
    assert "seed 0 there, 1 now" in refused(*measured, *SMALL, "--seed", 1, "-o", output)
    assert output.read_bytes() == before


def test_an_interrupted_run_says_where_it_continues(measured, output):
    unfinished(measured, output)
    arguments = [*map(str, measured), *map(str, SMALL), "-o", str(output)]
    said = f"^The points so far are kept in '{output}'; the same command continues there.$"
    with ctrl_c_in("prepare"), pytest.raises(Interrupted, match=said):
        command.main(arguments, standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--points", "4"], "num_points"),
        (["--radius", "-1"], "radius"),
        (["--regions", "whole,topp"], "topp"),
        (["--level", "neuron"], "Invalid value for '--level': 'neuron' is not one of 'tensor', 'parameter'."),
        (["-o", "surface.png"], "'surface.png': a loss surface is written to a file that ends in .npz."),
        (["--fisher", "nowhere.safetensors"], "'nowhere.json' is missing. Make it: spectra fisher MODEL --data FILE"),
        (["--data", "nowhere.txt"], "cannot read 'nowhere.txt': No such file or directory. Check the path."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_argument_that_cannot_be_used_is_one_line(refused, measured, output, arguments, message):
    assert message in refused(*measured, "-o", output, *arguments)
    assert not output.exists()


def test_the_fisher_of_another_model_is_refused(refused, measured, output, tmp_path):
    other = save_bert(tmp_path / "bert", "BertLMHeadModel", is_decoder=True)
    assert refused(other, *measured[1:], *SMALL, "-o", output)


@pytest.mark.parametrize("missing", ["--fisher", "-o"])
def test_what_is_needed_is_asked_for(refused, measured, output, missing):
    arguments = [*measured, "-o", output]
    place = arguments.index(missing)
    assert refused(*arguments[:place], *arguments[place + 2 :]).startswith("Missing option '--")
