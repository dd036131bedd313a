"""Recipes that can be read and cannot run: each fault is told with its place and a way out, before anything is loaded."""

import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectra.training.recipe.checking.checks import faults
from spectra.training.recipe.parts import Recipe
from tests.training.recipe.checked import SDFT, TASKS, draft, make_place

PLAIN = ("model=gpt2", "data={train: texts.txt, max_length: 32}")
LORA = "adapter={name: lora, targets: [query]}"

BAD = {
    # files
    "no such file": (["data.train=gone.tsv"], "data.train (--set): cannot read 'gone.tsv': No such file or directory."),
    "no such file to test on": (["data.test=gone.tsv"], "data.test (--set): cannot read 'gone.tsv'"),
    "an unknown kind of file": (["data.train=texts.docx"], "data.train (--set): 'texts.docx' is not a kind of data file"),
    "an empty file": (["data.train=empty.tsv"], "data.train (--set): 'empty.tsv' holds no examples."),
    "a header and no row": (["data.train=header.tsv"], "data.train (--set): 'header.tsv' holds no examples."),
    "a row too long": (["data.train=torn.tsv"], "data.train (--set): 'torn.tsv', line 2: 3 fields where the header has 2."),
    "no UTF-8": (["data.train=bytes.tsv"], "data.train (--set): 'bytes.tsv' is not in UTF-8 (byte 11)."),
    "no list of rows": (["data.train=rows.json"], "data.train (--set): 'rows.json' holds no list of objects."),
    "a size of no data": (
        ["data={train: train.tsv, text_column: text, label_column: label, max_length: 16, eval_size: 3}"],
        "data.eval_size (--set): there is no data.eval to take them from.",
    ),
    # columns
    "no such column": (
        ["data.text_column=txt"],
        "data.text_column (--set): 'train.tsv' has no column 'txt'. Did you mean 'text'?",
    ),
    "no such second column": (["data.pair_column=other"], "data.pair_column (--set): 'train.tsv' has no column 'other'."),
    "no column of texts": (
        ["data.text_column=null"],
        "data.text_column (--set): say which column of 'train.tsv' holds the texts: text, label.",
    ),
    "no labels": (
        ["model.task=sequence-classification", "data.label_column=null"],
        "data.label_column (--set): task 'sequence-classification' needs a label per text. Say which column holds it",
    ),
    "no answers": (
        ["model.task=seq2seq", "data.label_column=null"],
        "data.target_column (line 2): task 'seq2seq' needs a target",
    ),
    "labels of a language model": (
        ["model=gpt2", "model.task=causal-lm"],
        "data.label_column (line 2): task 'causal-lm' reads no label. Leave it out.",
    ),
    "prompts of a classifier": (
        ["data.prompt_column=text"],
        "data.prompt_column (--set): task 'sequence-classification' reads no prompt.",
    ),
    # labels
    "names for a regression": (
        ["model.task=regression"],
        "data.label_column (line 2): 'train.tsv', row 1: label 'good' is no number, and task 'regression' needs one.",
    ),
    "numbers for a classifier": (
        ["data.train=scores.tsv", "data.eval=null"],
        "data.label_column (line 2): 'scores.tsv', row 1: label 0.0 is no class. Take task 'regression' (model.task)",
    ),
    "more labels than the head has": (
        ["model=judge", "data.train=three.tsv"],
        "data.label_column (line 2): 'three.tsv', row 9: label 'fair' is none of the model's 2 classes. Known: bad, good",
    ),
    "a label that training never has": (
        ["data.eval=three.tsv"],
        "data.label_column (line 2): 'three.tsv', row 9: no row of data.train has the label 'fair', so that nothing is learned",
    ),
    "a label of the test that training never has": (["data.test=three.tsv"], "data.label_column (line 2): 'three.tsv', row 9"),
    "a single class": (
        ["data.train=same.tsv", "data.eval=null"],
        "data.label_column (line 2): all labels of 'same.tsv' are 'good', and there is nothing to tell apart.",
    ),
    "words for a classifier": (
        ["data.train=words.jsonl", "data.eval=null"],
        "data.text_column (line 2): 'words.jsonl', row 1: the text is a list of words, and task 'sequence-classification'",
    ),
    "texts for a classifier of words": (
        ["model.task=token-classification"],
        "data.text_column (line 2): 'train.tsv', row 1: a text with 1 labels, and task 'token-classification' needs a list",
    ),
    # model
    "no such model": (["model=./brt"], "model.name (--set): no folder './brt'. Check the path, or give a hub id"),
    "a file for a model": (["model=train.tsv"], "model.name (--set): 'train.tsv' is a file. Give the folder that holds it"),
    "a model without configuration": (["model=nameless"], "model.name (--set): 'nameless' has no config.json. Give a folder"),
    "a model without tokenizer": (["model=wordless"], "model.name (--set): 'wordless' has no tokenizer. Give a folder"),
    "a torn model": (["model=torn"], "model.name (--set): 'torn/model.safetensors' is truncated"),
    "an adapter without its base": (["model=lost"], "model.name (--set): adapter 'lost' needs its base model '/no/where'"),
    "no head and no task": (
        ["data.label_column=null", "data.eval=null"],
        "model.task (line 1): 'bert' is BertModel, which has no head for a task on text. Give data.label_column to classify",
    ),
    "an encoder that shall write": (
        ["model=masked", "model.task=causal-lm", "data.label_column=null"],
        "model.task (--set): 'masked' is an encoder: it sees the token",
    ),
    "a head for another task": (
        ["model=meter", "model.task=sequence-classification"],
        "model.task (--set): 'meter' has a head for 'regression', got 'sequence-classification'.",
    ),
    "several labels for a text": (["model=tags"], "model.name (--set): the model gives several labels to a text"),
    "a revision of a folder": (["model.revision=main"], "model.revision (--set): it is of a hub id, and 'bert' is a folder."),
    "quantized weights": (["model=packed"], "model.name (--set): the weights of 'packed' are stored as gptq, and cannot"),
    "more tokens than positions": (
        ["data.max_length=64"],
        "data.max_length (--set): expected at most 32 tokens, as the model takes, got 64.",
    ),
    "no token of the text's own": (
        ["data.max_length=2"],
        "data.max_length (--set): expected more than the 2 tokens of the tokenizer's own, got 2.",
    ),
    "no token of a pair's own": (
        ["data.max_length=3", "data.pair_column=text"],
        "data.max_length (--set): expected more than the 3",
    ),
    # methods
    "tasks without meta-PEFT": (
        ["data={tasks: tasks, text_column: text, label_column: label, max_length: 16}"],
        "data.tasks (--set): tasks are for the method 'meta_peft', got 'plain'. Give data.train.",
    ),
    "meta-PEFT without tasks": (
        ["method=meta_peft", "adapter=lora"],
        "data.train (line 2): 'meta_peft' trains on a folder of tasks. Give data.tasks in its place.",
    ),
    "meta-PEFT without adapter": (
        [*TASKS, "adapter=none"],
        "adapter.name (--set): the method 'peft_ml' trains an adapter for each",
    ),
    "no folder of tasks": ([*TASKS, "data.tasks=gone"], "data.tasks (--set): 'gone' is no folder."),
    "a folder without tasks": ([*TASKS, "data.tasks=nothing"], "data.tasks (--set): no task in 'nothing'"),
    "one task": (
        [*TASKS, "data.tasks=lonely"],
        "data.tasks (--set): what tasks share takes at least 2, better 3 or more; got 1.",
    ),
    "an empty task": ([*TASKS, "data.tasks=hollow"], "data.tasks (--set): 'hollow/books/train.tsv' holds no examples."),
    "tasks with other labels": ([*TASKS, "data.tasks=unlike"], "data.label_column (--set): "),
    "a task that cannot name an adapter": (
        [*TASKS, "data.tasks=named"],
        "data.tasks (--set): 'my books' cannot name an adapter.",
    ),
    "more tasks in a step than there are": (
        [*TASKS, "method.tasks_per_step=3"],
        "method.tasks_per_step (--set): 3, and there are 2 tasks. Take 2 at most.",
    ),
    "no such split of the tasks": (
        [*TASKS, "data.eval=test"],
        "data.eval (--set): no task in 'tasks': none of its folders has",
    ),
    "no such column of the tasks": (
        [*TASKS, "data.text_column=txt"],
        "data.text_column (--set): 'tasks/books' has no column 'txt'.",
    ),
    "Reptile with accumulation": (
        [*TASKS, "method.method=reptile", "training.gradient_accumulation_steps=2"],
        "training.gradient_accumulation_steps (--set): steps of Reptile on a task are steps of their own",
    ),
    "fewer steps than the adapters take": (
        [*TASKS, "method.schedule=alternating", "training.max_steps=4"],
        "method.inner_steps (--set): the base moves after 10 steps of the adapters, and the run has 4 in all.",
    ),
    "sdft of a classifier": ([*SDFT, "model=judge"], "method.name (--set): 'sdft' rewrites responses, which takes a model"),
    "sdft without responses": (
        [*SDFT, "data.train=odd.jsonl"],
        "data.train (--set): 'odd.jsonl': the columns 'said', 'meant' fit no form",
    ),
    "sdft with half of the columns": (
        [*SDFT, "data.prompt_column=prompt"],
        "data.response_column (--set): name this column, too; only data.prompt_column",
    ),
    "sdft without such a column": (
        [*SDFT, "data.prompt_column=promt", "data.response_column=completion"],
        "data.prompt_column (--set): 'chat.jsonl' has no column 'promt'. Did you mean 'prompt'?",
    ),
    "sdft with an empty response": ([*SDFT, "data.train=silent.jsonl"], "data.train (--set): "),
    "sdft with columns of texts": (
        [*SDFT, "data.text_column=prompt"],
        "data.text_column (--set): training on prompts and responses reads no text. Leave it out.",
    ),
    "classes compared as numbers": (
        ["method={name: dcs, discordance: r2}"],
        "method.discordance (--set): 'r2' ('label' is what label-boosting sets) is not for the task 'sequence-classification'",
    ),
    # adapters
    "a target that is nowhere": (
        ["adapter={name: lora, targets: [queri]}"],
        "adapter.targets (--set): no module of 'bert' is called 'queri'. Did you mean 'query'? Known: ",
    ),
    "one target of two that is nowhere": (
        ["adapter={name: lora, targets: [query, q_proj]}"],
        "adapter.targets (--set): no module of 'bert' is called 'q_proj'.",
    ),
    "a rank above all": (
        [LORA, "adapter.rank=20"],
        "adapter.rank (--set): 20 is above what 1 module can have, such as 'encoder.layer.0.attention.self.query' of",
    ),
    "an adapter upon an adapter": (["model=adapter", LORA], "adapter.name (--set): 'adapter' is an adapter itself."),
    "ranks by a word that is none": (
        ["adapter=lora", "adapter.ranks=fishr"],
        "adapter.ranks (--set): no file 'fishr'. Did you mean 'fisher'?",
    ),
    "ranks by a file that is none": (
        ["adapter=lora", "adapter.ranks=plans/gone.yaml"],
        "adapter.ranks (--set): no file 'plans/gone.yaml'.",
    ),
    "ranks by no plan": (["adapter=lora", "adapter.ranks=recipe.yaml"], "adapter.ranks (--set): 'recipe.yaml' is no plan."),
    "ranks by a plan of rates": (
        ["adapter=lora", "adapter.ranks=rates.yaml"],
        "adapter.ranks (--set): 'rates.yaml' is a plan of another policy.",
    ),
    "ranks by a plan of dropout": (
        ["adapter=lora", "adapter.ranks=drops.yaml"],
        "adapter.ranks (--set): 'drops.yaml' is a plan of another policy.",
    ),
    "ranks that are all 0": (
        ["adapter=lora", "adapter.ranks=no-ranks.yaml"],
        "adapter.ranks (--set): all are 0, so that there is nothing",
    ),
    "ranks of another model": (
        ["adapter=lora", "adapter.ranks=deep-ranks.yaml"],
        "adapter.ranks (--set): 'deep-ranks.yaml' is of another model: 'bert' lacks 1 of its 2 layers, such as",
    ),
    "ranks above all": (
        ["adapter=lora", "adapter.ranks=high-ranks.yaml"],
        "adapter.ranks (--set): 20 is above what 1 module can have",
    ),
    # diagnostics
    "no plan of dropout": (["guided_dropout=gone.yaml"], "diagnostics.guided_dropout.plan (--set): no file 'gone.yaml'."),
    "a plan of something else": (
        ["guided_dropout=ranks.yaml"],
        "diagnostics.guided_dropout.plan (--set): 'ranks.yaml' is a plan of 'adapter-rank', not of drop probabilities.",
    ),
    "a folder without a plan": (
        ["guided_dropout=notes"],
        "diagnostics.guided_dropout.plan (--set): no file 'notes/guided_dropout.json'.",
    ),
    "dropout of another model": (
        ["guided_dropout=deep-drops.yaml"],
        "diagnostics.guided_dropout.plan (--set): 'deep-drops.yaml' is of another model: 'bert' lacks 1 of its 1 site, such as",
    ),
    "rates that are none": (
        ["guided_dropout=wrong-rates.json"],
        "diagnostics.guided_dropout.plan (--set): 'wrong-rates.json', rates: ",
    ),
    "a control of bare rates": (
        ["guided_dropout={plan: rates.json, control: reversed}"],
        "diagnostics.guided_dropout.control (--set): 'rates.json' holds rates alone, and a control is made of a plan.",
    ),
    "a balance of no decay": (
        ["alphadecay=true"],
        "diagnostics.alphadecay (--set): it multiplies training.weight_decay, which is 0. Give one",
    ),
    "a balance without groups": (
        ["tempbalance=true", "training.optim=lomo"],
        "diagnostics.tempbalance (--set): 'lomo' has no parameter groups to multiply in.",
    ),
    # training
    "an evaluation of no data": (
        ["data.eval=null", "training.eval_strategy=epoch"],
        "training.eval_strategy (--set): there is no data.eval to evaluate on. Give it, or leave this out.",
    ),
    "a best state of no data": (
        ["data.eval=null", "training.metric_for_best_model=loss"],
        "training.metric_for_best_model (--set): there is no data.eval",
    ),
    "a metric of another task": (
        ["training.metric_for_best_model=eval_acuracy"],
        "training.metric_for_best_model (--set): task 'sequence-classification' has no metric 'eval_acuracy'. Did you",
    ),
    "a metric of no language model": (
        [*PLAIN, "data.eval=texts.txt", "training.metric_for_best_model=f1"],
        "training.metric_for_best_model (--set): task 'causal-lm' has no metric 'f1'.",
    ),
    "a best state that is not evaluated": (
        ["training={metric_for_best_model: f1, eval_strategy: steps, save_strategy: steps, eval_steps: 4, save_steps: 6}"],
        "training.save_steps (--set): the best state is one that is evaluated: expected a multiple of eval_steps, 4, got 6.",
    ),
    "a longer rise than the run": (
        ["training={max_steps: 4, warmup_steps: 5}"],
        "training.warmup_steps (--set): the run has 4 steps, and the learning rate would rise for 5.",
    ),
    "a longer rise than the epochs": (
        ["training={num_train_epochs: 3, per_device_train_batch_size: 4, warmup_steps: 7}"],
        "training.warmup_steps (--set): the run has 6 steps",
    ),
    "a schedule without its lowest rate": (
        ["training.lr_scheduler_type=cosine_with_min_lr"],
        "training.lr_scheduler_type (--set): 'cosine_with_min_lr' needs min_lr or min_lr_rate, one of them",
    ),
    "a schedule without its end": (
        ["training.lr_scheduler_type=warmup_stable_decay"],
        "training.lr_scheduler_type (--set): 'warmup_stable_decay' needs its last steps",
    ),
    "a schedule that follows nothing": (
        ["data.eval=null", "training.lr_scheduler_type=reduce_lr_on_plateau"],
        "training.lr_scheduler_type (--set): 'reduce_lr_on_plateau' follows evaluations, and there are none.",
    ),
    "an unknown optimizer": (
        ["training.optim=adamw_troch"],
        "training.optim (--set): transformers has no optimizer 'adamw_troch'. Did you mean 'adamw_torch'?",
    ),
    "an unknown argument": (
        ["training.arguments={adam_beta3: 0.9}"],
        "training.arguments.adam_beta3 (--set): TrainingArguments has no option 'adam_beta3'. Did you mean 'adam_beta",
    ),
    "an argument that transformers refuses": (
        ["training.arguments={hub_strategy: never}"],
        "training: transformers refuses it: ",
    ),
    "checkpoints that nothing goes on from": (
        ["training.arguments={save_only_model: true}"],
        "training.arguments.save_only_model (--set): a run could not go on from its checkpoints. Leave it out.",
    ),
    "callbacks that forget what they were doing": (
        ["training.arguments={restore_callback_states_from_checkpoint: true}"],
        "training.arguments.restore_callback_states_from_checkpoint (--set): a run could not go on from its checkpoints.",
    ),
    # machine and output
    "a tracker that is not there": (["report_to=wandb"], "report_to (--set): 'wandb' needs wandb, which is not installed"),
    "an unknown tracker": (
        ["report_to=tensorbord"],
        "report_to (--set): unknown tracker 'tensorbord'. Did you mean 'tensorboard'?",
    ),
    "a device by number": (["model.device=cuda:1"], "model.device (--set): a trainer takes the first GPU that it sees, or all"),
    "an unknown device": (["model.device=gpu"], "model.device (--set): expected auto, cpu or cuda, got 'gpu'."),
    "an output that is a file": (["output=train.tsv"], "output (--set): 'train.tsv' is a file. Choose a folder for the run."),
    "an output below a file": (["output=train.tsv/run"], "output (--set): 'train.tsv/run' cannot be made: "),
    "an output that is no run": (["output=notes"], "output (--set): 'notes' holds 'todo.txt' and no 'recipe.yaml'"),
    "an output inside the model": (["output=bert/run"], "output (--set): 'bert/run' lies in the folder of the model."),
    "an output of an endless name": ([f"output={'a' * 300}"], "output (--set): cannot look at '"),
}

GOOD = {
    "a new head": [],
    "its own head": ["model=judge"],
    "a head for masked words, and labels": ["model=masked"],
    "a language model": [*PLAIN],
    "masked words": ["model=masked", "data={train: texts.txt, max_length: 16}"],
    "words with labels": ["model.task=token-classification", "data.train=words.jsonl", "data.eval=null"],
    "a regression": ["model=meter", "data.train=scores.tsv", "data.eval=null"],
    "more rows than there are": ["data.train_size=1000"],
    "bfloat16 on a CPU": ["training.bf16=true", "model.device=cpu"],
    "responses": [*SDFT],
    "prompts without sdft": [*SDFT, "method=plain", "data.prompt_column=prompt", "data.response_column=completion"],
    "tasks": [*TASKS, "data.eval=dev", "training.metric_for_best_model=loss"],
    "an adapter": [LORA],
    "a target by its path in the loaded model": ["adapter={name: lora, targets: [bert.encoder.layer.0.attention.self.query]}"],
    "an adapter of all linear layers": ["adapter={name: lora, targets: all-linear}"],
    "a quantized base of an adapter": ["model=packed", "adapter=lora"],
    "an adapter that is trained on": ["model=adapter"],
    "a plan of ranks": ["adapter=lora", "adapter.ranks=ranks.yaml"],
    "ranks to be made": ["adapter=lora", "adapter.ranks=fisher"],
    "a plan of dropout": ["guided_dropout=drops.yaml"],
    "a control of a plan": ["guided_dropout={plan: drops.yaml, control: uniform}"],
    "bare rates": ["guided_dropout=rates.json"],
    "balanced decays": ["alphadecay=true", "training.weight_decay=0.1"],
    "arguments": ["training.arguments={adam_beta2: 0.98}"],
    "a schedule with its lowest rate": [
        "training={lr_scheduler_type: cosine_with_min_lr, arguments: {lr_scheduler_kwargs: {min_lr_rate: 0.1}}}"
    ],
    "a metric with its prefix": ["training.metric_for_best_model=eval_matthews"],
    "a metric at steps": ["training={metric_for_best_model: loss, eval_strategy: steps, save_strategy: steps, eval_steps: 5}"],
    "hub ids": ["model=org/name", "data.train=glue:rte", "data.eval=glue:rte"],
    "a hub id with files": ["model=org/name"],
    "a folder of a run": ["output=begun"],
    "an empty folder": ["output=nothing"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = make_place(tmp_path_factory.mktemp("place"))
    (folder / "begun").mkdir()
    for name in ("recipe.yaml", "environment.json"):
        (folder / "begun" / name).write_text("{}")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_a_fault_is_told_once_with_its_place(here, changes, expected):
    found = faults(draft(here, *changes))
    assert len(found) == 1, found
    assert found[0].startswith(expected)
    assert re.search(r"[.)]$|: .+", found[0].partition(": ")[2])
    assert not re.search("--(?!set)", found[0].replace("--policy", "")), "a recipe has no such options"


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_a_recipe_that_can_run_has_no_faults(here, changes):
    assert faults(draft(here, *changes)) == []


def test_all_faults_are_told_at_once_and_those_of_reading_first(here):
    text = """\
model: {name: bert, device: gpu, revision: main}
data: {train: train.tsv, eval: gone.tsv, text_column: txt, label_column: label, max_length: 64}
adapter: {name: lora, ranks: rates.yaml}
alphadecay: true
guided_dropout: deep-drops.yaml
training: {learning_rate: fast, warmup_steps: 9, max_steps: 3}
report_to: wandb
output: notes
"""
    found = faults(draft(here, text=text))
    places = [fault.partition(" (line ")[0] for fault in found]
    assert places[0] == "training.learning_rate"
    assert set(places[1:]) == {
        "model.device",
        "model.revision",
        "data.eval",
        "data.text_column",
        "data.max_length",
        "adapter.ranks",
        "diagnostics.alphadecay",
        "diagnostics.guided_dropout.plan",
        "training.warmup_steps",
        "report_to",
        "output",
    }
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    "changes",
    [
        ["data.label_column=3"],
        ["data.eval=3", "training.eval_strategy=epoch", "training.metric_for_best_model=f1"],
        ["alphadecay=true", "training.weight_decay=much"],
        ["model.task=classes", "data.label_column=null"],
    ],
)
def test_nothing_is_said_of_the_default_of_an_option_that_cannot_be_read(here, changes):
    broken = draft(here, *changes)
    assert len(broken.faults) == 1
    assert faults(broken) == list(broken.faults)


def test_what_cannot_be_read_at_all_has_the_faults_of_reading_only(here):
    broken = draft(here, text="data: {train: gone.tsv}\n")
    assert broken.recipe is None
    assert faults(broken) == list(broken.faults)


def test_a_recipe_is_checked_as_its_draft(here):
    broken = draft(here, "data.train=gone.tsv")
    assert isinstance(broken.recipe, Recipe)
    assert faults(broken.recipe) == faults(broken)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from([name for name in BAD if "transformers" not in name]), min_size=2, max_size=3))
def test_faults_that_meet_never_break_the_check(here, names):
    changes = [change for name in names for change in BAD[name][0] if "arguments" not in change and "optim" not in change]
    for fault in faults(draft(here, *changes)):
        assert re.match(r"[\w.]+( \([^)]*\))?: .+", fault) or "--set" in fault, fault


def test_the_usual_recipe_is_checked_without_heavy_libraries(here):
    draft(here, LORA, "method=dcs", "guided_dropout=drops.yaml")
    program = (
        "import sys\nfrom spectra.training.recipe.reading import draft_recipe\n"
        "from spectra.training.recipe.checking.checks import faults\n"
        f"changes = ['{LORA}', 'method=dcs', 'guided_dropout=drops.yaml']\n"
        "assert faults(draft_recipe('recipe.yaml', changes)) == []\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=here)
    assert not {"torch", "transformers", "peft", "pandas", "scipy", "datasets"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("package", "changes", "expected"),
    [
        ("peft", [LORA], "adapter.name (--set): adapters need peft"),
        ("datasets", ["data.test=org/name"], "data.test (--set): reading data of the hub needs datasets"),
        ("accelerate", [], "training: running a recipe needs accelerate"),
        ("transformers", [], "training: running a recipe needs transformers"),
    ],
)
def test_a_package_that_is_missing_is_named(here, monkeypatch, package, changes, expected):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    (fault,) = faults(draft(here, *changes))
    assert fault.startswith(expected)
    assert "pip install" in fault


def test_a_gpu_is_asked_for_where_there_is_none(here):
    import torch

    found = faults(draft(here, "model.device=cuda"))
    wanted = (
        [] if torch.cuda.is_available() else ["model.device (--set): there is no GPU that torch can use. Give 'cpu' or 'auto'."]
    )
    assert found == wanted


def test_a_large_file_without_labels_is_read_no_further_than_its_header(here, monkeypatch):
    from spectra.training.recipe.checking import check_data

    language = ["model=masked", "data={train: torn.tsv, text_column: text, max_length: 16}"]
    assert len(faults(draft(here, *language))) == 1
    monkeypatch.setattr(check_data, "_READ_WHOLE", 10)
    assert faults(draft(here, *language)) == []
    assert len(faults(draft(here, *language, "data.text_column=txt"))) == 1
    assert len(faults(draft(here, "data.train=torn.tsv", "data.eval=null"))) == 1  # of which labels are needed


def test_bfloat16_without_a_gpu_is_asked_for_on_a_cpu(here):
    import torch

    told = ["training.bf16 (--set): there is no GPU that torch can use. On a CPU give model.device: cpu, too."]
    assert faults(draft(here, "training.bf16=true")) == ([] if torch.accelerator.is_available() else told)


def test_an_output_that_cannot_be_written_is_told(here, monkeypatch):
    import os

    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may write everywhere
    (fault,) = faults(draft(here))
    assert fault.startswith("output (line 3): nothing can be written to ")
