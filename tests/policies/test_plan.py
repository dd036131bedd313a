"""Plans of every policy: made from models, reports and Fishers, and refused where they cannot be."""

import dataclasses
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

import spectra
from spectra.errors import InputError, ResultsError
from spectra.policies.adapter_rank import FISHER_POWER, SPECTRAL_POWER, adapter_ranks, adapter_shapes, spectral_rank_scores
from spectra.policies.dropout_plan import dropout_plan
from spectra.policies.learning_rate import ScalePolicy, unit_scales
from spectra.policies.plan import POLICIES, load_plan, plan
from spectra.policies.plan_request import OPTIONS
from spectra.policies.planned_report import _CHANGE_METRICS
from spectra.policies.presets import SCALE_PRESETS, SPARSITY_PRESETS, scale_policy
from spectra.policies.sparsity import SparsityPolicy, layer_sparsities
from spectra.policies.units import HEADS
from spectra.results.fisher import Fisher, FisherInfo, FisherTensor
from spectra.results.fisher_store import fisher_fingerprint
from spectra.results.settings import AnalysisSettings
from tests.fishers import fisher_of, squared_gradients
from tests.models import heavy_tailed
from tests.policies.plans import MEMBERS, tiny_plan

BLOCKS, ROLES = 3, ("query", "up")
LAYERS = [f"layers.{block}.{role}" for block in range(BLOCKS) for role in ROLES]


def weights():
    """Blocks of layers with enough eigenvalues for every preset, and a head."""
    shapes = {"query": (64, 64), "up": (96, 64)}
    blocks = {f"{name}.weight": heavy_tailed(*shapes[name.split(".")[-1]], seed=i) for i, name in enumerate(LAYERS)}
    return {**blocks, "lm_head.weight": heavy_tailed(80, 64, seed=99)}


def fisher_like(names=(*LAYERS, "lm_head")):
    """A Fisher of these layers whose traces rise along the model."""
    tensors = tuple(
        FisherTensor(f"{name}.weight", name, "linear", (64, 64), 4096, 4.0**i, 0.1, math.nan, "loop")
        for i, name in enumerate(names)
    )
    info = FisherInfo("empirical", "token", "traces", "param_mean", "causal-lm", 8, 64, 0, 1, 0, "toy", 1, "float32", "", "0")
    return Fisher(info, tensors)


@pytest.fixture(scope="module")
def report():
    """Rows under the recommended settings of TempBalance."""
    return spectra.analyze(weights(), **SCALE_PRESETS["recommended"].analysis)


@pytest.fixture
def folder(report, tmp_path):
    report.save(tmp_path / "report")
    return tmp_path / "report"


@pytest.mark.parametrize(
    ("policy", "preset"),
    [("tempbalance", name) for name, scales in SCALE_PRESETS.items() if scales.target == "learning_rate"]
    + [("alphadecay", "alphadecay")],
)
def test_a_model_is_analysed_as_the_preset_asks_for(policy, preset):
    made = plan(weights(), policy=policy, preset=preset)
    settings = scale_policy(preset)
    expected = unit_scales(spectra.analyze(weights(), **settings.analysis).layers, settings)
    assert (made.values, made.scores, made.members) == (expected.scales, expected.scores, expected.members)
    assert made.left_out == expected.left_out
    assert made.settings == settings.to_dict()
    assert (made.policy, made.target, made.notes) == (policy, settings.target, ())


def test_of_a_report_the_rows_are_used_and_the_model_is_named(report, folder):
    made = plan(report)
    assert made.settings["name"] == "recommended"
    assert list(made.values) == [f"layers.{block}" for block in range(BLOCKS)]
    assert made.fingerprint == report.model.fingerprint
    assert made.model == report.model.name
    assert plan(folder) == plan(str(folder)) == made == plan(weights())


def test_the_settings_of_a_report_that_differ_are_noted():
    rows = spectra.analyze(weights())
    [note] = plan(rows).notes
    assert note == (
        "the report was made with other settings than the policy asks for: xmin 'ks' instead of 'median', xmin_pos 2.0 instead "
        "of 1.5, min_evals 8 instead of 50, evals_threshold None instead of 0.0"
    )
    assert plan(rows, analysis={"profile": "default"}).notes == ()


def test_the_window_that_an_analysis_chose_is_no_difference():
    farms = {"profile": "tempbalance", "subsample": "farms", "min_evals": 5, "windows_per_side": 9}
    rows = spectra.analyze(weights(), **farms)
    assert rows.settings.window_rows == 64
    assert plan(rows, preset="farms").notes == ()


def test_what_changes_metrics_are_settings_of_an_analysis():
    assert set(_CHANGE_METRICS) < {field.name for field in dataclasses.fields(AnalysisSettings)}


def test_options_change_the_preset(report):
    made = plan(report, map="linear", r_min=0.25, r_max=4.0, unit="layer", exclude="*.up")
    assert list(made.members) == [name for name in LAYERS if name.endswith("query")]
    assert (min(made.values.values()), max(made.values.values())) == (0.25, 4.0)
    assert (made.settings["map"], made.settings["exclude"]) == ("linear", [*SCALE_PRESETS["recommended"].exclude, "*.up"])
    assert made.left_out["layers.0.up"] == "excluded: *.up"


@pytest.mark.parametrize(
    ("policy", "options"), [("tempbalance", {}), ("alphapruning", {"sparsity": 0.5}), ("adapter-rank", {})]
)
def test_globs_are_added_to_those_of_output_layers_and_none_takes_these_away(report, policy, options):
    added = plan(report, policy=policy, unit="layer", exclude=["*.0.*"], **options)
    assert list(added.members) == [name for name in LAYERS if ".0." not in name]
    assert added.settings["exclude"][: len(HEADS)] == [*HEADS]
    assert added.settings["exclude"][-1] == "*.0.*"
    assert "lm_head" in plan(report, policy=policy, unit="layer", exclude=(), **options).members
    with pytest.raises(InputError, match=r"exclude: no layer matches 'layers.0.uq'. Did you mean 'layers.0.up'\?"):
        plan(report, policy=policy, exclude=["*.up", "layers.0.uq"], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_max": 2.0}, "r_max: the map 'sigmoid' does not use it, it is for linear and rank. .* choose map='linear'"),
        ({"map": "log2", "tau": 2.0}, "tau: the map 'log2' does not use it, it is for sigmoid"),
        ({"preset": "neurips2023", "s_below": 2.0}, "s_below: the map 'linear' does not use it, it is for sigmoid"),
    ],
)
def test_options_of_another_map_are_refused(report, options, message):
    with pytest.raises(InputError, match=message):
        plan(report, **options)


def test_a_fisher_is_not_taken_for_weights(tmp_path):
    fisher = fisher_of(squared_gradients())
    file = tmp_path / "fisher.safetensors"
    fisher.save(file)
    for given in (file, str(tmp_path / "fisher.json")):
        with pytest.raises(
            InputError, match=r"fisher.\w+' is a Fisher, not weights: --policy guided-dropout, or --policy adap"
        ):
            plan(given)
    with pytest.raises(InputError, match="the first argument is a Fisher, not weights"):
        plan(fisher, policy="adapter-rank")
    with pytest.raises(InputError, match="needs one Fisher: '.*' and '.*' are two"):
        plan(file, file, policy="guided-dropout")


def test_a_fisher_that_is_missing_is_said_so_before_the_work(tmp_path):
    for policy in ("adapter-rank", "guided-dropout"):
        with pytest.raises(InputError, match="no file '.*none.json'. Make it: spectra fisher MODEL .* -o .*none.safetensors"):
            plan("no model", tmp_path / "none.json", policy=policy)


def test_beside_a_fisher_the_model_is_not_looked_at_for_drop_probabilities():
    fisher = fisher_of(squared_gradients())
    assert plan("no model", fisher, policy="guided-dropout", exclude="*drop_prob") == dropout_plan(fisher, exclude="*drop_prob")


def test_a_fisher_of_another_model_is_named_with_the_model(report):
    with pytest.raises(
        InputError, match=f"The Fisher is of 'toy', the layers are of '{report.model.name}'. Measure all linear"
    ):
        plan(report, fisher_like(["encoder.query"]), policy="adapter-rank")


def test_first_and_last_of_a_file_are_noted(tmp_path):
    save_file(weights(), tmp_path / "model.safetensors")
    [note] = plan(tmp_path / "model.safetensors", preset="neurips2023").notes
    assert note == (
        "'first' and 'last' are those of the file, in which names stand in alphabetical order within a block: 'layers.0.query' "
        "(first layer), 'lm_head' (last layer). For the order of the modules plan the live model"
    )


def test_layers_that_cannot_be_analysed_are_noted():
    broken = weights()
    for name in ("layers.0.up.weight", "layers.1.up.weight"):
        broken[name] = np.full_like(broken[name], np.nan)
    for policy in ("tempbalance", "adapter-rank"):
        made = plan(broken, policy=policy)
        assert made.notes == ("2 layers have no spectrum: 'layers.0.up' (nonfinite), 'layers.1.up' (nonfinite)",)


def test_every_option_stands_in_the_docstring():
    words = plan.__doc__.split("Returns:")[0]
    assert [name for names in OPTIONS.values() for name in names if f"``{name}``" not in words] == []


def test_a_policy_of_ones_own_is_a_preset(report):
    own = ScalePolicy(name="mine", unit="layer", map="rank", analysis=SCALE_PRESETS["recommended"].analysis)
    made = plan(report, preset=own)
    assert made.settings == own.to_dict()
    assert made.values == unit_scales(report.layers, own).scales


def test_without_scores_all_values_are_one_and_that_is_noted():
    small = {f"layers.{block}.fc.weight": heavy_tailed(20, 20, seed=block) for block in range(2)}
    made = plan(small)
    assert made.values == {"layers.0": 1.0, "layers.1": 1.0}
    assert made.notes == ("no unit has the metric 'alpha', so that all values are 1",)
    assert made.left_out == {"layers.0.fc": "too_few_evals", "layers.1.fc": "too_few_evals"}


@pytest.mark.parametrize("preset", SPARSITY_PRESETS)
def test_sparsities_meet_the_global_one(preset):
    made = plan(weights(), policy="alphapruning", preset=preset, sparsity=0.6, unit="layer", epsilon=0.2)
    rows = spectra.analyze(weights(), **SPARSITY_PRESETS[preset].analysis).layers
    settings = dataclasses.replace(SPARSITY_PRESETS[preset], unit="layer", epsilon=0.2)
    expected = layer_sparsities(rows, 0.6, settings)
    assert made.values == expected.units
    assert made.by_layer() == {name: value for name, value in expected.sparsities.items() if name in made.by_layer()}
    sizes = {row.layer_name: row.num_params for row in rows}
    pruned = sum(sizes[name] * share for name, share in made.by_layer().items())
    # A sum of seven products of float64.
    assert pruned == pytest.approx(0.6 * sum(sizes[name] for name in made.by_layer()), rel=1e-12)
    assert made.settings == {"sparsity": 0.6, **settings.to_dict()}


def test_a_unit_without_score_is_not_pruned(report):
    rows = tuple(
        dataclasses.replace(row, alpha=math.nan) if row.layer_name.startswith("layers.1.") else row for row in report.layers
    )
    made = plan(dataclasses.replace(report, layers=rows), policy="alphapruning", sparsity=0.5)
    assert made.values["layers.1"] == 0.0
    assert "layers.1" not in made.scores
    assert 0.0 < made.values["layers.0"] < 1.0


def test_ranks_come_from_spectra_with_the_parameters_of_a_uniform_rank():
    made = plan(weights(), policy="adapter-rank")
    rows = spectra.analyze(weights(), profile="tempbalance").layers
    scores = spectral_rank_scores(rows)
    expected = adapter_ranks(scores, adapter_shapes(rows), mean_rank=8, power=SPECTRAL_POWER)
    assert (made.values, made.scores) == (expected.ranks, scores)
    assert made.members == {name: (name,) for name in LAYERS}
    assert made.left_out == {"lm_head": "excluded: lm_head"}
    kept = {"metric": "alpha", "unit": "block", "power": SPECTRAL_POWER, "mean_rank": 8.0, "budget": expected.budget}
    assert made.settings == made.settings | kept | {"num_params": expected.num_params}


def test_ranks_may_have_scores_by_layer_or_by_a_function():
    by_layer = plan(weights(), policy="adapter-rank", unit="layer", mean_rank=4)
    assert by_layer.settings["unit"] == "layer"
    assert len(set(by_layer.scores.values())) == len(LAYERS)
    by_role = plan(weights(), policy="adapter-rank", unit=_role_of)
    assert by_role.settings["unit"] == "_role_of"
    assert len(set(by_role.scores.values())) == len(ROLES)


def _role_of(layer_name):
    return layer_name.rpartition(".")[2]


def test_ranks_come_from_a_fisher_where_there_is_one(tmp_path, report):
    fisher = fisher_like()
    fisher.save(tmp_path / "fisher.safetensors")
    made = plan(report, tmp_path / "fisher.safetensors", policy="adapter-rank", budget=9_000, max_rank=32, exclude=())
    scores = {name: 4.0**i for i, name in enumerate((*LAYERS, "lm_head"))}
    expected = adapter_ranks(scores, adapter_shapes(report.layers), budget=9_000, max_rank=32, power=FISHER_POWER)
    assert (made.values, made.scores, made.notes) == (expected.ranks, scores, ())
    assert (made.settings["metric"], made.settings["power"]) == ("fisher_trace", FISHER_POWER)
    assert made.settings["fisher"] == fisher_fingerprint(tmp_path / "fisher.safetensors")
    in_memory = plan(report, fisher, policy="adapter-rank", budget=9_000, max_rank=32, exclude=())
    assert in_memory.values == made.values
    assert "fisher" not in in_memory.settings


def test_ranks_are_arguments_of_peft_also_after_an_edit(tmp_path):
    made = plan(weights(), policy="adapter-rank")
    made.save(tmp_path / "ranks.yaml")
    file = tmp_path / "ranks.yaml"
    file.write_text(file.read_text().replace(f"layers.0.query: {made.values['layers.0.query']}", "layers.0.query: 31"))
    arguments = load_plan(file).lora_arguments(lora_alpha_over_r=2.0)
    assert arguments["rank_pattern"][r"layers\.0\.query"] == 31
    assert arguments["alpha_pattern"][r"layers\.0\.query"] == 62
    assert set(arguments["target_modules"]) == set(LAYERS)


def test_other_plans_have_no_ranks():
    with pytest.raises(
        InputError, match="this plan is one of 'learning_rate', and has no ranks. Make one with policy='adapter-rank'"
    ):
        tiny_plan().lora_arguments()


def test_drop_probabilities_come_from_a_fisher_under_either_name(tmp_path):
    fisher = fisher_of(squared_gradients())
    fisher.save(tmp_path / "fisher.safetensors")
    options = {"p_upper": 0.3, "exclude": "*drop_prob", "control": "shuffled", "seed": 3}
    expected = dropout_plan(tmp_path / "fisher.safetensors", **options)
    assert plan(tmp_path / "fisher.safetensors", policy="guided-dropout", **options) == expected
    assert plan(fisher=str(tmp_path / "fisher.safetensors"), policy="guided-dropout", **options) == expected
    assert plan(fisher, policy="guided-dropout", **options).rates == expected.rates


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "tempbalanced"}, "unknown policy 'tempbalanced'. Did you mean 'tempbalance'"),
        ({}, "the policy 'tempbalance' needs a model, or the result folder of its analysis"),
        ({"policy": "adapter-rank"}, "the policy 'adapter-rank' needs a model"),
        ({"sparsity": 0.5}, "the policy 'tempbalance' has no option 'sparsity': that is for alphapruning."),
        ({"p_upper": 0.5}, "has no option 'p_upper': that is for guided-dropout."),
        (
            {"policy": "guided-dropout", "tau": 1.0},
            "'guided-dropout' has no option 'tau': that is for tempbalance, alphadecay.",
        ),
        ({"policy": "adapter-rank", "include": "*"}, "'adapter-rank' has no option 'include': that is for guided-dropout."),
        ({"policy": "alphapruning", "sparsty": 0.5}, "unknown option 'sparsty'. Did you mean 'sparsity'?"),
        ({"policy": "alphapruning", "model": {}}, "the policy 'alphapruning' needs sparsity, .* such as 0.5"),
        ({"preset": "alphadecay", "model": {}}, "'tempbalance' has no preset 'alphadecay'. It has: neurips2023, "),
        ({"preset": "recomended", "model": {}}, "no preset 'recomended'. Did you mean 'recommended'?"),
        (
            {"preset": SparsityPolicy(), "model": {}},
            "preset: expected a ScalePolicy, or one of neurips2023, .* got SparsityPolicy\\(",
        ),
        (
            {"policy": "alphapruning", "preset": 3, "model": {}},
            "preset: expected a SparsityPolicy, or one of alphapruning, .* got 3",
        ),
        ({"policy": "adapter-rank", "preset": "recommended"}, "preset: the policy 'adapter-rank' has none. Leave it out"),
        ({"policy": "guided-dropout", "preset": "recommended"}, "preset: the policy 'guided-dropout' has none"),
        ({"policy": "guided-dropout"}, "needs a Fisher, or its file. Make one: spectra fisher MODEL"),
        ({"policy": "adapter-rank", "model": "a", "fisher": "b", "unit": "block"}, "unit: ranks from a Fisher are by layer"),
        ({"policy": "guided-dropout", "model": {}}, "needs a Fisher, or its file. Make one"),
        ({"model": {}, "fisher": "f.safetensors"}, "fisher: the policy 'tempbalance' is made of spectra alone. Leave it out"),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        plan(arguments.pop("model", None), arguments.pop("fisher", None), **arguments)


def test_another_target_than_the_policys_is_refused(report):
    own = ScalePolicy(target="weight_decay", analysis=SCALE_PRESETS["recommended"].analysis)
    with pytest.raises(InputError, match="the policy 'tempbalance' makes 'learning_rate', got 'weight_decay'"):
        plan(report, preset=own)


def test_no_unit_is_said_with_the_way_out():
    flat = {"a.weight": heavy_tailed(64, 64), "b.weight": heavy_tailed(64, 64, seed=1)}
    with pytest.raises(InputError, match="no layer of .* belongs to a unit, .* unit='layer' needs no blocks"):
        plan(flat)
    assert list(plan(flat, unit="layer").values) == ["a", "b"]


def test_an_unfinished_analysis_is_refused_as_such(tmp_path):
    (tmp_path / "progress.jsonl").write_text('{"header": {}}\n')
    with pytest.raises(ResultsError, match="holds an unfinished run"):
        plan(tmp_path)


def test_progress_is_that_of_the_analysis():
    seen = []
    plan(weights(), progress=lambda progress: seen.append(progress.num_done))
    assert seen[-1] == len(LAYERS) + 1


def test_every_policy_can_be_asked_for(report):
    fisher = fisher_of(squared_gradients())
    options = {"alphapruning": {"sparsity": 0.5}, "guided-dropout": {"exclude": "*drop_prob"}}
    for policy in POLICIES:
        made = plan(fisher if policy == "guided-dropout" else report, policy=policy, **options.get(policy, {}))
        assert policy in str(made) or policy == "guided-dropout"


def test_every_layer_has_the_number_of_its_unit():
    assert tiny_plan().by_layer() == {
        layer: {"0": 0.5, "1": 1.5}[layer.split(".")[2]] for unit in MEMBERS for layer in MEMBERS[unit]
    }


def test_a_plan_prints_its_range():
    assert str(tiny_plan()) == (
        "tempbalance of 'tiny': learning-rate multiplier of 2 units of 4 layers, mean 1\n"
        "from 0.5 at 'encoder.layer.0' to 1.5 at 'encoder.layer.1'"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {"encoder.layer.0": 1.0}}, "'values' lacks 1 unit that 'members' has, such as 'encoder.layer.1'"),
        ({"values": {"encoder.layer.0": 0.0, "encoder.layer.1": math.inf}}, "'encoder.layer.0': .* got 0.0; .* got inf"),
        ({"values": {"encoder.layer.0": np.float32(1.0), "encoder.layer.1": 1.0}}, "expected a finite number above 0"),
        (
            {"policy": "alphadecay", "target": "weight_decay", "values": dict.fromkeys(MEMBERS, -0.5)},
            "a finite number of at least 0",
        ),
        (
            {"policy": "alphapruning", "target": "sparsity", "values": dict.fromkeys(MEMBERS, 1.0)},
            r"a number in \[0, 1\), got 1.0",
        ),
        (
            {"policy": "adapter-rank", "target": "adapter_rank", "values": dict.fromkeys(MEMBERS, 2.5)},
            "a whole number of at least 0",
        ),
        (
            {"policy": "adapter-rank", "target": "adapter_rank", "values": dict.fromkeys(MEMBERS, -1)},
            "a whole number of at least 0",
        ),
        ({"members": {**MEMBERS, "encoder.layer.1": ()}}, "'members' of 'encoder.layer.1': expected the names of its layers"),
        ({"scores": {"head": 1.0}}, "'scores' has the unit 'head', which 'members' has not"),
    ],
)
def test_a_plan_that_cannot_be_is_not_made(changes, message):
    with pytest.raises(InputError, match=f"no plan: .*{message}"):
        tiny_plan(**changes)
