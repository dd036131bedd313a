"""Plans of drop probabilities: made from a Fisher, saved, read back, and refused where they are none."""

import json
from dataclasses import fields, replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from spectra.errors import InputError, ResultsError
from spectra.policies.drop_controls import CONTROLS
from spectra.policies.drop_prob import guided_rates
from spectra.policies.dropout_plan import LEFT_ALONE, DropoutPlan, dropout_plan, load_dropout_plan
from spectra.results.fisher import Fisher, FisherInfo, FisherTensor, SiteBlock
from spectra.results.fisher_store import fisher_fingerprint

# Site: role, and the parameters behind it with their number of entries and trace.
SITES = {
    "embeddings.dropout": ("embeddings", {"word.weight": (8, 80.0), "norm.weight": (2, 4.0)}),
    "layer.0.attention.dropout": ("attention_probs", {"query.weight": (4, 4.0)}),
    "layer.0.output.dropout": ("mlp_output", {"dense.weight": (4, 12.0)}),
    "layer.0.lora_dropout": ("adapter", {"lora_A.weight": (2, 50.0)}),
    "dropout": ("classifier", {"classifier.weight": (4, 400.0)}),
}
TAKE_PART = list(SITES)[:3]


def tiny_fisher(sites=SITES):
    parameters = {name: numbers for _, block in sites.values() for name, numbers in block.items()}
    info = FisherInfo(
        kind="empirical", reduction="token_mean", keep="traces", aggregate="param_mean", task="classification", num_samples=3,
        num_tokens=3, num_skipped=0, num_draws=1, seed=0, model="tiny", num_params=24, dtype="float32", data="00", version="0",
    )  # fmt: skip
    tensors = [
        FisherTensor(name, name.split(".")[0], "linear", (size,), size, trace, 0.1, float("nan"), "loop")
        for name, (size, trace) in parameters.items()
    ]
    blocks = [SiteBlock(name, "module", role, 0.1, tuple(block)) for name, (role, block) in sites.items()]
    return Fisher(info, tuple(tensors), tuple(blocks))


def test_sites_get_the_rates_of_their_scores():
    plan = dropout_plan(tiny_fisher(), p_upper=0.2)
    # Traces over entries: 84/10, 4/4, 12/4.
    assert plan.scores == pytest.approx({TAKE_PART[0]: 8.4, TAKE_PART[1]: 1.0, TAKE_PART[2]: 3.0}, rel=1e-15)
    assert plan.rates == {TAKE_PART[0]: 0.0, TAKE_PART[1]: 0.2, TAKE_PART[2]: 0.1}
    assert plan.mean == pytest.approx(0.1, rel=1e-15)


def test_the_plan_says_where_its_rates_come_from():
    plan = dropout_plan(
        tiny_fisher(),
        p_upper=0.2,
        p_lower=0.01,
        rule="log",
        mean_p=0.1,
        p_cap=0.4,
        control="shuffled",
        seed=3,
        aggregate="trace",
    )
    assert plan.roles == {name: SITES[name][0] for name in TAKE_PART}
    assert plan.kinds == dict.fromkeys(TAKE_PART, "module")
    settings = (plan.rule, plan.p_upper, plan.p_lower, plan.mean_p, plan.p_cap, plan.control, plan.seed, plan.aggregate)
    assert settings == ("log", 0.2, 0.01, 0.1, 0.4, "shuffled", 3, "trace")
    assert (plan.model, plan.fisher) == ("tiny", "")
    assert plan.scores == {TAKE_PART[0]: 84.0, TAKE_PART[1]: 4.0, TAKE_PART[2]: 12.0}
    guided = guided_rates(plan.scores, p_upper=0.2, p_lower=0.01, rule="log", mean_p=0.1, p_cap=0.4)
    assert sorted(plan.rates.values()) == sorted(guided.values())


def test_the_aggregate_is_the_fishers_own_unless_another_is_asked_for():
    fisher = tiny_fisher()
    assert dropout_plan(fisher).aggregate == "param_mean"
    plan = dropout_plan(replace(fisher, info=replace(fisher.info, aggregate="mean_of_means")))
    assert plan.aggregate == "mean_of_means"
    assert plan.scores["embeddings.dropout"] == 6.0  # means 80/8 and 4/2


def test_of_a_file_the_plan_keeps_the_fingerprint(tmp_path):
    file = tmp_path / "fisher.safetensors"
    tiny_fisher().save(file)
    plan = dropout_plan(file)
    assert plan.fisher == fisher_fingerprint(file)
    assert dropout_plan(str(file.with_suffix(".json"))) == plan
    assert replace(plan, fisher="") == dropout_plan(tiny_fisher())


def test_classifiers_and_adapters_take_part_only_when_included():
    assert list(dropout_plan(tiny_fisher()).rates) == TAKE_PART
    assert list(dropout_plan(tiny_fisher(), include="*").rates) == list(SITES)
    assert list(dropout_plan(tiny_fisher(), include=["dropout", "layer.*"]).rates) == list(SITES)[1:]
    assert list(dropout_plan(tiny_fisher(), exclude="layer.*").rates) == ["embeddings.dropout"]
    assert list(dropout_plan(tiny_fisher(), include="layer.*", exclude="*lora*").rates) == TAKE_PART[1:]


def test_the_roles_left_alone_are_roles_of_sites():
    from spectra.fisher.sites import SiteRole

    assert set(LEFT_ALONE) <= {role.value for role in SiteRole}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_differs_in_its_rates_and_name_only(control):
    plan = dropout_plan(tiny_fisher())
    controlled = plan.with_control(control, seed=1)
    assert controlled == dropout_plan(tiny_fisher(), control=control, seed=1)
    assert replace(controlled, rates=plan.rates, control="guided", seed=0) == plan
    assert list(controlled.rates) == list(plan.rates)


def test_a_control_is_not_made_of_a_control():
    plan = dropout_plan(tiny_fisher(), control="none")
    with pytest.raises(InputError, match="this plan is the control 'none', whose rates .* Start from the guided plan"):
        plan.with_control("shuffled")


@pytest.mark.parametrize(
    ("fisher", "arguments", "message"),
    [
        (tiny_fisher({}), {}, "fisher: it has no dropout sites"),
        (tiny_fisher(), {"include": "layer.1.*"}, "no dropout site matches 'layer.1.*'"),
        (tiny_fisher(), {"exclude": ["dropout", "embedding.dropout"]}, "Did you mean 'embeddings.dropout'.* lists them"),
        (
            tiny_fisher(),
            {"exclude": ["embeddings*", "layer.*"]},
            "leave no dropout site beside those of the roles classifier and",
        ),
        (tiny_fisher(), {"include": "dropout", "exclude": "*"}, "include and exclude leave no dropout site. Loosen them"),
        (tiny_fisher(), {"aggregate": "matrices_mean"}, r"3 of 3 sites have no finite score .* 'embeddings.dropout' \(nan\)"),
        (tiny_fisher(), {"control": "shufled"}, "unknown control 'shufled'"),
        (tiny_fisher(), {"rule": "ranked"}, "unknown rule 'ranked'"),
        (tiny_fisher(), {"rule": None}, "unknown rule None"),
        (tiny_fisher(), {"p_cap": None}, r"p_cap: expected a number in \(0, 1\), got None"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_plan_that_cannot_be_made_is_refused(fisher, arguments, message):
    with pytest.raises(InputError, match=message):
        dropout_plan(fisher, **arguments)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
RATE = st.floats(0.0, 1.0, exclude_max=True)


@st.composite
def plans(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    by_site = {
        "rates": {name: draw(RATE) for name in names},
        "scores": {name: draw(st.floats(0.0, 1e300)) for name in names} if draw(st.booleans()) else {},
        "roles": {name: draw(TEXT) for name in names},
        "kinds": {name: draw(TEXT) for name in names},
    }
    return DropoutPlan(
        **by_site,
        rule=draw(st.sampled_from(["rank", "linear", "log"])),
        p_upper=draw(RATE),
        p_lower=draw(RATE),
        mean_p=draw(st.none() | RATE),
        p_cap=draw(RATE),
        control=draw(st.sampled_from(CONTROLS)),
        seed=draw(st.integers(0, 2**70)),
        aggregate=draw(st.sampled_from(["param_mean", "trace"])),
        model=draw(TEXT),
        fisher=draw(TEXT),
        version=draw(TEXT),
    )


@given(plans(), st.sampled_from(["json", "yaml"]))
def test_what_was_saved_comes_back(tmp_path_factory, plan, suffix):
    file = tmp_path_factory.mktemp("plans") / f"plan.{suffix}"
    plan.save(file)
    assert load_dropout_plan(file) == plan
    assert list(load_dropout_plan(str(file)).rates) == list(plan.rates)


def test_a_plan_is_json_that_people_can_read(tmp_path):
    plan = dropout_plan(tiny_fisher(), p_upper=np.float32(0.5), seed=np.int64(2))
    plan.save(tmp_path / "new" / "plan.json")
    content = json.loads((tmp_path / "new" / "plan.json").read_text())
    assert content["schema_version"] == 1
    assert set(content) == {"schema_version", *(field.name for field in fields(DropoutPlan))}
    assert content["rates"] == {TAKE_PART[0]: 0.0, TAKE_PART[1]: 0.5, TAKE_PART[2]: 0.25}
    assert load_dropout_plan(tmp_path / "new" / "plan.json") == plan


def test_an_existing_file_is_replaced_only_by_force(tmp_path):
    file = tmp_path / "plan.json"
    plan = dropout_plan(tiny_fisher())
    plan.save(file)
    with pytest.raises(ResultsError, match=r"plan.json' exists. Choose another file, or pass force=True \(--force\)"):
        plan.with_control("none").save(file)
    assert load_dropout_plan(file) == plan
    plan.with_control("none").save(file, force=True)
    assert load_dropout_plan(file) == plan.with_control("none")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write to '.*file'"):
        dropout_plan(tiny_fisher()).save(tmp_path / "file" / "plan.json")


def edited(**changes):
    """The content of a plan's file, with changes by key; ``...`` takes a key out."""
    content = {**dropout_plan(tiny_fisher()).to_dict(), **changes}
    return {key: value for key, value in content.items() if value is not ...}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as a dropout plan: .* Correct line 1"),
        ("[1, 2]", "has schema_version None, a dropout plan has 1"),
        (edited(schema_version=2), "has schema_version 2, a dropout plan has 1. Make it again"),
        (edited(schema_version=...), "has schema_version None"),
        (edited(p_uper=0.2), r"is no dropout plan: unknown key 'p_uper' \(Did you mean 'p_upper'\?\). Correct the file"),
        (edited(p_cap=...), "'p_cap' is missing"),
        (edited(roles=...), "'roles' is missing. Correct"),
        (edited(rule="ranks"), "'rule': expected one of rank, linear, log, got 'ranks'"),
        (edited(control=["none"]), r"'control': expected one of guided, .*, got \['none'\]"),
        (edited(aggregate="mean"), "'aggregate': expected one of param_mean, "),
        (edited(p_upper=1), r"'p_upper': expected a number in \[0, 1\), got 1"),
        (edited(mean_p="0.1"), r"'mean_p': expected a number in \[0, 1\), or null, got '0.1'"),
        (edited(seed=True), "'seed': expected a whole number of at least 0, got True"),
        (edited(seed=0.5), "'seed': expected a whole number"),
        (edited(model=None), "'model': expected text, got None"),
        (edited(rates=[0.1]), r"'rates': expected a number in \[0, 1\) by name of the site, got \[0.1\]"),
        (edited(rates={}), r"is no dropout plan: 'rates' holds no site\. Correct the file, or make it again\.$"),
        (
            edited(rates=dict.fromkeys(TAKE_PART, 1.0)),
            r"of 'embeddings.dropout': expected a number in \[0, 1\), got 1.0; 'r",
        ),
        (edited(rates=dict.fromkeys(TAKE_PART, float("nan"))), "'rates' of 'layer.0.output.dropout': .* got nan"),
        (edited(rates=dict.fromkeys([*TAKE_PART, "dropout"], 0.1)), "'kinds' lacks 1 site that 'rates' has, such as 'dropout'"),
        (
            edited(roles=dict.fromkeys([*TAKE_PART, "embeding.dropout"], "other")),
            r"'roles' has the site 'embeding.dropout', which 'rates' has not \(Did you mean 'embeddings.dropout'\?\)",
        ),
        (
            edited(scores=dict.fromkeys(TAKE_PART, -1.0)),
            "'scores' of 'embeddings.dropout': expected a finite number",
        ),
        (edited(scores=dict.fromkeys(TAKE_PART, float("inf"))), "'scores' of .* got inf"),
        (edited(kinds=dict.fromkeys(TAKE_PART, 1)), "'kinds' of 'embeddings.dropout': expected text, got 1"),
        (edited(p_cap=..., seed=-1, sed=1), "unknown key 'sed' .*; 'p_cap' is missing; 'seed': expected a whole number"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value)[:40],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, content, message):
    file = tmp_path / "plan.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ResultsError, match=f"plan.json' .*{message}"):
        load_dropout_plan(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ResultsError, match="no file '.*plan.json'. Make one with dropout_plan"):
        load_dropout_plan(tmp_path / "plan.json")


def test_a_plan_prints_its_range():
    assert str(dropout_plan(tiny_fisher())) == (
        "Drop probabilities at 3 sites of 'tiny' (guided, rule rank): mean 0.0500\n"
        "from 0.0000 at 'embeddings.dropout' to 0.1000 at 'layer.0.attention.dropout'"
    )
