import itertools
import json

import pytest

from spectra.errors import BackendError, InputError, ResultsError, SpectraWarning
from spectra.results.distill_records import load_records
from spectra.training.sdft import CallableBackend, Completion, ResponseDistiller
from tests import writers
from tests.forked import run_python

ROWS = [{"question": f"How much is {n} and {n}?", "answer": f"It is {2 * n}.", "source": "ab"[n % 2]} for n in range(20)]


def number_in(text):
    return int(text.split("How much is ")[1].split()[0])


def answer(text):
    """Right but for every fifth; every seventh is empty."""
    n = number_in(text)
    if n % 7 == 6:
        return ""
    return f"Let us add {n} to {n}. The answer is {2 * n + (n % 5 == 4)}."


def distiller(function=answer, batch_size=4, **options):
    backend = CallableBackend(lambda texts: [function(text) for text in texts], name="scripted", batch_size=batch_size)
    return ResponseDistiller(backend, task="math", **options)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TestInvariants:
    def test_every_row_stays_in_its_place_and_only_responses_change(self):
        done = distiller().distill(ROWS)
        assert [(row["question"], row["source"]) for row in done.rows] == [(row["question"], row["source"]) for row in ROWS]
        assert done.rows[1]["answer"] == "Let us add 1 to 1. The answer is 2."
        assert [record.row for record in done.records] == list(range(20))

    def test_what_is_rejected_is_the_original_byte_for_byte(self):
        rows = [{"question": f"How much is {n} and {n}?", "answer": f"\t It is  {2 * n}. \u00e9\u0301\r\n"} for n in (4, 6, 9)]
        done = distiller().distill(rows)
        assert {record.decision for record in done.records} == {"rejected"}
        assert done.rows == rows

    def test_the_request_never_reaches_the_data(self):
        done = distiller().distill(ROWS)
        assert not [row for row in done.rows if "checked solution" in json.dumps(row).casefold()]

    def test_decisions_are_counted_with_their_reasons(self):
        report = distiller().distill(ROWS).report(group_by="source")
        assert (report.accepted, report.identical) == (14, 0)
        assert dict(report.rejected) == {"mismatch": 4, "empty": 2}
        assert set(report.groups) == {"a", "b"}


class TestCandidates:
    def test_the_first_that_passes_is_taken(self):
        asked = {}

        def better_each_time(text):
            asked[text] = asked.get(text, 0) + 1
            return f"The answer is {2 * number_in(text) - 3 + asked[text]}."

        done = distiller(better_each_time, n_candidates=5).distill(ROWS)
        assert {(record.decision, record.attempt) for record in done.records} == {("accepted", 3)}
        assert set(asked.values()) == {3}

    def test_the_last_one_is_kept_when_none_passes(self):
        done = distiller(lambda text: "The answer is -1.", n_candidates=2).distill(ROWS[:3])
        assert {(one.decision, one.reason, one.attempt, one.candidate) for one in done.records} == {
            ("rejected", "mismatch", 2, "The answer is -1.")
        }

    def test_the_model_is_not_asked_where_no_candidate_could_be_taken(self):
        asked = []
        rows = [*ROWS[:3], {"question": "How much is 100 and 100?", "answer": "A lot."}]
        done = distiller(lambda text: asked.append(text) or answer(text)).distill(rows)
        assert len(asked) == 3
        last = done.records[-1]
        assert (last.decision, last.reason, last.candidate, last.attempt) == ("rejected", "no_reference", None, 0)

    def test_a_prefix_is_part_of_the_candidate_if_the_template_says_so(self):
        from spectra.training.sdft import RewriteTemplate

        def of(keep):
            made = RewriteTemplate(
                id="mine", system="", user="{prompt} {response}", assistant_prefix="First, ", keep_prefix=keep
            )
            return distiller(template=made).distill(ROWS[1:2]).records[0].candidate

        assert of(True) == "First, " + of(False)


class TestCallsOfTools:
    def test_rows_that_end_with_a_call_stay_and_the_others_are_rewritten(self):
        call = {"role": "assistant", "content": "I add.", "tool_calls": [{"function": {"name": "add"}}]}
        asked = {"role": "user", "content": "How much is 1 and 1?"}
        rows = [{"messages": [asked, call]}, {"messages": [asked, {"role": "assistant", "content": "It is 2."}]}]
        seen = []
        with pytest.warns(SpectraWarning, match="the answers of 1 of 2 rows call tools: they stay as they are") as warned:
            done = distiller(lambda text: seen.append(text) or answer(text)).distill(rows)
        assert (len(warned), len(seen), [record.row for record in done.records]) == (1, 1, [1])
        assert done.rows[0] == rows[0]
        assert done.rows[1]["messages"][1]["content"] == "Let us add 1 to 1. The answer is 2."

    def test_tools_are_no_part_of_what_is_asked(self):
        dialog = [{"role": "user", "content": "How much is 1 and 1?"}, {"role": "assistant", "content": "It is 2."}]
        seen = []
        distiller(lambda text: seen.append(text) or answer(text)).distill([{"messages": dialog, "tools": [{"name": "add"}]}])
        distiller(lambda text: seen.append(text) or answer(text)).distill([{"messages": dialog}])
        assert seen[0] == seen[1]


class TestMixing:
    def test_a_smaller_share_uses_a_part_of_what_a_larger_one_uses(self, tmp_path):
        def changed(ratio):
            rows = distiller().distill(ROWS, tmp_path / "own.jsonl", mix_ratio=ratio).rows
            return {n for n, (row, old) in enumerate(zip(rows, ROWS, strict=True)) if row != old}

        shares = [changed(ratio) for ratio in (0.0, 0.3, 0.6, 1.0)]
        assert all(small <= large for small, large in itertools.pairwise(shares))
        assert [len(shares[0]), len(shares[-1])] == [0, 14]

    def test_another_share_asks_the_model_nothing(self, tmp_path):
        distiller().distill(ROWS, tmp_path / "own.jsonl")
        silent = distiller(lambda text: pytest.fail("asked")).distill(ROWS, tmp_path / "own.jsonl", mix_ratio=0.5)
        assert lines(tmp_path / "own.jsonl") == silent.rows

    def test_what_is_used_is_noted_beside_the_output_and_in_the_report(self, tmp_path):
        done = distiller().distill(ROWS, tmp_path / "own.jsonl", mix_ratio=0.5)
        noted = json.loads((tmp_path / "own.manifest.json").read_text())["output"]
        assert noted == {
            "mix_ratio": 0.5,
            "accepted": 14,
            "used": sum(r != old for r, old in zip(done.rows, ROWS, strict=True)),
        }
        assert done.report().notes[-1] == f"mix_ratio 0.5: {noted['used']} of 14 accepted responses are in the data"
        assert "mix_ratio" not in " ".join(distiller().distill(ROWS, tmp_path / "own.jsonl").report().notes)

    def test_a_share_that_is_none_is_refused(self):
        with pytest.raises(InputError, match="mix_ratio: expected a share from 0 to 1, got 1.5"):
            distiller().distill(ROWS, mix_ratio=1.5)


class TestStopping:
    def test_what_was_written_before_an_error_is_kept_and_not_asked_again(self, tmp_path):
        asked = []

        def failing(text):
            asked.append(text)
            if len(asked) == 11:
                raise BackendError("the server is gone. Start it again.")
            return answer(text)

        with pytest.raises(BackendError, match="the server is gone"):
            distiller(failing).distill(ROWS, tmp_path / "own.jsonl")
        before = set(asked[:8])  # two whole batches
        asked.clear()
        again = distiller(lambda text: asked.append(text) or answer(text)).distill(ROWS, tmp_path / "own.jsonl")
        assert not before & set(asked)
        assert again.rows == distiller().distill(ROWS).rows

    def test_a_run_under_another_list_of_leaks_is_another_run(self, tmp_path):
        output = tmp_path / "own.jsonl"
        distiller().distill(ROWS, output)
        path = tmp_path / "own.manifest.json"
        manifest = json.loads(path.read_text())
        assert len(manifest["selection"]["leaks"]) == 16
        manifest["selection"]["leaks"] = "0" * 16
        path.write_text(json.dumps(manifest))
        with pytest.raises(ResultsError, match=r"selection\.leaks '0{16}' there, '[0-9a-f]{16}' now"):
            distiller().distill(ROWS, output)

    def test_what_did_arrive_of_a_failing_batch_is_kept(self, tmp_path):
        class Half(CallableBackend):
            has_own_seeds = True

            def complete(self, requests, spec, seeds):
                whole = super().complete(requests, spec, seeds)
                raise BackendError("half of it.", {0: whole[0], 2: whole[2]})

        half = Half(lambda texts: [answer(text) for text in texts], name="scripted", batch_size=4)
        with pytest.raises(BackendError, match="half of it"):
            ResponseDistiller(half, task="math").distill(ROWS, tmp_path / "own.jsonl")
        shard = next(tmp_path.glob("own.records.rank*.jsonl"))
        assert [record["row"] for record in lines(shard)] == [0, 2]

    def test_progress_counts_what_was_there(self, tmp_path):
        seen = []
        distiller().distill(ROWS, tmp_path / "own.jsonl", progress=lambda done, total: seen.append((done, total)))
        assert seen[-1] == (20, 20)
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    def test_a_run_with_other_settings_is_refused_by_name(self, tmp_path):
        distiller().distill(ROWS, tmp_path / "own.jsonl")
        with pytest.raises(ResultsError, match=r"n_candidates 1 there, 2 now.*--force"):
            distiller(n_candidates=2).distill(ROWS, tmp_path / "own.jsonl")
        with pytest.raises(ResultsError, match=r"data\.num_samples 20 there, 19 now"):
            distiller().distill(ROWS[1:], tmp_path / "own.jsonl")
        assert distiller(n_candidates=2).distill(ROWS, tmp_path / "own.jsonl", force=True).records[4].attempt == 2

    def test_another_batch_size_goes_on(self, tmp_path):
        def stop(text):
            if number_in(text) >= 9:
                raise BackendError("out of memory.")
            return answer(text)

        with pytest.raises(BackendError, match="out of memory"):
            distiller(stop).distill(ROWS, tmp_path / "own.jsonl")
        manifest = json.loads((tmp_path / "own.manifest.json").read_text())
        assert manifest["batches"]["batch_size"] == 4
        done = distiller(batch_size=3).distill(ROWS, tmp_path / "own.jsonl")
        assert done.rows == distiller().distill(ROWS).rows

    def test_a_second_writer_is_refused(self, tmp_path):
        def writing_twice(text):
            with pytest.raises(ResultsError, match="own.jsonl"):
                distiller().distill(ROWS, tmp_path / "own.jsonl")
            return answer(text)

        distiller(writing_twice).distill(ROWS[:4], tmp_path / "own.jsonl")

    def test_a_process_that_is_not_the_last_leaves_the_data_to_another(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        assert distiller().distill(ROWS, tmp_path / "own.jsonl") is None
        assert not (tmp_path / "own.jsonl").exists()
        monkeypatch.setenv("RANK", "1")
        assert distiller().distill(ROWS, tmp_path / "own.jsonl").rows == lines(tmp_path / "own.jsonl")
        with pytest.raises(InputError, match="several processes meet in its files"):
            distiller().distill(ROWS)


KILLED = """
import os, signal, sys
from tests.training.sdft.test_distiller import ROWS, answer, distiller

events = 0

def tick():
    global events
    events += 1
    if events == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

def ticking(real):
    def call(*args, **options):
        tick()
        result = real(*args, **options)
        tick()
        return result
    return call

os.fsync, os.replace = ticking(os.fsync), ticking(os.replace)

def slow(text):
    tick()
    return answer(text)

distiller(slow, batch_size=2).distill(ROWS, sys.argv[1])
"""


def killed_at(event, output):
    done = run_python(KILLED, output, event)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return whole(distiller(batch_size=2), tmp_path_factory.mktemp("whole") / "own.jsonl")


@pytest.mark.slow
class TestKilling:
    """SIGKILL at 36 places and more: between any two answers, and before and after each file is made to last or replaced."""

    @pytest.mark.parametrize("first", [1, 2, 3])
    def test_a_run_killed_anywhere_goes_on_as_if_it_was_not(self, tmp_path, uninterrupted, first):
        kills = 0
        for event in range(first, 40, 3):
            output = tmp_path / str(event) / "own.jsonl"
            kills += killed_at(event, output)
            assert whole(distiller(batch_size=2), output) == uninterrupted
        assert kills >= 8

    def test_a_run_killed_again_and_again_ends_as_if_it_was_not(self, tmp_path, uninterrupted):
        events = itertools.count(6)  # more each time: the last steps of a run are too many for a few
        kills = sum(1 for _ in itertools.takewhile(lambda event: killed_at(event, tmp_path / "own.jsonl"), events))
        assert kills >= 4
        assert whole(distiller(batch_size=2), tmp_path / "own.jsonl") == uninterrupted


def whole(made, output):
    """Finish a run; return its data and records but for their times."""
    made.distill(ROWS, output)
    records = [record.to_dict() | {"seconds": None} for record in load_records(output)]
    return output.read_bytes(), records, sorted(path.name for path in output.parent.iterdir())


def test_tests_that_have_changed_are_another_run(tmp_path):
    def of(test):
        rows = [{"prompt": "one", "completion": "x = 1", "tests": test}]
        backend = CallableBackend(lambda texts: ["x = 1  # one"], name="x")
        return ResponseDistiller(backend, task="code", test_column="tests").distill(rows, tmp_path / "own.jsonl")

    of("assert x == 1")
    with pytest.raises(ResultsError, match=r"data\.columns"):
        of("assert x == 2")


class TestARealModel:
    def test_a_model_writes_the_same_again_and_is_left_as_it_was(self, tmp_path):
        from spectra.fisher.weights_fingerprint import weights_fingerprint

        model, tokenizer = writers.llama(), writers.tokenizer()
        rows = [{"prompt": text, "completion": "the film was good"} for text in ("the film", "was it good", "very very bad")]
        before = weights_fingerprint(model.parameters())
        options = {"task": "text", "generation": {"max_new_tokens": 6, "max_length": None}, "template": plain_template()}
        model.train()
        first = ResponseDistiller(model, tokenizer, batch_size=2, **options).distill(rows, tmp_path / "own.jsonl")
        assert weights_fingerprint(model.parameters()) == before
        assert model.training
        again = ResponseDistiller(model, tokenizer, batch_size=2, **options).distill(rows)
        assert [one.candidate for one in again.records] == [one.candidate for one in first.records]
        assert all(record.n_tokens <= 6 for record in first.records)

    def test_prompts_without_room_keep_their_responses(self):
        model, tokenizer = writers.llama(), writers.tokenizer()
        rows = [{"prompt": "film", "completion": "good"}, {"prompt": "film " * 60, "completion": "bad"}]
        made = ResponseDistiller(
            model, tokenizer, task="text", generation={"max_new_tokens": 6, "max_length": None}, template=plain_template()
        )
        assert made.distill(rows).records[1].reason == "prompt_too_long"
        with pytest.raises(InputError, match=r"no prompt fits: the shortest takes \d+ tokens, and with 6 new ones"):
            made.distill(rows[1:])


def plain_template():
    from spectra.training.sdft import RewriteTemplate

    return RewriteTemplate(id="plain", system="", user="{prompt} {response}")


class TestRefusals:
    def test_an_output_that_cannot_hold_the_data_is_refused_before_the_model_is_asked(self, tmp_path):
        silent = distiller(lambda text: pytest.fail("asked"))
        with pytest.raises(InputError, match=r"\.txt"):
            silent.distill(ROWS, tmp_path / "own.txt")
        chat = [{"messages": [{"role": "user", "content": "How much is 1 and 1?"}, {"role": "assistant", "content": "2"}]}]
        with pytest.raises(InputError, match="cannot be written as CSV"):
            silent.distill(chat, tmp_path / "own.csv")

    def test_the_data_is_not_written_over(self, tmp_path):
        path = tmp_path / "train.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        before = path.read_bytes()
        with pytest.raises(InputError, match="is the data itself"):
            distiller().distill(path, path, force=True)
        assert path.read_bytes() == before

    def test_a_name_of_records_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="'own.records.jsonl' is a name of records. Choose another one"):
            distiller().distill(ROWS, tmp_path / "own.records.jsonl")

    def test_a_task_that_finds_nothing_is_refused_before_anything_is_written(self, tmp_path):
        rows = [{"question": "Who?", "answer": "Nobody."}]
        with pytest.raises(InputError, match=r"task 'math': none of the 1 responses .*'Nobody.'. Choose another task"):
            distiller().distill(rows, tmp_path / "own.jsonl")
        assert not list(tmp_path.iterdir())

    def test_options_are_refused_all_at_once(self):
        with pytest.raises(InputError, match=r"unknown generation 'greddy'.*n_candidates: expected at least 1.*min_rouge_l"):
            distiller(generation="greddy", n_candidates=0, min_rouge_l=2.0)

    def test_an_unknown_option_is_told_the_nearest(self):
        with pytest.raises(
            InputError, match=r"n_candidates: expected.*seed: expected.*allow_truncated: exp.*leak_phrases: exp"
        ):
            distiller(n_candidates=True, seed=1.5, allow_truncated="no", leak_phrases="as an AI")
        with pytest.raises(InputError, match=r"generation: expected a name or values by name, got 5.*min_rouge_l: expected"):
            distiller(generation=5, min_rouge_l="0.5")
        with pytest.raises(InputError, match="greedy answers are all the same. Sample, or ask once, not 3 times"):
            distiller(generation="greedy", n_candidates=3)
        with pytest.raises(InputError, match="no option 'n_candidate'. Did you mean 'n_candidates'"):
            distiller(n_candidate=2)

    def test_a_task_is_needed(self):
        with pytest.raises(InputError, match="task: say what a rewritten response must agree in"):
            ResponseDistiller(CallableBackend(lambda texts: texts, name="x"))

    def test_an_argument_of_the_run_is_told_from_an_option(self):
        with pytest.raises(InputError, match=r"no option 'mix_ratio': it is an argument of distill\(\)"):
            distiller(mix_ratio=0.5)

    def test_an_extractor_that_fails_is_named_with_its_row(self):
        from spectra.training.sdft import Extractor

        backend = CallableBackend(lambda texts: texts, name="x")
        by = Extractor("mine", 1, lambda text, row: row["key"])
        with pytest.raises(InputError, match=r"extractor 'mine' fails on the response of row 1 \(KeyError: 'key'\)"):
            ResponseDistiller(backend, task=by).distill(ROWS)

    def test_a_row_that_the_template_refuses_is_named(self):
        refusing = (
            "{% for m in messages %}{{ raise_exception('no tabs') if '9 and 9' in m.content }}{{ m.content }}{% endfor %}"
        )
        made = ResponseDistiller(writers.llama(), writers.tokenizer(refusing), task="math")
        with pytest.raises(InputError, match=r"row 10: the model's chat template refuses the messages \(no tabs\)"):
            made.distill(ROWS)

    def test_an_extractor_without_a_name_keeps_no_files(self, tmp_path):
        made = ResponseDistiller(CallableBackend(lambda texts: texts, name="x"), task=lambda text, row: text)
        with pytest.raises(InputError, match="a run knows its extractor by the name"):
            made.distill(ROWS, tmp_path / "own.jsonl")

    def test_what_is_no_model_is_refused(self):
        with pytest.raises(InputError, match="model: function is no path and no backend"):
            ResponseDistiller(answer, task="math")

    def test_tests_are_needed_where_they_are_run(self):
        with pytest.raises(InputError, match="row 1 has no tests in column 'tests'"):
            ResponseDistiller(CallableBackend(lambda texts: texts, name="x"), task="code", test_column="tests").distill(
                [{"prompt": "p", "completion": "x = 1"}]
            )
        for tests, said in ((" ", "row 1 has no tests"), (["assert x"], "column 'tests' holds no text. Join its tests")):
            rows = [{"prompt": "p", "completion": "x = 1", "tests": tests}]
            with pytest.raises(InputError, match=said):
                ResponseDistiller(CallableBackend(lambda texts: texts, name="x"), task="code", test_column="tests").distill(
                    rows
                )
        with pytest.raises(InputError, match="test_column: tests are of task 'code' only"):
            distiller(test_column="tests")

    def test_a_column_that_is_not_there_groups_nothing(self):
        with pytest.raises(InputError, match="no column 'sourse'. Did you mean 'source'"):
            distiller().distill(ROWS).report(group_by="sourse")


def test_completions_may_say_how_they_ended():
    done = distiller(lambda text: Completion("The answer is", 3, "length")).distill(ROWS[:2])
    assert {record.reason for record in done.records} == {"truncated"}
