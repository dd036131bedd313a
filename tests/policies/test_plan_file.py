"""The files of plans: saved, read back, edited by hand, and refused where they are none."""

import json
import re

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import ResultsError
from spectra.policies.dropout_plan import DropoutPlan, dropout_plan, load_dropout_plan
from spectra.policies.plan import load_plan
from tests.fishers import fisher_of, squared_gradients
from tests.policies.plans import MEMBERS, plans, tiny_plan

SUFFIXES = st.sampled_from(["yaml", "yml", "json"])


@given(plans(), SUFFIXES)
def test_what_was_saved_comes_back(tmp_path_factory, plan, suffix):
    file = tmp_path_factory.mktemp("plans") / f"plan.{suffix}"
    plan.save(file)
    loaded = load_plan(str(file))
    assert loaded == plan
    assert list(loaded.values) == list(plan.values)
    assert list(loaded.members) == list(plan.members)


@pytest.mark.parametrize("suffix", ["yaml", "yml", "json"])
def test_a_plan_of_drop_probabilities_comes_back_through_both_doors(tmp_path, suffix):
    plan = dropout_plan(fisher_of(squared_gradients()), exclude="*drop_prob", p_upper=1e-5)
    plan.save(tmp_path / f"plan.{suffix}")
    assert load_plan(tmp_path / f"plan.{suffix}") == plan
    assert load_dropout_plan(tmp_path / f"plan.{suffix}") == plan


def test_yaml_begins_with_what_it_is_and_how_it_is_applied(tmp_path):
    tiny_plan().save(tmp_path / "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("\n".join(comments) + "\nschema_version: 1\npolicy: tempbalance\n")
    assert "A plan by Spectra. The learning rate of each unit is multiplied by its value" in comments[0]
    assert '#   plan = spectra.load_plan("mine.yaml")' in comments
    assert "  encoder.layer.1: 1.5\n" in text
    assert yaml.safe_load(text) == tiny_plan().to_dict()  # plain YAML for everybody else


def test_yaml_of_drop_probabilities_says_its_policy_and_json_is_as_it_was(tmp_path):
    plan = dropout_plan(fisher_of(squared_gradients()), exclude="*drop_prob")
    plan.save(tmp_path / "plan.yaml")
    plan.save(tmp_path / "plan.json")
    assert yaml.safe_load((tmp_path / "plan.yaml").read_text()) == {"policy": "guided-dropout", **plan.to_dict()}
    assert json.loads((tmp_path / "plan.json").read_text()) == plan.to_dict()


def test_a_folder_and_other_endings_are_refused(tmp_path):
    with pytest.raises(ResultsError, match=r"is a folder. Name a file in it, such as '.*plan.yaml'"):
        tiny_plan().save(tmp_path, force=True)
    for saved in (tiny_plan(), dropout_plan(fisher_of(squared_gradients()), exclude="*drop_prob")):
        with pytest.raises(ResultsError, match=r"plan.txt': a plan is YAML or JSON, and its name ends in .yaml, .yml or .json"):
            saved.save(tmp_path / "plan.txt")


def test_a_slip_in_json_has_its_line(tmp_path):
    (tmp_path / "plan.json").write_text('{\n"policy": tempbalance}')
    with pytest.raises(ResultsError, match=r"cannot be read as a plan: Expecting value. Correct line 2\.$"):
        load_plan(tmp_path / "plan.json")


def test_a_misspelled_target_is_suggested(tmp_path):
    with pytest.raises(ResultsError, match=r"got 'learning_rat' \(Did you mean 'learning_rate'\?\)"):
        load_plan(edited(tmp_path, "target: learning_rate", "target: learning_rat"))


def test_faults_of_drop_probabilities_have_their_lines(tmp_path):
    file = tmp_path / "plan.yaml"
    dropout_plan(fisher_of(squared_gradients()), exclude="*drop_prob").save(file)
    lines = file.read_text().splitlines()
    line = next(number for number, text in enumerate(lines) if text == "rates:") + 1
    lines[line] = lines[line].rpartition(":")[0] + ": 2"
    lines[line + 20 :] = [text.replace("p_cap: 0.5", "p_cap: high") for text in lines[line + 20 :]]
    file.write_text("\n".join(lines))
    with pytest.raises(ResultsError, match=rf"'rates' of '[\w.]+' \(line {line + 1}\): expected a number in \[0, 1\), got 2"):
        load_plan(file)


@pytest.mark.parametrize("target", ["learning_rate", "weight_decay", "adapter_rank"])
def test_the_first_lines_can_be_run_up_to_what_is_the_users_own(tmp_path, target, monkeypatch):
    policy = {"learning_rate": "tempbalance", "weight_decay": "alphadecay", "adapter_rank": "adapter-rank"}[target]
    made = tiny_plan(policy=policy, target=target, values=dict.fromkeys(MEMBERS, 2))
    made.save(tmp_path / "plan.yaml")
    comments = [line for line in (tmp_path / "plan.yaml").read_text().splitlines() if line.startswith("#   ")]
    imports = [line.removeprefix("#   ") for line in comments if "import" in line]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec("\n".join(imports), names)
    assert {"spectra"} <= names.keys()
    assert 'spectra.load_plan("plan.yaml")' in "".join(comments)


def test_an_existing_file_is_replaced_only_by_force(tmp_path):
    file = tmp_path / "new" / "plan.yaml"
    tiny_plan().save(file)
    with pytest.raises(ResultsError, match=r"plan.yaml' exists. Choose another file, or pass force=True \(--force\)"):
        tiny_plan(model="other").save(file)
    tiny_plan(model="other").save(file, force=True)
    assert load_plan(file).model == "other"


def edited(tmp_path, old, new, **changes):
    """The file of a tiny plan, with a text in it replaced."""
    file = tmp_path / "plan.yaml"
    tiny_plan(**changes).save(file)
    text = file.read_text()
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new))
    return file


@pytest.mark.parametrize(
    ("typed", "number"), [("1e-4", 1e-4), ("2", 2.0), ("1E+3", 1000.0), (".5e1", 5.0), ("1.e2", 100.0), ("0x10", 16.0)]
)
def test_a_number_may_be_typed_as_people_do(tmp_path, typed, number):
    value = load_plan(edited(tmp_path, "layer.1: 1.5", f"layer.1: {typed}")).values["encoder.layer.1"]
    assert value == number
    assert isinstance(value, float)


def test_a_whole_rank_is_a_whole_number_however_it_is_typed(tmp_path):
    ranks = {"policy": "adapter-rank", "target": "adapter_rank", "values": {"encoder.layer.0": 4, "encoder.layer.1": 8}}
    values = load_plan(edited(tmp_path, "layer.1: 8", "layer.1: 16.0", **ranks)).values
    assert [type(value) for value in values.values()] == [int, int]
    assert values["encoder.layer.1"] == 16


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "policy: tempbalance",
            "policy: tempbalanced",
            r"'policy' \(line 10\): expected one of tempbalance, .*got 'tempbalanced'",
        ),
        ("target: learning_rate", "target: sparsity", r"'target' \(line 11\): the policy 'tempbalance' makes 'learning_rate'"),
        ("target: learning_rate", "target: [a]", r"'target' \(line 11\): expected one of learning_rate, .*got \['a'\]"),
        ("model: tiny", "modle: tiny", r"unknown key 'modle' \(line 12\) \(Did you mean 'model'\?\); 'model' is missing"),
        ("model: tiny", "model: 1.5", "'model' .*: expected text, got 1.5"),
        ("notes: []", "notes: [1]", r"'notes' .*: expected a list of texts, got \[1\]"),
        ("notes: []", "notes: text", "'notes' .*: expected a list of texts, got 'text'"),
        ("  metric: alpha\n  tau: 10.0", "  - 1", r"'settings' .*: expected settings by name, got \[1\]"),
        (
            "layer.1: 1.5",
            "layer.1: half",
            r"'values' of 'encoder.layer.1' \(line 18\): expected a finite number above 0, got 'half'",
        ),
        ("layer.1: 1.5", "layer.1: yes", "'values' of 'encoder.layer.1' .* got True"),
        ("layer.1: 1.5", "layer.1: 0", "expected a finite number above 0, got 0"),
        ("layer.1: 1.5", "layer.1: -1", "expected a finite number above 0, got -1"),
        ("layer.1: 1.5", "layer.1: .inf", "expected a finite number above 0, got inf"),
        ("layer.1: 1.5", "layer.1: .nan", "expected a finite number above 0, got nan"),
        ("layer.1: 1.5", f"layer.1: 1{'0' * 400}", "expected a finite number above 0, got 1000"),
        ("layer.1: 1.5", "layer.1:", "got None"),
        ("layer.1: 1.5", 'layer.1: "1.5"', "got '1.5'"),
        ("layer.1: 3.0", "layer.1: high", r"'scores' of 'encoder.layer.1' \(line 21\): expected a finite number, got 'high'"),
        (
            "  encoder.layer.1: 1.5",
            "  encoder.layer.1: 1.5\n  encoder.layer.1: 2",
            "'encoder.layer.1' is given twice, in lines 18 and 19",
        ),
        ("model: tiny", "model: tiny\npolicy: x", "'policy' is given twice, in lines 10 and 13"),
        (
            "  encoder.layer.1: 1.5",
            "  encoder.layr.1: 1.5",
            r"'values' has the unit 'encoder.layr.1' \(line 18\), which 'members' has not \(Did you mean 'encoder.layer.1'\?\)"
            "; 'values' lacks 1 unit that 'members' has, such as 'encoder.layer.1'",
        ),
        ("  encoder.layer.1: 3.0", "  head: 3.0", r"'scores' has the unit 'head' \(line 21\), which 'members' has not"),
        ("embeddings: embedding", "embeddings: 3", "'left_out' of 'embeddings' .*: expected text, got 3"),
        (
            "  - encoder.layer.1.query",
            "  - encoder.layer.0.query",
            r"'members' has the layer 'encoder.layer.0.query' in 'encoder.layer.0' and in 'encoder.layer.1' \(line 29\)",
        ),
        (
            "  encoder.layer.0: 0.5\n  encoder.layer.1: 1.5",
            "  {}",
            r"is no plan: 'values' holds no unit\. Correct the file, or",
        ),
        ("values:\n  encoder.layer.0: 0.5\n  encoder.layer.1: 1.5\n", "values: 3\n", "'values' .*: expected .* by name, got 3"),
        (
            "\n  - encoder.layer.0.query\n  - encoder.layer.0.dense",
            " []",
            r"'members' of 'encoder.layer.0' .*: expected the names of its layers, got \[\]",
        ),
        ("\n  - encoder.layer.0.query\n  - encoder.layer.0.dense", " 7", "expected the names of its layers, got 7"),
        ("schema_version: 1", "schema_version: 2", "has schema_version 2, a plan has 1. Make it again"),
        ("schema_version: 1", "", "has schema_version None"),
    ],
)
def test_a_slip_of_the_pen_is_refused_with_its_line(tmp_path, old, new, message):
    with pytest.raises(ResultsError, match=f"plan.yaml' .*{message}"):
        load_plan(edited(tmp_path, old, new))


def test_all_faults_are_named_at_once(tmp_path):
    file = edited(tmp_path, "model: tiny", "model: 3")
    file.write_text(file.read_text().replace("layer.1: 1.5", "layer.1: none"))
    with pytest.raises(ResultsError) as caught:
        load_plan(file)
    assert re.search(r"'model' .*; .*'encoder.layer.1' .*got 'none'\. Correct the file, or make it again\.$", str(caught.value))


def test_json_has_no_lines_and_the_same_faults(tmp_path):
    content = tiny_plan().to_dict()
    content["values"]["encoder.layer.1"] = "1.5"
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(ResultsError, match="'values' of 'encoder.layer.1': expected a finite number above 0, got '1.5'"):
        load_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "cannot be read as a plan: expected ',' or '\\]'.*\\. Correct line 1\\.$"),
        ("", "is no plan. Make one: spectra plan MODEL -o plan.yaml"),
        ("just text", "is no plan. Make one"),
        ("- 1\n- 2", "is no plan"),
        ("epochs: 3\nlr: 1e-4", "is no plan"),
        ("policy: !!python/object/apply:os.getcwd []", "cannot be read as a plan: could not determine a constructor"),
        ("values: {? [1, 2] : 3}", "cannot be read as a plan: found unhashable key. Correct line 1"),
        ("a: &a\n  b: *a", "is no plan"),
        ("[" * 1500, "cannot be read as a plan"),
        ("day: 2001-99-99", "cannot be read as a plan .*month"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path, text, message):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ResultsError, match=f"plan.yaml' {message}"):
        load_plan(tmp_path / "plan.yaml")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ResultsError, match="no file '.*none.yaml'. Make one: spectra plan MODEL"):
        load_plan(tmp_path / "none.yaml")
    with pytest.raises(ResultsError, match="cannot be read as a plan .*Is a directory"):
        load_plan(tmp_path)


def test_binary_is_no_text(tmp_path):
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultsError, match="cannot be read as a plan .*utf-8"):
        load_plan(tmp_path / "plan.yaml")


def test_a_layer_may_be_called_like_a_number_without_quotes(tmp_path):
    members = {"0": ("0",), "on": ("on",)}
    tiny_plan(values={"0": 0.5, "on": 2.0}, scores={}, members=members).save(tmp_path / "plan.yaml")
    file = tmp_path / "plan.yaml"
    file.write_text(file.read_text().replace("'0': 0.5", "0: 0.5").replace("'on': 2.0", "on: 2.0"))
    assert "  0: 0.5\n  on: 2.0\n" in file.read_text()
    assert load_plan(file).values == {"0": 0.5, "on": 2.0}


def test_the_reader_of_drop_probabilities_knows_other_plans(tmp_path):
    tiny_plan().save(tmp_path / "plan.yaml")
    with pytest.raises(ResultsError, match="is a plan of 'tempbalance', not of drop probabilities. Read it with load_plan"):
        load_dropout_plan(tmp_path / "plan.yaml")


def test_a_plan_of_drop_probabilities_is_checked_in_yaml_too(tmp_path):
    file = tmp_path / "plan.yaml"
    dropout_plan(fisher_of(squared_gradients()), exclude="*drop_prob").save(file)
    text = file.read_text()
    file.write_text(text.replace("p_upper: 0.1", "p_upper: 1e-1"))
    assert load_plan(file).p_upper == 0.1
    file.write_text(text.replace("p_upper: 0.1", "p_uper: 0.1\nseed: 1"))
    with pytest.raises(
        ResultsError, match=r"'seed' is given twice, in lines \d+ and \d+; unknown key 'p_uper' .*; 'p_upper' is missing"
    ):
        load_plan(file)


def test_numbers_keep_every_digit(tmp_path):
    value = 0.1 + 0.2
    tiny_plan(values=dict.fromkeys(MEMBERS, value)).save(tmp_path / "plan.yaml")
    assert "encoder.layer.0: 0.30000000000000004\n" in (tmp_path / "plan.yaml").read_text()
    assert load_plan(tmp_path / "plan.yaml").values["encoder.layer.0"] == value


def test_numbers_of_numpy_are_written_as_any_other(tmp_path):
    rates = {name: np.float64(0.25) for name in ("a", "b")}
    by_site = {"rates": rates, "scores": {}, "roles": dict.fromkeys(rates, "other"), "kinds": dict.fromkeys(rates, "module")}
    made = DropoutPlan(**by_site, rule="rank", p_upper=np.float64(0.5), p_lower=0.0, aggregate="trace", model="")
    made.save(tmp_path / "plan.yaml")
    assert load_plan(tmp_path / "plan.yaml") == made
    tiny_plan(values={unit: np.float64(2.0) for unit in MEMBERS}).save(tmp_path / "other.yaml")
    assert load_plan(tmp_path / "other.yaml").values == dict.fromkeys(MEMBERS, 2.0)
