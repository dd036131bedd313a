import builtins
import json
import math
import statistics

import pytest

from spectra.errors import InputError, MissingPackageError, ResultsError
from spectra.results.evaluation import Evaluation
from spectra.results.scores import Proportion
from tests.answered import answer_of

MODEL = {"model": "writer", "weights": "0123"}


def evaluated(answers, **options):
    return Evaluation.of(answers, **{"task": "math", "model": MODEL, "generation": {"sampled": False}} | options)


def test_answers_whose_reference_cannot_be_compared_are_left_out_of_the_accuracy():
    found = evaluated([answer_of(0), answer_of(1, is_correct=False), answer_of(2, is_correct=None)])
    assert found.accuracy == Proportion(1, 2)
    assert found.notes == ("1 answer left out of the accuracy: nothing was found in the reference to compare with",)


def test_without_a_reference_that_can_be_compared_there_is_no_accuracy():
    found = evaluated([answer_of(is_correct=None)], task="text")
    assert found.accuracy is None
    assert found.notes == ()
    assert "text, 1 answer: not counted as right or wrong\n" in str(found)


def test_likelihoods_count_by_tokens():
    answers = [answer_of(0, nll_reference=2.0, tokens_reference=1), answer_of(1, nll_reference=6.0, tokens_reference=7)]
    found = evaluated(answers)
    assert (found.mean_nll, found.tokens_reference, found.perplexity) == (1.0, 8, math.e)


def test_likelihoods_that_were_not_measured_are_not_known():
    found = evaluated([answer_of(nll_reference=None, tokens_reference=0)])
    assert math.isnan(found.perplexity)
    assert found.to_dict()["perplexity"] is None
    assert "perplexity" not in str(found)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    found = evaluated([answer_of(nll_reference=1000.0, tokens_reference=1)])
    assert found.perplexity == math.inf
    assert found.to_dict()["perplexity"] == "inf"


def test_scores_are_averages_over_answers():
    answers = [
        answer_of(0, rouge_l=0.25, bleu=0.0, n_tokens=2, answer="ab", finish_reason="length"),
        answer_of(1, rouge_l=0.75, bleu=1.0, n_tokens=6, answer="abcdef", has_refusal_phrase=True),
    ]
    found = evaluated(answers)
    assert (found.rouge_l.value, found.bleu.value, found.mean_tokens, found.mean_characters) == (0.5, 0.5, 4.0, 4.0)
    assert found.rouge_l.std_error == statistics.stdev([0.25, 0.75]) / math.sqrt(2)
    assert (found.truncated, found.refusal_phrases) == (Proportion(1, 2), Proportion(1, 2))


@pytest.mark.parametrize(("cut_off", "warns"), [(6, True), (5, False)])
def test_answers_that_are_cut_off_are_noted_above_one_in_twenty(cut_off, warns):
    answers = [answer_of(n, finish_reason="length" if n < cut_off else "stop") for n in range(100)]
    assert evaluated(answers).notes == (("6 of 100 answers were cut off (6.0%); raise max_new_tokens",) if warns else ())


def test_prompts_without_room_are_noted_after_what_is_known_already():
    answers = [answer_of(0), answer_of(1, finish_reason="too_long", answer="", is_correct=False)]
    assert evaluated(answers, notes=["known"]).notes == (
        "known",
        "1 prompt left no room, which counts as an empty answer; raise max_length",
    )


def test_it_says_all_in_two_lines():
    answers = [answer_of(n, is_correct=n < 30) for n in range(100)]
    assert str(evaluated(answers)) == (
        "math, 100 answers: 30.0% (30 of 100; standard error 4.6 points, 95 % interval 21.9% to 39.6%) agree with "
        "the reference\n"
        "ROUGE-L 0.500 ± 0.000, BLEU 0.250 ± 0.000, perplexity of the references 7.389; 4 tokens per answer, 0.0% cut off, "
        "0.0% with words that refusals use"
    )


def test_scores_are_saved_as_json(tmp_path):
    found = evaluated([answer_of()], seed=3)
    found.save(tmp_path / "deep" / "scores.json")
    content = json.loads((tmp_path / "deep" / "scores.json").read_text())
    assert content == found.to_dict()
    assert (content["schema_version"], content["seed"], content["num_answers"]) == (1, 3, 1)
    assert content["accuracy"]["share"] == 1.0
    assert "safety" not in json.dumps(content)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write to"):
        evaluated([answer_of()]).save(tmp_path / "file" / "scores.json")


def test_the_table_has_a_row_for_each_answer():
    frame = evaluated([answer_of(0), answer_of(1, finish_reason="length")]).to_pandas()
    assert frame["row"].tolist() == [0, 1]
    assert frame["is_truncated"].tolist() == [False, True]
    assert {"prompt", "reference", "answer", "is_correct", "nll_reference"} <= set(frame)


def test_tables_without_pandas_name_the_extra(monkeypatch):
    real = builtins.__import__

    def without_pandas(name, *args, **kwargs):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(MissingPackageError, match=r"spectra-nn\[frames\]"):
        evaluated([answer_of()]).to_pandas()


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(InputError, match="there are no answers to evaluate"):
        evaluated([])
