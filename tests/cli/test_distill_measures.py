"""``spectra distill evaluate`` and ``spectra distill shift``: what they print, write and refuse."""

import json

import pytest

from spectra.results.answer_records import load_answers
from spectra.results.data_shift import load_data_shift
from spectra.results.model_shift import load_model_shift
from tests import writers

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
    assert run(*arguments)[:2] == (0, out)
    assert json.loads(run(*arguments, "--json")[1]) == json.loads((tmp_path / "scores.json").read_text())


def test_the_shift_of_the_data_is_printed_and_written(run, model, rewritten):
    code, out, err = run("shift", rewritten, "--model", model)
    assert code == 0, err
    assert "perplexity" in out
    found = load_data_shift(rewritten.with_name("own.shift.json"))
    assert len(found.samples) == 4
    assert json.loads(run("shift", rewritten, "--model", model, "--json")[1]) == found.to_dict()


def test_the_shift_of_a_model_stands_beside_it(run, model, tuned, rewritten, data):
    code, out, err = run("shift", rewritten, "--model", model, "--tuned", tuned, "--probe", data)
    assert code == 0, err
    moved = load_model_shift(rewritten.with_name("own.model-shift.json"))
    assert moved.relative_change > 0.1
    assert moved.divergence.num_texts == 4
    assert "of the norm of" in out


def test_a_probe_needs_two_models(refused, model, rewritten, data):
    said = refused("shift", rewritten, "--model", model, "--probe", data)
    assert said == "--probe compares two models. Name the other one: --tuned MODEL."


def test_what_was_not_rewritten_has_no_shift(refused, model, data):
    assert "train.records.jsonl" in refused("shift", data, "--model", model)


def test_scores_have_one_kind_of_file(refused, model, data, tmp_path):
    said = refused("evaluate", data, "--model", model, "--task", "exact", *SMALL, "-o", tmp_path / "scores.jsonl")
    assert ".json" in said
