"""``spectra plan``, as a user types it."""

import subprocess
import sys

import click
import numpy as np
import pytest
from safetensors.numpy import save_file

import spectra
from spectra.cli.plan import plan as command
from spectra.policies.plan import load_plan, plan
from spectra.policies.plan_request import OPTIONS
from spectra.policies.presets import SCALE_PRESETS, SPARSITY_PRESETS
from tests.fishers import fisher_of, squared_gradients
from tests.models import heavy_tailed

BLOCKS = 3


def write_model(path, blocks=BLOCKS):
    """Blocks of layers with enough eigenvalues for every preset."""
    names = [f"layers.{block}.{role}.weight" for block in range(blocks) for role in ("query", "up")]
    save_file({name: heavy_tailed(64, 64, seed=i) for i, name in enumerate(names)}, path)
    return path


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.safetensors")


@pytest.fixture
def fisher(tmp_path):
    fisher_of(squared_gradients()).save(tmp_path / "fisher.safetensors")
    return tmp_path / "fisher.safetensors"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "plan.yaml"


def test_a_checkpoint_is_planned_told_and_written(run, model, output):
    code, out, err = run(model, "-o", output)
    made = load_plan(output)
    assert code == 0
    assert made == plan(str(model))
    headline, conclusion = str(made).split("\n")
    lines = out.splitlines()
    assert (lines[0], lines[-1]) == (headline, conclusion)
    assert lines[2].split() == ["unit", "layers", "score", "learning-rate", "multiplier"]
    assert [line.split()[0] for line in lines[3:-2]] == list(made.values)
    assert err == (
        f"Plan in '{output}'. See it: spectra plot {output} plan. Apply it: in training, as the first lines of '{output}' say\n"
    )


def test_without_a_file_the_way_to_keep_the_plan_is_told(run, model, tmp_path):
    code, out, err = run(model)
    assert (code, err) == (0, "Keep the plan, to edit and apply it: -o plan.yaml\n")
    assert "layers.2" in out
    assert not list(tmp_path.glob("*.yaml"))


def test_a_result_folder_is_planned_with_its_rows_and_a_note(run, model, output, tmp_path):
    report = spectra.analyze(str(model), output=tmp_path / "report")
    code, _, err = run(tmp_path / "report", "-o", output, "--quiet")
    assert code == 0
    assert load_plan(output) == plan(report)
    assert err == f"Note: {plan(report).notes[0]}.\n"
    assert "xmin 'ks' instead of 'median'" in err


@pytest.mark.parametrize(
    "options", [{"map": "linear", "r_min": 0.25, "r_max": 2.0}, {"map": "sigmoid", "s_below": 0.5, "s_above": 2.0, "tau": 5.0}]
)
def test_every_option_reaches_the_policy(run, model, output, options):
    options |= {"normalize": "arithmetic", "metric": "stable_rank", "unit": "layer"}
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    run(model, "--preset", "neurips2023", *flags, "--exclude", "*.0.up", "--exclude", "*.1.up", "-o", output)
    made = load_plan(output)
    assert made.settings == made.settings | options | {"name": "neurips2023", "exclude": ["*.0.up", "*.1.up"]}
    assert made == plan(str(model), preset="neurips2023", **options, exclude=("*.0.up", "*.1.up"))


def test_sparsities_name_the_command_that_applies_them(run, model, output):
    flags = ["--sparsity", 0.5, "--epsilon", 0.1, "--allocation", "reversed"]
    _, _, err = run(model, "--policy", "alphapruning", *flags, "-o", output)
    made = load_plan(output)
    assert (made.settings["sparsity"], made.settings["epsilon"], made.settings["allocation"]) == (0.5, 0.1, "reversed")
    assert err.endswith(f"Apply it: spectra prune MODEL --plan {output} -o OUT\n")


def test_ranks_are_planned_within_a_budget(run, model, output):
    _, _, err = run(model, "--policy", "adapter-rank", "--budget", 6_000, "--max-rank", 12, "-o", output)
    made = load_plan(output)
    assert made == plan(str(model), policy="adapter-rank", budget=6_000, max_rank=12)
    assert run(model, "--policy", "adapter-rank", "--min-rank", 3, "-o", output, "--force")[0] == 0
    assert min(load_plan(output).values.values()) >= 3
    assert err.endswith(f'Apply it: peft.LoraConfig(**spectra.load_plan("{output}").lora_arguments())\n')
    assert run(model, "--policy", "adapter-rank", "--mean-rank", 4)[0] == 0


@pytest.mark.parametrize("form", ["argument", "option"])
def test_drop_probabilities_come_from_a_fisher(run, fisher, output, form):
    source = [fisher] if form == "argument" else ["--fisher", fisher]
    flags = ["--p-upper", 0.2, "--p-lower", 0.01, "--rule", "log", "--mean-p", 0.05, "--aggregate", "mean_of_means"]
    chosen = ["--include", "*dropout", "--exclude", "head*", "--control", "shuffled", "--seed", 4]
    code, out, err = run(*source, "--policy", "guided-dropout", *flags, *chosen, "-o", output)
    assert code == 0, err
    made = load_plan(output)
    settings = (made.p_upper, made.p_lower, made.rule, made.mean_p, made.aggregate, made.control, made.seed)
    assert settings == (0.2, 0.01, "log", 0.05, "mean_of_means", "shuffled", 4)
    assert list(made.rates) == ["embed.dropout", "block.dropout"]
    assert out.splitlines()[2].split() == ["site", "score", "drop", "probability"]


def test_a_mean_beyond_the_cap_names_the_flag_that_raises_it(run, refused, fisher, output):
    flags = [fisher, "--policy", "guided-dropout", "--include", "*dropout", "--p-lower", 0.1, "--mean-p", 0.6]
    assert refused(*flags) == "--mean-p: expected a number in [0, --p-cap], --p-cap being 0.5, got 0.6. Change one of them."
    assert run(*flags, "--p-cap", 0.8, "-o", output)[0] == 0
    made = load_plan(output)
    assert (made.p_cap, made.mean) == (0.8, pytest.approx(0.6))


def test_of_many_units_the_highest_and_the_lowest_are_shown(run, tmp_path):
    _, out, _ = run(write_model(tmp_path / "deep.safetensors", blocks=30))
    rows = out.splitlines()[3:-2]
    made = plan(str(tmp_path / "deep.safetensors"))
    ordered = sorted(made.values, key=made.values.__getitem__, reverse=True)
    assert len(rows) == 20
    assert [row.split()[0] for row in rows[:10]] == ordered[:10]
    assert rows[10].split() == ["…", "11", "more"]
    assert [row.split()[0] for row in rows[11:]] == ordered[-9:]


def test_an_existing_file_is_refused_before_the_work(refused, run, output, tmp_path):
    output.write_text("mine")
    assert refused(tmp_path / "no model", "-o", output) == (
        f"'{output}' exists. Choose another file, or pass force=True (--force)."
    )
    assert output.read_text() == "mine"
    assert run(write_model(tmp_path / "m.safetensors"), "-o", output, "--force")[0] == 0
    assert load_plan(output).policy == "tempbalance"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "tempbalnce"], "unknown policy 'tempbalnce'. Did you mean 'tempbalance'?"),
        ([], "the policy 'tempbalance' needs a model, or the result folder of its analysis."),
        (["m", "--sparsity", 0.5], "the policy 'tempbalance' has no option 'sparsity': that is for alphapruning."),
        (["m", "--policy", "alphapruning"], "the policy 'alphapruning' needs sparsity"),
        (
            ["m", "--policy", "adapter-rank", "--tau", 3],
            "the policy 'adapter-rank' has no option 'tau': that is for tempbalance, alphadecay.",
        ),
        (["m", "--map", "linaer"], "--map: expected one of linear, "),
        (["m", "--preset", "glue"], "'tempbalance' has no preset 'glue'. "),
        (["m"], "'m' is no local path"),
        (["--policy", "guided-dropout"], "the policy 'guided-dropout' needs a Fisher, or its file. Make one"),
        (["m", "--policy", "guided-dropout"], "'m' is no Fisher: give its .safetensors or its .json file."),
        (
            ["m", "--policy", "adapter-rank", "--p-upper", 0.2],
            "the policy 'adapter-rank' has no option '--p-upper': that is for guided-dropout.",
        ),
        (["m", "-o", "plan.txt"], "'plan.txt': a plan is YAML or JSON"),
        (["m", "-o", "."], "'.' is a folder. Name a file in it"),
        (["--policy", "guided-dropout", "--fisher", "no.safetensors"], "no file 'no.safetensors'. Make it: spectra fisher"),
        (["m", "--tau", "high"], "Invalid value for '--tau'"),
        (["m", "--temper", 1], "No such option"),
    ],
)
def test_bad_input_is_one_line(refused, arguments, message):
    assert refused(*arguments).startswith(message)


def test_faults_are_said_in_flags(refused, model, tmp_path):
    assert refused(model, "--r-max", 2).startswith("--r-max: the map 'sigmoid' does not use it, it is for linear and rank.")
    assert refused(model, "--r-max", 2).endswith("or choose --map linear.")
    ranks = refused(model, "--policy", "adapter-rank", "--mean-rank", 100)
    assert ranks.startswith("--mean-rank 100.0: with --min-rank and --max-rank adapters have")
    assert refused(model, "--exclude", "layers.9.*").startswith("--exclude: no layer matches 'layers.9.*'.")
    save_file({"a.weight": heavy_tailed(64, 64)}, tmp_path / "flat.safetensors")
    assert refused(tmp_path / "flat.safetensors").endswith("Loosen kinds and exclude; --unit layer needs no blocks.")


def test_the_policy_forgotten_for_a_fisher_is_named(refused, fisher):
    assert refused(fisher) == (
        f"'{fisher}' is a Fisher, not weights: --policy guided-dropout, or --policy adapter-rank MODEL --fisher FILE."
    )


@pytest.mark.parametrize("policy", ["tempbalance", "guided-dropout"])
def test_of_json_which_has_no_comments_the_lines_are_printed(run, model, fisher, tmp_path, policy):
    file = tmp_path / "plan.json"
    given = (model,) if policy == "tempbalance" else (model, "--fisher", fisher, "--exclude", "*drop_prob")
    code, _, err = run(*given, "--policy", policy, "-o", file)
    assert code == 0
    lines = load_plan(file).how_to_apply(file)[1:]
    assert err == f"Plan in '{file}'. See it: spectra plot {file} plan. Apply it:\n" + "\n".join(lines) + "\n"
    assert f'("{file}")' in err


def test_the_help_names_every_preset():
    help_ = next(option.help for option in command.params if option.name == "preset")
    assert [name for name in (*SCALE_PRESETS, *SPARSITY_PRESETS) if name not in help_] == []


def test_a_place_that_cannot_be_written_is_one_line(refused, model, tmp_path):
    (tmp_path / "file").write_text("")
    assert refused(model, "-o", tmp_path / "file" / "plan.yaml").startswith(f"cannot write to '{tmp_path / 'file'}")


def test_the_options_are_those_of_the_policies():
    general = {"model", "policy", "preset", "fisher", "output", "force", "quiet", "no_color", "debug"}
    given = {parameter.name for parameter in command.params}
    assert given - general <= {name for names in OPTIONS.values() for name in names}
    assert all(isinstance(parameter, click.Option) for parameter in command.params if parameter.name != "model")


def test_the_help_stays_light():
    code = "import sys; from spectra.cli.main import main; main(['plan', '--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "scipy", "yaml", "matplotlib", "pandas", "safetensors"} & set(done.stderr.split())
    assert "guided-dropout" in done.stdout
    assert "Drop probabilities (guided-dropout):" in done.stdout


def test_a_matrix_with_nan_is_left_out_and_named(run, tmp_path, output):
    weights = {f"layers.{block}.fc.weight": heavy_tailed(64, 64, seed=block) for block in range(3)}
    weights["layers.1.fc.weight"][0, 0] = np.nan
    save_file(weights, tmp_path / "nan.safetensors")
    code, _, err = run(tmp_path / "nan.safetensors", "-o", output)
    assert code == 1
    assert err.startswith("Note: 1 layer has no spectrum: 'layers.1.fc' (nonfinite).\n")
    made = load_plan(output)
    assert made.left_out == {"layers.1.fc": "nonfinite"}
    assert made.values["layers.1"] == 1.0
