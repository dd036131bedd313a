"""Recipes from files: short forms, changes, variables, and every fault at once with its place."""

import contextlib
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.training.recipe import draft_recipe, parse_recipe, read_recipe, recipe_of

SHORT = """\
model: demo
data: {train: rte/train.tsv, eval: rte/dev.tsv, text_column: sentence1, pair_column: sentence2, label_column: label}
method: dcs
tempbalance: recommended
training: {learning_rate: 1e-4, num_train_epochs: 3}
output: runs/rte-dcs
"""
LEAST = "model: demo\ndata:\n  train: texts.txt\noutput: runs/a\n"  # four lines


def test_a_short_recipe_says_all_that_is_needed():
    recipe = parse_recipe(SHORT)
    assert (recipe.model.name, recipe.method.name, recipe.adapter.name) == ("demo", "dcs", "none")
    assert recipe.method.options["lam"] == 0.5
    assert recipe.diagnostics.tempbalance["policy"]["name"] == "recommended"
    assert recipe.training.learning_rate == 1e-4
    assert recipe.name == "rte-dcs"
    assert recipe.data.pair_column == "sentence2"


def test_short_forms_are_the_long_ones():
    short = parse_recipe(
        f"{LEAST}method: dcs\nadapter: lora\nguided_dropout: plan.yaml\ntraining: {{seed: 7}}\nreport_to: none\n"
    )
    long = parse_recipe(
        "model: {name: demo}\ndata: {train: texts.txt}\nmethod: {name: dcs}\nadapter: {name: lora}\n"
        "diagnostics: {guided_dropout: {plan: plan.yaml}}\nseed: 7\noutput: runs/a\nreport_to: []\n"
    )
    assert short == long
    assert short.diagnostics.guided_dropout.plan == "plan.yaml"


@pytest.mark.parametrize("word", ["false", "none", "null", "~"])
def test_a_diagnostic_is_turned_off_by_any_word_for_it(word):
    lines = "".join(f"{name}: {word}\n" for name in ("tempbalance", "alphadecay", "guided_dropout"))
    assert parse_recipe(LEAST + lines) == parse_recipe(LEAST)


def test_true_turns_a_diagnostic_on_as_it_is_by_default():
    diagnostics = parse_recipe(f"{LEAST}tempbalance: true\nalphadecay: true\nguided_dropout: true\n").diagnostics
    assert diagnostics.tempbalance["policy"]["name"] == "recommended"
    assert diagnostics.alphadecay["policy"]["target"] == "weight_decay"
    assert (diagnostics.guided_dropout.plan, diagnostics.guided_dropout.p_upper) == (None, 0.1)


def test_options_of_a_policy_change_its_own_preset():
    diagnostics = parse_recipe(f"{LEAST}alphadecay: {{policy: {{r_max: 5}}, interval: 100}}\n").diagnostics
    assert (diagnostics.alphadecay["policy"]["r_min"], diagnostics.alphadecay["policy"]["r_max"]) == (0.67, 5.0)
    assert diagnostics.alphadecay["interval"] == 100


def test_a_preset_of_a_method_is_written_out():
    recipe = parse_recipe(f"{LEAST}method: {{name: dcs, preset: uniform, tau: 4}}\n")
    assert (recipe.method.options["eta"], recipe.method.options["tau"]) == (0.0, 4)
    assert "preset" not in recipe.method.options


def test_every_method_reads_its_own_options():
    sdft = parse_recipe(f"{LEAST}method: {{name: sdft, task: math, min_rouge_l: 1, leak_phrases: [as asked]}}\n").method.options
    assert (sdft["task"], sdft["generation"], sdft["leak_phrases"]) == ("math", "reference", ["as asked"])
    tasks = LEAST.replace("train: texts.txt", "tasks: personas")
    assert parse_recipe(f"{tasks}method: {{name: meta_peft, tasks_per_step: 3}}\n").method.options["tasks_per_step"] == 3


def test_epochs_are_three_unless_something_else_ends_training():
    assert parse_recipe(LEAST).training.num_train_epochs == 3.0
    steps = parse_recipe(f"{LEAST}training: {{max_steps: 5}}\n").training
    assert (steps.max_steps, steps.num_train_epochs) == (5, None)


def test_alpha_of_an_adapter_is_twice_its_rank():
    assert parse_recipe(LEAST, ["adapter.name=lora", "adapter.rank=4"]).adapter.alpha == 8.0


def test_targets_and_shares_are_read_as_they_are_meant():
    recipe = parse_recipe(f"{LEAST}adapter: {{name: lora, targets: query}}\ntraining: {{warmup_steps: 0.1}}\n")
    assert recipe.adapter.targets == ("query",)
    assert parse_recipe(LEAST, ["adapter={name: lora, targets: all-linear}"]).adapter.targets == "all-linear"
    assert recipe.training.warmup_steps == 0.1


def test_parts_that_are_left_empty_have_their_defaults():
    assert parse_recipe(f"{LEAST}training:\nmethod:\n") == parse_recipe(LEAST)


def test_strategies_are_words_although_yaml_1_1_has_no_for_false():
    assert parse_recipe(f"{LEAST}training: {{eval_strategy: no, save_strategy: no}}\n").training.eval_strategy == "no"


def test_anchors_are_read_and_merged_options_give_way(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "model: &m {name: demo, dtype: float32}\ndata: {train: a.txt}\noutput: runs/a\n"
        "training:\n  arguments: {<<: *m, dtype: other}\n"
    )
    assert read_recipe(tmp_path / "a.yaml").training.arguments == {"name": "demo", "dtype": "other"}


# Changes


def test_changes_are_yaml_and_the_last_one_wins():
    recipe = parse_recipe(LEAST, ["training.learning_rate=1", "training.learning_rate=1e-3", "adapter.targets=[query, value]",
                                  "adapter.name=lora", "data.eval=null", "seed=3"])  # fmt: skip
    assert (recipe.training.learning_rate, recipe.adapter.targets, recipe.data.eval, recipe.seed) == (
        1e-3,
        ("query", "value"),
        None,
        3,
    )


def test_changes_reach_into_short_forms():
    recipe = parse_recipe(SHORT, ["method.tau=3", "tempbalance.interval=5", "model=other", "training.seed=5"])
    assert (recipe.method.name, recipe.method.options["tau"], recipe.model.name, recipe.seed) == ("dcs", 3, "other", 5)
    assert (recipe.diagnostics.tempbalance["interval"], recipe.diagnostics.tempbalance["policy"]["name"]) == (5, "recommended")
    assert parse_recipe(SHORT, ["tempbalance=none"]).diagnostics.tempbalance is None


def test_steps_and_epochs_take_each_others_place():
    assert parse_recipe(SHORT, ["training.max_steps=2"]).training.num_train_epochs is None
    assert parse_recipe(SHORT, ["training.max_steps=2", "training.num_train_epochs=1"]).training.max_steps is None
    assert parse_recipe(SHORT, ["training.max_steps=null"]).training.num_train_epochs == 3.0


def test_another_method_leaves_the_options_of_the_first_behind():
    text = f"{LEAST}method: {{name: dcs, lam: 0.3}}\nadapter: {{name: lora, rank: 4}}\n"
    assert parse_recipe(text, ["method.name=plain", "adapter.name=none"]) == parse_recipe(LEAST)
    assert parse_recipe(text, ["method.name=dcs"]).method.options["lam"] == 0.3
    given_first = parse_recipe(LEAST, ["method.lam=0.25", "method.name=dcs"])
    assert given_first.method.options["lam"] == 0.25


def test_a_change_touches_one_of_two_parts_that_share_an_anchor():
    text = "model: demo\ndata: {train: a.txt}\noutput: runs/a\ntempbalance: &t {interval: 5}\nalphadecay: *t\n"
    diagnostics = parse_recipe(text, ["tempbalance.interval=7"]).diagnostics
    assert (diagnostics.tempbalance["interval"], diagnostics.alphadecay["interval"]) == (7, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.learning_rate", r"--set 'training.learning_rate': expected name=value, such as training.learning_rate=1e-4"),
        ("=3", "--set '=3': expected name=value"),
        ("training..seed=3", "expected name=value"),
        ("seed=[1", r"--set 'seed=\[1' cannot be read as YAML: .* Correct line 1"),
        ("method={name: dcs, name: plain}", "--set 'method={name: dcs, name: plain}': given twice, in lines 1 and 1"),
        ("output.folder=3", r"--set output.folder: output is 'runs/a' and has no options of its own"),
        ("training.learning_rate=fast", r"training.learning_rate \(--set\): expected a number above 0, got 'fast'"),
        ("lr=1e-4", r"lr \(--set\): unknown option. A recipe has it as training.learning_rate"),
    ],
)
def test_changes_that_cannot_be_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        parse_recipe(LEAST, [change])


# Variables


def test_variables_are_replaced_in_data_and_output(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECTRA_DATA_DIR", "/data/${OTHER}")
    recipe = tmp_path / "a.yaml"
    recipe.write_text(
        "model: demo\ndata: {train: '${SPECTRA_DATA_DIR}/a.txt', eval: '${RECIPE_DIR}/b.txt'}\noutput: runs/$${X}\n"
    )
    read = read_recipe(recipe)
    assert (read.data.train, read.data.eval) == ("/data/${OTHER}/a.txt", f"{tmp_path}/b.txt")
    assert read.output == "runs/${X}"


def test_variables_elsewhere_are_text():
    assert parse_recipe(LEAST, ["name='${HOME}'"]).name == "${HOME}"


def test_a_variable_that_is_not_set_is_named():
    with pytest.raises(InputError, match=r"data.train \(line 3\): the variable 'NO_SUCH' is not set"):
        parse_recipe(LEAST.replace("texts.txt", "'${NO_SUCH}/texts.txt'"))


# Faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the recipe holds no options. Begin with 'model: demo'"),
        ("- a\n- b\n", "holds no options"),
        ("model: demo\ndata:\n\ttrain: a\n", "there is a tab, and YAML wants blanks. Correct line 3"),
        ("model: [demo\n", "the recipe cannot be read as YAML: expected ',' or ']', but got '<stream end>'. Correct line 2"),
        ("model: !!python/name:os.system x\n", "the tag 'tag:yaml.org,2002:python/name:os.system' is not read. Correct line 1"),
        ("model: !!binary aaaa\n", "the tag 'tag:yaml.org,2002:binary' is not read. Correct line 1"),
        ("model: !!set {a}\n", "the tag 'tag:yaml.org,2002:set' is not read"),
        ("model: !!bool maybe\n", "a value is not what its tag says"),
        ("model: &a [*a]\n", "it nests too deeply, or holds itself"),
        ("a: 1\n---\nb: 2\n", "it holds two documents, and one is expected. Correct line 2"),
        ("a: *b\n", "found undefined alias"),
        ("<<: 3\n", "'<<' takes a mapping, or a list of them. Correct line 1"),
        ("a: \x00\n", "special characters are not allowed"),
    ],
)  # fmt: skip
def test_what_is_no_yaml_of_plain_values_is_refused_with_its_line(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parse_recipe(text)


def test_all_faults_of_all_parts_are_told_at_once():
    text = (
        "model: {name: 3, dtype: float8}\n"
        "data: {trian: a.txt}\n"
        "method: {name: dcs, lam: 2, tau: 0, lamda: 1}\n"
        "adapter: {name: lora, rank: 0}\n"
        "training: {learning_rate: fast, max_steps: 2, num_train_epochs: 3}\n"
        "tempbalance: {interval: 0, policy: {map: sigmod, tau: -1}}\n"
        "guided_dropout: {p_upper: 2}\n"
        "seed: 1\nseed: 2\n"
    )
    with pytest.raises(InputError) as caught:
        parse_recipe(text, ["training.weight_decay=much", "oops"])
    places = re.findall(r"^  ([\w.]+(?: \([^)]*\))?): ", str(caught.value), re.MULTILINE)
    assert set(places) == {
        "model.name (line 1)", "model.dtype (line 1)", "data.trian (line 2)", "data.train (line 2)", "method.lam (line 3)",
        "method.tau (line 3)", "method.lamda (line 3)", "adapter.rank (line 4)", "training.learning_rate (line 5)",
        "training.max_steps (line 5)", "training.weight_decay (--set)", "diagnostics.tempbalance.interval (line 6)",
        "diagnostics.tempbalance.policy.map (line 6)", "diagnostics.tempbalance.policy.tau (line 6)",
        "diagnostics.guided_dropout.p_upper (line 7)", "seed (line 8)", "output",
    }  # fmt: skip
    assert "--set 'oops': expected name=value" in str(caught.value)
    assert str(caught.value).startswith("the recipe has 18 faults:\n")


def test_files_that_are_no_recipes_are_refused(tmp_path):
    with pytest.raises(InputError, match="no recipe '.*none.yaml'. Check the path"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot read '.*': Is a directory"):
        read_recipe(tmp_path)
    with pytest.raises(InputError, match="cannot read '.*': embedded null byte"):
        read_recipe("a\0b")
    (tmp_path / "latin.yaml").write_bytes("model: é\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"not in UTF-8 \(byte 7\)"):
        read_recipe(tmp_path / "latin.yaml")
    (tmp_path / "a.yaml").write_text("model: demo\n")
    with pytest.raises(InputError, match=r"'.*a.yaml' has 2 faults:\n  data: missing: .*\n  output: missing"):
        read_recipe(tmp_path / "a.yaml")


def test_a_byte_order_mark_does_not_matter(tmp_path):
    (tmp_path / "a.yaml").write_text(LEAST, encoding="utf-8-sig")
    assert read_recipe(tmp_path / "a.yaml") == parse_recipe(LEAST)


def test_a_draft_has_defaults_for_what_is_faulty_so_that_the_rest_can_be_checked(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(f"{LEAST}training: {{learning_rate: fast, weight_decay: 0.1}}\n")
    draft = draft_recipe(file)
    assert draft.faults == ("training.learning_rate (line 5): expected a number above 0, got 'fast'.",)
    assert (draft.recipe.training.learning_rate, draft.recipe.training.weight_decay) == (5e-5, 0.1)
    assert draft.recipe.where("data", "train") == "data.train (line 3)"


@pytest.mark.parametrize("lines", ["method: dsc", "training: 3", "model: 3"])
def test_a_draft_does_not_guess_what_a_recipe_is_about(tmp_path, lines):
    file = tmp_path / "a.yaml"
    file.write_text("data: {train: a.txt}\noutput: runs/a\n" + ("" if "model" in lines else "model: demo\n") + lines)
    assert draft_recipe(file).recipe is None


def test_options_know_their_line():
    recipe = parse_recipe(SHORT, ["seed=3"])
    assert recipe.where("training", "learning_rate") == "training.learning_rate (line 5)"
    assert recipe.where("diagnostics", "tempbalance", "policy") == "diagnostics.tempbalance.policy (line 4)"
    assert recipe.where("seed") == "seed (--set)"
    assert recipe.where("report_to") == "report_to"


def test_a_recipe_can_be_made_of_plain_values():
    assert recipe_of(yaml.safe_load(SHORT.replace("1e-4", "0.0001"))) == parse_recipe(SHORT)
    with pytest.raises(InputError, match="the recipe has 2 faults:\n  data: missing: .*\n  output: missing"):
        recipe_of({"model": "demo"})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "none", "auto", "1e-4", "${X}", "steps"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "policy", "a"]), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(
    [
        *("model", "data", "output", "seed", "report_to", "name", "tempbalance", "alphadecay", "guided_dropout", "method"),
        *("adapter", "training", "diagnostics", "data.train", "data.max_length", "training.arguments", "training.warmup_steps"),
        *("method.lam", "method.preset", "method.task", "method.template", "method.generation", "method.tasks_per_step"),
        *("method.leak_phrases", "method.discordance", "method.head", "adapter.targets", "guided_dropout.rule"),
        *("tempbalance.policy.kinds", "tempbalance.policy.unit", "tempbalance.interval", "guided_dropout.p_cap"),
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["plain", "dcs", "sdft", "meta_peft"]), st.dictionaries(KEYS, VALUES, max_size=3))
def test_whatever_stands_in_a_recipe_it_is_read_or_refused(method, changes):
    task = ["method.task=math"] if method == "sdft" else []
    settings = [f"{name}={yaml.safe_dump(value, default_flow_style=True)}" for name, value in changes.items()]
    with contextlib.suppress(InputError):
        assert parse_recipe(LEAST, [f"method={method}", *task, *settings]).output
