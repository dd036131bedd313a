"""``spectra distill evaluate`` and ``spectra distill shift``: what they print, write and refuse."""

import json

import pytest

from spectra.results.answer_records import load_answers
from spectra.results.data_shift import load_data_shift
from spectra.results.model_shift import load_model_shift
from tests import writers
from tests.cli.distill_mistakes import MEASURES_WITHOUT_TORCH, modules_after
from tests.cli.interrupts import ctrl_c_in

COMMAND = "distill"
ROWS = [
    {"prompt": prompt, "completion": "the film was good"}
    for prompt in ("the film", "was it good", "very very bad", "it was not")
]
SMALL = ("--max-new-tokens", "6", "--max-length", "48", "--batch-size", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model"), 0)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("tuned"), 1)


def saved(folder, seed):
    writers.llama(seed).save_pretrained(folder)
    writers.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def rewritten(run, model, data, tmp_path):
    (tmp_path / "plain.toml").write_text('id = "plain"\nsystem = ""\nuser = "{prompt} {response}"\n')
    output = tmp_path / "own.jsonl"
    asked = (data, "--model", model, "--task", "text", "--template", tmp_path / "plain.toml", "--allow-truncated", *SMALL)
    assert run(*asked, "-o", output, "--quiet")[0] == 0
    return output


def test_answers_are_compared_with_those_of_a_test_set(run, model, data, tmp_path):
    arguments = ("evaluate", data, "--model", model, "--task", "exact", *SMALL, "-o", tmp_path / "scores.json")
    code, out, err = run(*arguments)
    assert code == 0, err
    assert len(out.splitlines()) == 2
    assert len(load_answers(tmp_path / "scores.json")) == 4
    records = tmp_path / "scores.records.jsonl"
    assert err.splitlines()[-1] == f"Scores in '{tmp_path / 'scores.json'}', answers in '{records}'."
    assert len(records.read_text().splitlines()) == 4
    quiet = run(*arguments, "--quiet")
    assert quiet[:2] == (0, out)
    assert quiet[2].splitlines() == err.splitlines()[:-1]
    assert json.loads(run(*arguments, "--json")[1]) == json.loads((tmp_path / "scores.json").read_text())


def test_scores_that_are_not_kept_can_be(run, model, data):
    code, _, err = run("evaluate", data, "--model", model, "--task", "text", *SMALL)
    assert (code, err.splitlines()[-1]) == (0, "Keep the scores, and every answer: -o scores.json")


def test_hints_name_flags_as_they_are_typed(run, model, data):
    _, _, err = run("evaluate", data, "--model", model, "--task", "text", *SMALL, "--max-new-tokens", "1")
    assert err.splitlines()[0] == "4 of 4 answers were cut off (100.0%); raise --max-new-tokens"


def test_ctrl_c_is_one_line_that_tells_whether_anything_is_kept(run, model, data, tmp_path):
    asked = ("evaluate", data, "--model", model, "--task", "text", *SMALL)
    with ctrl_c_in("complete"):
        assert run(*asked) == (130, "", "spectra: interrupted\n")
    with ctrl_c_in("complete"):
        code, _, err = run(*asked, "-o", tmp_path / "scores.json")
    kept = "What is written so far is kept; the same command continues there."
    assert (code, err) == (130, f"spectra: interrupted. {kept}\n")
    assert run(*asked, "-o", tmp_path / "scores.json")[0] == 0


def test_the_shift_of_the_data_is_printed_and_written(run, model, rewritten):
    code, out, err = run("shift", rewritten, "--model", model)
    assert code == 0, err
    assert "perplexity" in out
    file = rewritten.with_name("own.shift.json")
    assert err.splitlines()[-1] == f"Kept in '{file}'. Next: spectra plot {file} data-shift"
    assert run("shift", rewritten, "--model", model, "--quiet") == (0, out, "".join(err.splitlines(keepends=True)[:-1]))
    found = load_data_shift(file)
    assert len(found.samples) == 4
    assert json.loads(run("shift", rewritten, "--model", model, "--json")[1]) == found.to_dict()


def test_the_shift_of_a_model_stands_beside_it(run, model, tuned, rewritten, data):
    code, out, err = run("shift", rewritten, "--model", model, "--tuned", tuned, "--probe", data)
    assert code == 0, err
    moved = load_model_shift(rewritten.with_name("own.model-shift.json"))
    assert moved.relative_change > 0.1
    assert moved.divergence.num_texts == 4
    assert "of the norm of" in out
    both = [rewritten.with_name(f"own.{kind}.json") for kind in ("shift", "model-shift")]
    assert err.splitlines()[-1] == f"Kept in '{both[0]}' and '{both[1]}'. Next: spectra plot {both[1]} model-shift"


def test_a_probe_needs_two_models(refused, model, rewritten, data):
    said = refused("shift", rewritten, "--model", model, "--probe", data)
    assert said == "--probe compares two models. Name the other one: --tuned MODEL."


def test_what_was_not_rewritten_has_no_shift(refused, model, data):
    assert "train.records.jsonl" in refused("shift", data, "--model", model)


def test_scores_have_one_kind_of_file(refused, model, data, tmp_path):
    said = refused("evaluate", data, "--model", model, "--task", "exact", *SMALL, "-o", tmp_path / "scores.jsonl")
    assert said == "--output: 'scores.jsonl' is to hold the scores as JSON. Choose a name that ends in .json."


def test_a_tuned_model_that_is_not_there_is_found_before_the_long_part(refused, model, rewritten):
    assert "no file or folder" in refused("shift", rewritten, "--model", model, "--tuned", rewritten.with_name("tuned"))
    assert not rewritten.with_name("own.shift.json").exists()


def test_mistakes_in_a_measure_are_found_before_torch_is_imported(model, rewritten, data, tmp_path):
    imported = modules_after(MEASURES_WITHOUT_TORCH, model, data, tmp_path)
    assert not {"torch", "transformers", "pandas"} & imported
