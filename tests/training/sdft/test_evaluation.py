import json
import math

import pytest

from spectra.errors import BackendError, InputError, ResultsError, SpectraWarning
from spectra.results.answer_records import load_answers
from spectra.results.scores import Proportion
from spectra.training.sdft import CallableBackend, Completion
from spectra.training.sdft.backends.transformers import TransformersBackend
from spectra.training.sdft.backends.tuned import TunedBackend
from spectra.training.sdft.evaluation import evaluate_responses
from spectra.training.sdft.generation import GenerationSpec
from spectra.training.sdft.similarity import bleu, rouge_l
from tests import writers
from tests.pretrained import save_gpt2
from tests.training.sdft.backends.test_tuned import tuned

ROWS = [{"question": f"How much is {n} and {n}?", "answer": f"It is {2 * n}."} for n in range(10)]
WORDS = [
    {"prompt": "the film", "completion": "was very good"},
    {"prompt": "was it good and", "completion": "not very"},
    {"prompt": "a bad", "completion": "film"},
]
SHORT = {"max_new_tokens": 5, "max_length": None, "sampled": False}


def number_in(text):
    return int(text.split()[3])


def answer(text):
    """Right but for every fourth; the seventh answers nothing."""
    n = number_in(text)
    return "" if n == 6 else f"Let us add. The answer is {2 * n + (n % 4 == 3)}."


def scripted(function=answer, batch_size=4):
    return CallableBackend(lambda texts: [function(text) for text in texts], name="scripted", batch_size=batch_size)


def evaluate(backend=None, data=ROWS, output=None, **options):
    return evaluate_responses(backend or scripted(), data, output, **{"task": "math"} | options)


class TestScores:
    def test_answers_are_counted_where_they_agree_with_the_reference(self):
        found = evaluate()
        assert found.accuracy == Proportion(7, 10)
        assert [one.is_correct for one in found.answers] == [n not in (3, 6, 7) for n in range(10)]
        assert (found.answers[3].extracted_reference, found.answers[3].extracted_answer) == ("6", "7")
        assert (found.task, dict(found.model), found.generation["sampled"]) == ("math", {"model": "scripted"}, False)

    def test_the_model_sees_the_prompts_of_the_data_and_nothing_else(self):
        seen = []
        evaluate(scripted(lambda text: seen.append(text) or answer(text)))
        assert seen == [f"{row['question']}\n\n" for row in ROWS]

    def test_texts_are_compared_one_by_one(self):
        found = evaluate()
        answers = [answer(row["question"]) for row in ROWS]
        assert [one.answer for one in found.answers] == answers
        pairs = [(row["answer"], text) for row, text in zip(ROWS, answers, strict=True)]
        assert [one.rouge_l for one in found.answers] == [rouge_l(*pair) for pair in pairs]
        assert [one.bleu for one in found.answers] == [bleu(*pair) for pair in pairs]

    def test_references_without_an_answer_are_left_out(self):
        rows = [*ROWS[:2], {"question": "How much is 5 and 5?", "answer": "A lot."}]
        found = evaluate(data=rows)
        assert found.accuracy == Proportion(2, 2)
        assert found.notes == ("1 answer left out of the accuracy: nothing was found in the reference to compare with",)
        assert found.answers[2].is_correct is None

    def test_of_free_text_nothing_is_right_or_wrong(self):
        assert evaluate(task="text").accuracy is None

    def test_of_code_it_is_said_that_nothing_is_run(self):
        found = evaluate(scripted(lambda text: "x = 1"), [{"prompt": "p", "completion": "y = 2"}], task="code")
        assert found.accuracy == Proportion(1, 1)
        assert found.notes == (
            "task 'code' runs nothing: whether programs do what they should is tested by lm-evaluation-harness",
        )

    def test_the_rules_of_the_reference_code_can_be_asked_for(self):
        rows, backend = [{"question": "How much?", "answer": "12"}], scripted(lambda text: "It is 1 2")
        assert evaluate(backend, rows).accuracy == Proportion(0, 1)
        assert evaluate(backend, rows, compat="reference").accuracy == Proportion(1, 1)  # which glues digits together

    def test_a_function_may_say_what_counts(self):
        def opening(text, row):
            return text.split()[0] if text else None

        found = evaluate(scripted(lambda text: "It depends."), task=opening)
        assert (found.task, found.accuracy) == ("opening", Proportion(10, 10))

    def test_how_answers_ended_is_counted(self):
        found = evaluate(scripted(lambda text: Completion("I'm sorry, 4", 3, "length")), ROWS[:2])
        assert (found.truncated, found.refusal_phrases) == (Proportion(2, 2), Proportion(2, 2))

    def test_each_turn_of_a_conversation_is_asked_after_the_original_history(self):
        turns = ["How much is 1 and 1?", "2", "And how much is 2 and 2?", "4"]
        rows = [{"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]}]
        seen = []
        found = evaluate(scripted(lambda text: seen.append(text) or "2"), rows, turns="all")
        assert [one.is_correct for one in found.answers] == [True, False]
        assert seen[1] == f"{turns[0]}\n\n{turns[1]}\n\n{turns[2]}\n\n"


CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]}
TURNS = ({"role": "user", "content": "was it good"}, CALL, {"role": "tool", "content": "very", "name": "add"})
ROW = {"messages": [*TURNS, {"role": "assistant", "content": "very good"}]}
TOOLS = ({"type": "function", "function": {"name": "film"}},)
TEMPLATE = "{% for t in tools or [] %}{{ t.function.name }} {% endfor %}" + writers.CHAT


class TestTools:
    def test_turns_of_tools_are_asked_with_all_that_they_hold(self):
        seen = []
        backend = CallableBackend(lambda texts: ["2"] * len(texts), name="x", render=lambda one: seen.append(one) or "")
        evaluate(backend, [{**ROW, "tools": json.dumps(TOOLS)}], task="text")
        assert (seen[0].messages, seen[0].tools) == (TURNS, TOOLS)

    def test_the_model_reads_the_tools_when_it_answers_and_when_it_measures(self):
        read = []
        model, words = writers.llama(), writers.tokenizer(TEMPLATE)
        model.register_forward_pre_hook(lambda _, args, inputs: read.append(inputs["input_ids"][0]), with_kwargs=True)
        backend = TransformersBackend(model, words)
        evaluate(backend, [{**ROW, "tools": list(TOOLS)}], task="text", spec=SHORT | {"max_new_tokens": 1})
        assert [words.decode(tokens[:1]) for tokens in read] == ["film", "film"]

    def test_a_run_with_other_tools_is_another_run(self, tmp_path):
        evaluate(scripted(lambda text: "2"), [ROW], tmp_path / "scores.json", task="text")
        with pytest.raises(ResultsError, match=r"data\.tools missing there, '[0-9a-f]{16}' now"):
            evaluate(data=[ROW | {"tools": list(TOOLS)}], output=tmp_path / "scores.json", task="text")

    def test_answers_that_are_calls_are_left_out(self):
        with pytest.warns(SpectraWarning, match="the answers of 1 of 2 rows call tools"):
            found = evaluate(scripted(lambda text: "2"), [ROW, {"messages": list(TURNS[:2])}], task="text")
        assert [one.row for one in found.answers] == [0]


class TestFiles:
    def test_scores_and_answers_are_written(self, tmp_path):
        found = evaluate(output=tmp_path / "scores.json")
        assert json.loads((tmp_path / "scores.json").read_text()) == found.to_dict()
        assert load_answers(tmp_path / "scores.json") == found.answers
        names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
        assert names == {"scores.json", "scores.manifest.json", "scores.records.jsonl"}

    def test_a_run_that_stopped_goes_on(self, tmp_path):
        def failing(text):
            if number_in(text) == 9:
                raise BackendError("the server is gone. Start it again.")
            return answer(text)

        with pytest.raises(BackendError, match="the server is gone"):
            evaluate(scripted(failing), output=tmp_path / "scores.json")
        asked = []
        again = evaluate(scripted(lambda text: asked.append(text) or answer(text)), output=tmp_path / "scores.json")
        assert [number_in(text) for text in asked] == [8, 9]
        assert again == evaluate()

    def test_what_did_arrive_of_a_failing_batch_is_kept(self, tmp_path):
        class Half(CallableBackend):
            has_own_seeds = True

            def complete(self, requests, spec, seeds):
                whole = super().complete(requests, spec, seeds)
                raise BackendError("half of it.", {0: whole[0], 2: whole[2]})

        half = Half(lambda texts: [answer(text) for text in texts], name="scripted", batch_size=4)
        with pytest.raises(BackendError, match="half of it"):
            evaluate(half, output=tmp_path / "scores.json")
        shard = next(tmp_path.glob("scores.records.rank*.jsonl"))
        assert [json.loads(line)["row"] for line in shard.read_text().splitlines()] == [0, 2]
        asked = []

        class Rest(CallableBackend):
            has_own_seeds = True

        rest = Rest(lambda texts: asked.extend(texts) or [answer(text) for text in texts], name="scripted", batch_size=4)
        assert evaluate(rest, output=tmp_path / "scores.json") == evaluate()
        assert len(asked) == 8

    def test_a_finished_run_asks_nothing(self, tmp_path):
        evaluate(output=tmp_path / "scores.json")
        silent = scripted(lambda text: pytest.fail("asked"))
        assert evaluate(silent, output=tmp_path / "scores.json") == evaluate()

    def test_other_settings_are_refused_by_name(self, tmp_path):
        evaluate(output=tmp_path / "scores.json")
        with pytest.raises(ResultsError, match=r"generation\.sampled False there, True now.*--force"):
            evaluate(output=tmp_path / "scores.json", spec="reference")
        with pytest.raises(ResultsError, match=r"task\.name 'math' there, 'exact' now"):
            evaluate(output=tmp_path / "scores.json", task="exact")
        assert evaluate(output=tmp_path / "scores.json", task="exact", force=True).task == "exact"

    def test_progress_counts_what_was_there(self, tmp_path):
        seen = []
        evaluate(output=tmp_path / "scores.json", progress=lambda done, total: seen.append((done, total)))
        assert seen == [(4, 10), (8, 10), (10, 10)]

    def test_processes_take_their_parts(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        assert evaluate(output=tmp_path / "scores.json") is None
        assert not (tmp_path / "scores.json").exists()
        monkeypatch.setenv("RANK", "1")
        found = evaluate(output=tmp_path / "scores.json")
        assert [one.row for one in found.answers] == list(range(10))
        with pytest.raises(InputError, match="output: several processes meet in its files"):
            evaluate()


class TestARealModel:
    def test_the_references_are_as_likely_as_a_loop_over_their_tokens_says(self):
        import torch

        model, tokenizer = writers.llama(), writers.tokenizer()
        found = evaluate(TransformersBackend(model, tokenizer, batch_size=2), WORDS, task="text", spec=SHORT)
        total, count = 0.0, 0
        for row in WORDS:
            prompt = tokenizer(row["prompt"])["input_ids"]
            tokens = tokenizer(row["prompt"] + " " + row["completion"])["input_ids"] + [tokenizer.eos_token_id]
            with torch.no_grad():
                logits = model(torch.tensor([tokens])).logits[0].double()
            for place in range(len(prompt), len(tokens)):
                total -= float(torch.log_softmax(logits[place - 1], -1)[tokens[place]])
                count += 1
        assert found.tokens_reference == count
        # Padding and float32 logarithms: six digits.
        assert found.mean_nll == pytest.approx(total / count, rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(total / count), rel=1e-4)

    def test_answers_are_those_that_the_model_writes_and_cut_off_where_they_do_not_end(self):
        backend = TransformersBackend(writers.llama(), writers.tokenizer(), batch_size=2)
        found = evaluate(backend, WORDS, task="text", spec=SHORT)
        assert all(one.n_tokens <= 5 and one.is_truncated == (one.finish_reason == "length") for one in found.answers)
        assert [one.row for one in found.answers] == [0, 1, 2]

    def test_an_adapter_is_evaluated_with_a_tuned_backend_and_its_base_with_a_plain_one(self):
        def of(backend):
            found = evaluate(backend, WORDS, task="text", spec=SHORT)
            return [one.answer for one in found.answers], found.mean_nll

        tokenizer = writers.tokenizer()
        base = of(TransformersBackend(writers.llama(), tokenizer))
        merged = of(TransformersBackend(tuned(writers.llama()).merge_and_unload(), tokenizer))
        with_adapter, without = (
            of(TunedBackend(tuned(writers.llama()), tokenizer)),
            TransformersBackend(tuned(writers.llama()), tokenizer),
        )
        assert with_adapter[0] == merged[0] != base[0]
        assert with_adapter[1] == pytest.approx(merged[1], rel=1e-4)  # a sum of products in another order, in float32
        assert of(without) == base
        assert evaluate(without, WORDS, task="text", spec=SHORT).notes[0] == (
            "the model's adapter was switched off: these are answers of its base; take a TunedBackend to evaluate the adapter"
        )

    def test_a_path_is_loaded(self, tmp_path):
        folder = save_gpt2(tmp_path / "model")
        found = evaluate(str(folder), WORDS, task="text", spec=SHORT, limit=2)
        assert (found.model["model"], len(found.answers)) == ("model", 2)
        assert found.tokens_reference == 7  # three words and two, each with what ends a text

    def test_a_prompt_without_room_counts_as_wrong(self):
        rows = [{"prompt": "film", "completion": "good"}, {"prompt": "film " * 60, "completion": "bad"}]
        backend = TransformersBackend(writers.llama(), writers.tokenizer())
        found = evaluate(backend, rows, task="exact", spec=SHORT)
        assert (found.answers[1].finish_reason, found.answers[1].is_correct) == ("too_long", False)
        assert found.answers[1].tokens_reference == 0
        assert "1 prompt left no room, which counts as an empty answer; raise max_length" in found.notes
        with pytest.raises(InputError, match=r"no prompt fits: the shortest takes 60 tokens, too many with 5 new ones"):
            evaluate(backend, rows[1:], task="exact", spec=SHORT)


class TestRefusals:
    def test_a_task_that_finds_nothing_is_refused_before_anything_is_written(self, tmp_path):
        with pytest.raises(InputError, match=r"task 'math': none of the 1 responses .*'Nobody.'. Choose another task"):
            evaluate(data=[{"question": "Who?", "answer": "Nobody."}], output=tmp_path / "scores.json")
        assert not list(tmp_path.iterdir())

    def test_scores_are_json(self, tmp_path):
        with pytest.raises(InputError, match=r"output: 'scores.jsonl' is to hold the scores as JSON.*\.json"):
            evaluate(output=tmp_path / "scores.jsonl")

    def test_a_row_that_the_template_refuses_is_named(self):
        refusing = (
            "{% for m in messages %}{{ raise_exception('no bad films') if 'bad' in m.content }}{{ m.content }}{% endfor %}"
        )
        backend = TransformersBackend(writers.llama(), writers.tokenizer(refusing))
        with pytest.raises(InputError, match=r"row 3: the model's chat template refuses the messages \(no bad films\)"):
            evaluate(backend, WORDS, task="text", spec=SHORT)

    def test_an_extractor_that_fails_names_the_row(self):
        def third(text, row):
            return text.split()[2]

        with pytest.raises(InputError, match=r"extractor 'third' fails on the response of row 2 \(IndexError: "):
            evaluate(data=[{"question": "1 and 1?", "answer": word} for word in ("It is 2", "2")], task=third)
        with pytest.raises(InputError, match=r"extractor 'third' fails on an answer to row 1 \(IndexError: "):
            evaluate(scripted(lambda text: "2"), task=third)

    def test_generation_is_checked(self):
        with pytest.raises(InputError, match="unknown generation 'greddy'. Did you mean 'greedy'"):
            evaluate(spec="greddy")
        assert evaluate(spec=GenerationSpec(top_k=7)).generation["top_k"] == 7
