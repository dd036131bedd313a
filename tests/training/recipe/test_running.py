import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.multiprocessing import ProcessExitedException

from spectra.errors import InputError
from spectra.results.run_record import load_run
from spectra.training.recipe.reading import parse_recipe, read_recipe
from spectra.training.recipe.run import session
from spectra.training.recipe.run.stopping import Stopping
from spectra.training.recipe.running import run_recipe
from tests.forked import launched
from tests.pretrained import VOCABULARY, WORDS, decoder_tokenizer, save_gpt2
from tests.training.recipe.small_runs import at_call, drawn, in_process, outcome, prepare, run

PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.training.recipe import small_runs
small_runs.main(*sys.argv[1:])
"""

# Where a run of ten steps, with checkpoints after 3, 6, 9 and 10, is killed.
KILLED = ["begun", "assembled", "step 5", "optimizer 3", "state 2", "rotation", "trained", "written", "results", "figures"]
INTERRUPTED = ["SIGINT 5", "SIGTERM 6", "SIGINT 10", "twice 5"]
FULL = ["disk 100", "disk 9000", "disk 30000"]  # at a line of the log, the weights, the optimizer's state

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The recipe run once without and once with each end, in forks of a process that has imported everything.

    What they say goes into a pipe: a file could be full, as others are.
    """
    folder = tmp_path_factory.mktemp("ended")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *KILLED, *INTERRUPTED, *FULL],
        capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return folder, json.loads(done.stdout.splitlines()[-1]), done.stderr


def interrupted_code(place):
    return 143 if place.startswith("SIGTERM") else 130


@needs_fork
@pytest.mark.slow
class TestEnding:
    @pytest.mark.parametrize("place", KILLED + INTERRUPTED + FULL)
    def test_a_run_that_was_ended_anywhere_goes_on_as_if_it_was_not(self, ended, place):
        folder, codes, _ = ended
        expected = -signal.SIGKILL if place in KILLED else interrupted_code(place) if place in INTERRUPTED else 2
        assert codes[place] == [expected, 0]
        assert outcome(folder / place.replace(" ", "-")) == outcome(folder / "nowhere")

    def test_a_full_disk_is_a_line_each_time(self, ended):
        _, _, errors = ended
        lines = [line for line in errors.splitlines() if "Error" in line]
        assert len(lines) == len(FULL)
        assert all(line.startswith("ResultsError: cannot write to '") for line in lines)
        assert all(line.endswith("Free space or choose another folder.") for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
def test_two_processes_that_are_killed_go_on_together(tmp_path):
    recipes = [prepare(tmp_path / name) for name in ("whole", "killed")]
    launched(in_process, recipes[0])
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        launched(in_process, recipes[1], "step 5")
    launched(in_process, recipes[1])
    whole, killed = (outcome(recipe.parent / "run") for recipe in recipes)
    assert whole["weights"] == killed["weights"]
    assert [line["step"] for line in whole["log"]] == [line["step"] for line in killed["log"]]
    # The mean of two losses is kept of what was not logged yet, and their rounding is that of float32.
    losses = [[line["loss"] for line in found["log"] if "loss" in line] for found in (whole, killed)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def finished(small):
    run(small)
    return small.parent / "run"


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_run_leaves_a_record_with_all_that_was_asked_for(small, finished):
    record = load_run(finished)
    assert (record.name, record.method, record.adapter, record.task) == ("run", "plain", "none", "sequence-classification")
    assert (record.num_train, record.num_eval, record.num_test) == (22, 9, 7)
    assert record.data == {use: str(small.parent / f"{use.replace('eval', 'dev')}.tsv") for use in ("train", "eval", "test")}
    assert record.num_steps == 10
    assert record.num_epochs == pytest.approx(10 / 6)
    assert {"eval_loss", "eval_accuracy"} <= record.eval_metrics.keys()
    assert {"test_loss", "test_accuracy"} <= record.test_metrics.keys()
    assert record.best_metric is record.best_step is None
    assert {"assembling", "training", "evaluation", "saving", "spectra"} <= record.seconds.keys()
    assert record.spectra == ("before", "after")
    assert 0.0 < record.diagnostics_share < 1.0
    assert any("head" in note for note in record.notes)


def test_the_model_of_a_run_can_be_trained_on(small, finished, tmp_path):
    record = run(small, [f"model.name={finished}/model", f"output={tmp_path}/more", "training.max_steps=1"])
    assert record.num_steps == 1


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # by peft
def test_an_adapter_of_three_classes_is_loaded_as_the_summary_says(small, tmp_path):
    from spectra.report.run_figures import draw_run

    lines = [f"{word} {word}\t{label}" for word in WORDS[:6] for label in ("bad", "fair", "good")]
    (tmp_path / "three.tsv").write_text("\n".join(("text\tlabel", *lines)) + "\n")
    data = [f"data.train={tmp_path}/three.tsv", "data.eval=null", "data.test=null", "training.eval_strategy=no"]
    changes = [*data, "adapter={name: lora, rank: 2}", "training.max_steps=1", f"output={tmp_path}/run"]
    run_recipe(small, changes, draw=draw_run)
    program = (tmp_path / "run" / "summary.md").read_text().split("```python\n")[1].split("```")[0]
    found = {}
    exec(program, found)
    assert found["model"].config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert found["model"].base_model.model.classifier.modules_to_save["default"].out_features == 3


@pytest.mark.filterwarnings("ignore:DCS:spectra.errors.SpectraWarning")
def test_dcs_that_has_changed_no_weight_says_so_in_its_record(small, tmp_path):
    record = run(small, ["method=dcs", "training.max_steps=1", "diagnostics={spectra: none}", f"output={tmp_path}/run"])
    assert any(note.startswith("DCS: training ended before the first round") for note in record.notes)


def test_a_finished_run_returns_its_record_and_touches_nothing_even_where_its_data_are_gone(small, finished):
    before = contents(finished)
    texts = (small.parent / "train.tsv").rename(small.parent / "moved.tsv")
    try:
        assert run(small) == load_run(finished)
    finally:
        texts.rename(small.parent / "train.tsv")
    assert contents(finished) == before


@pytest.mark.parametrize("lost", ["figures", "summary.md"])
def test_what_is_drawn_is_drawn_again_where_it_is_missing(small, finished, lost):
    path = finished / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    run_recipe(small)
    assert not path.exists()
    run(small)
    assert path.exists()


def test_force_starts_over(small, tmp_path):
    output = [f"output={tmp_path}/run", "training.max_steps=1"]
    run(small, output)
    record = run(small, [*output, "seed=7"], force=True)
    assert record.seed == load_run(tmp_path / "run").seed == 7


def test_a_recipe_can_be_given_itself_and_changed(small, tmp_path):
    recipe = read_recipe(small)
    record = run(recipe, [f"output={tmp_path}/run", "training.max_steps=1", "data.test=null"])
    assert record.num_steps == 1
    assert record.num_test is None
    assert record.test_metrics == {}


def test_all_faults_are_said_at_once_and_nothing_is_made(small, tmp_path):
    with pytest.raises(InputError) as found:
        run(
            small, [f"output={tmp_path}/run", "data.test=nowhere.tsv", "training.learning_rate=fast", "data.label_column=lable"]
        )
    message = str(found.value)
    assert message.startswith("the recipe has 3 faults:\n")
    assert all(name in message for name in ("data.test", "training.learning_rate", "data.label_column"))
    assert not (tmp_path / "run").exists()


def test_another_recipe_in_the_folder_is_refused(small, finished):
    with pytest.raises(InputError, match=r"holds a run of another recipe \(seed \(--set\): 42 there, 1 now\)"):
        run(small, ["seed=1"])


class Told:
    """A progress that remembers."""

    def __init__(self):
        self.phases, self.steps, self.numbers = [], [], []

    def phase(self, words):
        self.phases.append(words)

    def step(self, done, total):
        self.steps.append((done, total))

    def logged(self, numbers):
        self.numbers.append(numbers)


def test_progress_is_told(small, tmp_path):
    told = Told()
    run_recipe(small, [f"output={tmp_path}/run", "training.max_steps=4"], progress=told, draw=drawn)
    assert told.steps == [(step, 4) for step in range(5)]
    assert [words for words in told.phases if words in ("training", "saving the model", "drawing figures")] == [
        "training",
        "saving the model",
        "drawing figures",
    ]
    assert any("loss" in numbers for numbers in told.numbers)
    assert any("test_loss" in numbers for numbers in told.numbers)


def sentence(draw):
    return " ".join(draw.choices(WORDS[:9], k=5))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Models and data of every kind."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder, draw = tmp_path_factory.mktemp("stock"), random.Random(0)
    prepare(folder)
    save_gpt2(folder / "gpt2")
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": len(VOCABULARY), "n_positions": 256}
    end = {"bos_token_id": VOCABULARY.index("[SEP]"), "eos_token_id": VOCABULARY.index("[SEP]")}
    GPT2LMHeadModel(GPT2Config(**sizes, **end)).save_pretrained(folder / "writer")
    decoder_tokenizer().save_pretrained(folder / "writer")
    (folder / "texts.txt").write_text("".join(sentence(draw) + "\n" for _ in range(22)))
    rows = [{"prompt": sentence(draw), "response": sentence(draw)} for _ in range(10)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for task in ("books", "dvd"):
        (folder / "tasks" / task).mkdir(parents=True)
        shutil.copy(folder / "train.tsv", folder / "tasks" / task / "train.tsv")
        shutil.copy(folder / "test.tsv", folder / "tasks" / task / "test.tsv")
    return folder


CLASSES = "{train: %s/train.tsv, eval: %s/dev.tsv, test: %s/test.tsv, text_column: text, label_column: label, max_length: 16}"
TEXTS = "{train: %s/texts.txt, eval: %s/texts.txt, max_length: 16}"
RESPONSES = "{train: %s/rows.jsonl, prompt_column: prompt, response_column: response, max_length: 64}"
TASKS = "{tasks: %s/tasks, text_column: text, label_column: label, max_length: 16}"
# The interval is fixed, as by default it follows the clock; tiny layers have no tail to fit.
NORMS = "{policy: {metric: stable_rank, unit: layer}, interval: 2}"
BALANCED = f"{{tempbalance: {NORMS}, alphadecay: {NORMS}, spectra: none}}"
RUNS = {
    "the best state": ("bert", CLASSES, ["training.metric_for_best_model=loss", "training.save_strategy=epoch"]),
    "balanced": ("bert", CLASSES, [f"diagnostics={BALANCED}", "training.weight_decay=0.1"]),
    "guided dropout": ("bert", CLASSES, ["diagnostics.guided_dropout={p_upper: 0.4}", "diagnostics.fisher=true"]),
    "adapters": ("bert", CLASSES, ["adapter={name: lora, rank: 2, dropout: 0.2}", "diagnostics={spectra: ends}"]),
    "adapter ranks": ("bert", CLASSES, ["adapter={name: lora, rank: 2, ranks: fisher}", "diagnostics={spectra: none}"]),
    "dcs": ("bert", CLASSES, ["method=dcs"]),
    "masked words": ("bert", TEXTS, []),
    "next words": ("gpt2", TEXTS, ["training.gradient_accumulation_steps=2"]),
    "sdft": ("writer", RESPONSES, ["method={name: sdft, task: text, generation: {max_new_tokens: 4}}"]),
    "meta_peft": ("bert", TASKS, ["method=meta_peft", "adapter={name: lora, rank: 2}"]),
}


def recipe_for(stock, name, output):
    model, data, changes = RUNS[name]
    steps = "max_steps: 8, per_device_train_batch_size: 4, learning_rate: 5.0e-3, lr_scheduler_type: constant"
    has_eval = "eval" in data
    text = f"""
model: {{name: {stock}/{model}, device: cpu}}
data: {data.replace("%s", str(stock))}
training: {{{steps}, logging_steps: 3, save_strategy: steps, eval_strategy: {"epoch" if has_eval else "null"}}}
output: {output}
"""
    return parse_recipe(text, changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_method_goes_on_exactly_after_ctrl_c(stock, tmp_path, monkeypatch, name):
    whole, stopped = (recipe_for(stock, name, tmp_path / place) for place in ("whole", "stopped"))
    run(whole)
    real = Stopping.on_step_end
    for step in (2, 3):  # again after the first has gone on
        interrupt = at_call(step, real, lambda go_on, *_: [signal.raise_signal(signal.SIGINT), go_on()][-1])
        monkeypatch.setattr(Stopping, "on_step_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(stopped)
        monkeypatch.undo()
        assert (tmp_path / "stopped" / "checkpoints" / f"checkpoint-{2 if step == 2 else 5}").is_dir()
    run(stopped)
    found, expected = outcome(tmp_path / "stopped"), outcome(tmp_path / "whole")
    assert found["weights"].keys() == expected["weights"].keys() != set()
    for part in ("weights", "log", "results", "files"):
        assert found[part] == expected[part]


def test_a_teacher_that_was_begun_is_gone_on_with(stock, tmp_path, monkeypatch):
    from spectra.training.dcs.trainer import DCSTrainer

    recipe = recipe_for(stock, "dcs", tmp_path / "run")
    asked = []
    monkeypatch.setattr(session.Session, "evaluate", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(recipe)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "checkpoint-8")
    monkeypatch.setattr(DCSTrainer, "train", lambda self, resume_from_checkpoint: asked.append(resume_from_checkpoint))
    with pytest.raises(KeyboardInterrupt):
        run(recipe)
    assert asked == [True]


def test_a_signal_after_the_last_step_stops_before_the_evaluation(small, tmp_path, monkeypatch):
    monkeypatch.setattr(Stopping, "on_train_end", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    changes = [f"output={tmp_path}/run", "training.max_steps=3"]
    with pytest.raises(KeyboardInterrupt):
        run(small, changes)
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.undo()
    assert run(small, changes).num_steps == 3


def test_a_checkpoint_cut_short_by_a_second_signal_is_left_out(small, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    changes = [f"output={tmp_path}/run"]
    with pytest.raises(KeyboardInterrupt):
        run(small, changes)
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-3").is_dir()
    monkeypatch.undo()
    run(small, changes)
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [4, 8]
