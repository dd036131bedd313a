"""``spectra distill``: what it prints and writes, how it goes on, and what it refuses."""

import json

import pytest

from spectra.results.distill_records import load_records
from tests import writers
from tests.cli.distill_mistakes import WITHOUT_TORCH, WITHOUT_TRANSFORMERS, modules_after
from tests.cli.interrupts import ctrl_c_in
from tests.training.sdft.chat_server import answer, chat_server, refusal

ROWS = [
    {"prompt": prompt, "completion": "the film was good", "source": source}
    for prompt, source in (("the film", "x"), ("was it good", "y"), ("very very bad", "x"), ("it was not", "y"))
]
TEMPLATE = 'id = "plain"\nsystem = ""\nuser = "{prompt} {response}"\n'
SMALL = ("--max-new-tokens", "6", "--max-length", "48", "--batch-size", "2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    writers.llama().save_pretrained(folder)
    writers.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def asked(tmp_path, model, data):
    """The arguments of a run on a real model."""
    (tmp_path / "plain.toml").write_text(TEMPLATE)
    return data, "--model", model, "--task", "text", "--template", tmp_path / "plain.toml", *SMALL


@pytest.fixture
def output(tmp_path):
    return tmp_path / "own.jsonl"


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_data_set_is_written_and_what_became_of_it_is_printed(run, asked, output):
    code, out, err = run(*asked, "-o", output)
    assert code == 0, err
    assert out.startswith("4 samples: ")
    assert "accepted" in out
    assert f"Data set in '{output}'" in err
    assert "the model has no chat template: requests are plain text" in err
    assert [(row["prompt"], row["source"]) for row in rows_of(output)] == [(row["prompt"], row["source"]) for row in ROWS]
    assert len(load_records(output)) == 4


@pytest.mark.parametrize("name", ["--output", "--out", "-o"])
def test_the_output_has_three_names(run, asked, output, name):
    assert run(*asked, name, output, "--quiet")[0] == 0
    assert output.exists()


def test_the_report_is_valid_json_and_the_same_later(run, asked, output):
    _, first, _ = run(*asked, "-o", output, "--json")
    _, later, _ = run("report", output, "--json")
    assert json.loads(first) == json.loads(later)
    assert json.loads(first)["num_samples"] == 4


def test_a_smaller_share_is_said_and_kept(run, asked, output):
    run(*asked, "-o", output, "--allow-truncated", "--mix-ratio", "0")
    assert [row["completion"] for row in rows_of(output)] == ["the film was good"] * 4
    assert "--mix-ratio 0: 0 of 4 accepted responses are in the data" in run("report", output)[2]


def test_hints_name_flags_as_they_are_typed(run, asked, output):
    _, out, err = run(*asked, "-o", output)
    assert "truncated" in out
    assert "stopped at the length limit; raise --max-new-tokens\n" in err
    assert "raise --max-new-tokens\n" in run("report", output)[2]


def test_quiet_leaves_the_report_and_what_is_doubtful_of_it(run, asked, output):
    _, out, err = run(*asked, "-o", output)
    again = run(*asked, "-o", output, "-q")
    assert again[:2] == (0, out)
    assert again[2].splitlines() == [line for line in err.splitlines() if not line.startswith("Data set in")]


def test_a_process_that_is_not_the_last_says_so_unless_it_is_to_be_quiet(run, asked, output, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert run(*asked, "-o", output) == (0, "", "This process is done; the last one writes the data set.\n")
    assert run(*asked, "-o", output, "--quiet") == (0, "", "")
    assert not output.exists()


def test_resume_goes_on_where_there_is_a_run(run, refused, asked, output):
    assert refused(*asked, "-o", output, "--resume") == (
        f"--resume: there is no '{output.with_name('own.manifest.json')}', and so no run to continue. Leave --resume out to "
        "begin one."
    )
    first = run(*asked, "-o", output)
    assert run(*asked, "-o", output, "--resume") == first
    said = refused(*asked, "-o", output, "--resume", "--force")
    assert said == "--resume continues a run, and --force starts over. Give one of them."


@pytest.mark.parametrize(
    ("flag", "value", "place", "kept"),
    [
        ("--temperature", "0.5", "generation.temperature", 0.5),
        ("--top-p", "0.5", "generation.top_p", 0.5),
        ("--top-k", "3", "generation.top_k", 3),
        ("--max-new-tokens", "5", "generation.max_new_tokens", 5),
        ("--max-length", "40", "generation.max_length", 40),
        ("--generation", "greedy", "generation.sampled", False),
        ("--seed", "7", "seed", 7),
        ("--n-candidates", "2", "n_candidates", 2),
        ("--min-rouge-l", "0.25", "selection.min_rouge_l", 0.25),
        ("--compat", "reference", "selection.compat", "reference"),
        ("--limit", "3", "data.num_samples", 3),
        ("--batch-size", "3", "batches.batch_size", 3),
    ],
)
def test_a_flag_reaches_the_run(run, asked, output, flag, value, place, kept):
    assert run(*asked, "-o", output, flag, value)[0] == 0
    found = json.loads(output.with_name("own.manifest.json").read_text())
    for name in place.split("."):
        found = found[name]
    assert found == kept


def test_all_turns_of_a_column_are_rewritten(run, asked, data, output):
    turns = [{"role": role, "content": "the film was good"} for _ in range(2) for role in ("user", "assistant")]
    data.write_text(json.dumps({"messages": turns}) + "\n")
    assert run(*asked, "-o", output, "--turns", "all")[0] == 0
    assert len(load_records(output)) == 2


def test_columns_are_named(run, asked, data, output):
    data.write_text(json.dumps({"q": "the film", "a": "was good"}) + "\n")
    assert run(*asked, "-o", output, "--prompt-column", "q", "--response-column", "a")[0] == 0
    assert load_records(output)[0].prompt == "the film"


def test_a_report_counts_by_a_column(run, asked, output):
    run(*asked, "-o", output)
    code, out, _ = run("report", output, "--group-by", "source")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines() if line.startswith(("x ", "y "))] == [["x", "2"], ["y", "2"]]


def test_the_same_command_again_asks_the_model_nothing_and_says_the_same(run, asked, output):
    first = run(*asked, "-o", output)
    written = output.read_bytes()
    assert run(*asked, "-o", output) == first
    assert output.read_bytes() == written


def test_a_dry_run_shows_the_first_request_and_writes_nothing(run, asked, output, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, _ = run(*asked, "-o", output, "--dry-run")
    assert code == 0
    assert out.startswith("the film the film was good\n\n")
    assert out.rstrip().endswith("4 of 4 responses would be rewritten, in 2 batches")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), ". What is written so far is kept; the same command continues there."),
        (("--force",), ". What is written so far is kept; the same command without --force continues there."),
    ],
)
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(run, asked, output, more, said):
    with ctrl_c_in("complete"):
        assert run(*asked, "-o", output, *more) == (130, "", f"spectra: interrupted{said}\n")
    assert run(*asked, "-o", output)[0] == 0


def test_ctrl_c_in_a_dry_run_leaves_nothing_to_go_on_with(run, asked, output):
    with ctrl_c_in("_preview"):
        assert run(*asked, "-o", output, "--dry-run") == (130, "", "spectra: interrupted\n")


class TestServer:
    def of(self, data, server, output, *more):
        return (
            data, "--model", "served", "--backend", "openai", "--base-url", server.address, "--task", "text", "-o", output,
            *more,
        )  # fmt: skip

    def test_a_server_writes(self, run, data, output):
        with chat_server(lambda said, attempt: answer("a film of its own kind")) as server:
            code, _, err = run(*self.of(data, server, output))
        assert code == 0, err
        assert {row["completion"] for row in rows_of(output)} == {"a film of its own kind"}

    def test_a_server_that_refuses_is_one_line_and_the_run_goes_on_later(self, refused, run, data, output):
        def half(said, attempt):
            return refusal(401, "who are you") if "very very bad" in said else answer("a film of its own kind")

        with chat_server(half) as server:
            said = refused(*self.of(data, server, output, "--concurrency", "1"))
        assert "401" in said or "who are you" in said
        with chat_server(lambda said, attempt: answer("a film of its own kind")) as server:
            assert run(*self.of(data, server, output))[0] == 0
            assert len(server.bodies) == 2  # the other two were kept


class TestRefusals:
    def test_an_output_is_needed(self, refused, asked):
        assert refused(*asked) == "say where the data set goes: -o FILE.jsonl. (--dry-run shows what would be asked.)"

    def test_an_unknown_task(self, refused, data, model, output):
        said = refused(data, "--model", model, "--task", "maths", "-o", output)
        assert "unknown task 'maths'. Did you mean 'math'?" in said

    def test_an_unknown_backend(self, refused, asked, output):
        assert refused(*asked[:-2], "-o", output, "--backend", "vlm").startswith("unknown backend 'vlm'. Did you mean 'vllm'?")

    def test_a_flag_of_another_backend(self, refused, asked, output):
        said = refused(*asked, "-o", output, "--base-url", "http://localhost:1/v1")
        assert said == "--backend transformers has no --base-url. Leave it out."

    def test_a_template_without_the_response(self, refused, asked, output, tmp_path):
        (tmp_path / "plain.toml").write_text('id = "mine"\nsystem = ""\nuser = "{prompt}"\n')
        said = refused(*asked, "-o", output)
        assert "plain.toml" in said
        assert "{response}" in said

    def test_prompts_without_room(self, refused, asked, output):
        said = refused(*asked[:-6], "--max-new-tokens", "45", "--max-length", "48", "-o", output)
        assert said.startswith("no prompt fits: the shortest takes 6 tokens, and with 45 new ones that is more than 48.")

    def test_rows_without_a_response(self, refused, asked, data, output):
        data.write_text(json.dumps({"prompt": "the film", "completion": None}) + "\n")
        said = refused(*asked, "-o", output)
        assert "row 1" in said
        assert "completion" in said

    def test_an_output_of_an_unknown_kind(self, refused, asked, output):
        said = refused(*asked, "-o", output.with_suffix(".xlsx"))
        assert said.endswith(".xlsx' is not a kind of file that rows are written to. Known: .jsonl, .json, .csv.")

    def test_an_output_that_is_the_data(self, refused, asked, data):
        assert refused(*asked, "-o", data).startswith(f"--output: '{data}' is the data itself.")

    def test_an_output_that_cannot_hold_the_rows(self, refused, asked, data, output):
        data.write_text(json.dumps({"prompt": "the film", "completion": "was good", "tags": ["x"]}) + "\n")
        said = refused(*asked, "-o", output.with_suffix(".csv"))
        assert said.startswith("row 1, column 'tags': it holds a list, which cannot be written as CSV.")

    def test_a_share_above_all(self, refused, asked, output):
        said = refused(*asked, "-o", output, "--mix-ratio", "1.5")
        assert said == "Invalid value for '--mix-ratio': 1.5 is not in the range 0<=x<=1. See 'spectra distill --help'."

    def test_columns_of_which_one_is_named(self, refused, asked, data, output):
        said = refused(*asked, "-o", output, "--prompt-column", "prompt")
        assert said.startswith(f"'{data}': --response-column: name this column, too; only 'prompt' is named.")

    def test_lengths_that_contradict_each_other(self, refused, asked, output):
        said = refused(*asked, "-o", output, "--max-length", "3")
        assert said.startswith("--max-length (3 tokens of prompt and answer) must be above --max-new-tokens (6).")

    def test_mistakes_are_found_before_torch_is_imported(self, model, data, tmp_path):
        imported = modules_after(WITHOUT_TORCH, model, data, tmp_path)
        assert not {"torch", "transformers", "pandas"} & imported

    def test_a_device_that_is_not_there_is_found_before_a_model_is_looked_for(self, model, data, tmp_path):
        assert "transformers" not in modules_after(WITHOUT_TRANSFORMERS, model, data, tmp_path)

    def test_what_does_nothing_is_refused(self, refused, asked, output):
        said = refused(*asked, "-o", output, "--generation", "greedy", "--top-p", "0.5")
        assert said == "--top-p: nothing is drawn greedily. Leave it out, or sample."

    def test_a_run_with_other_settings(self, run, refused, asked, output):
        run(*asked, "-o", output)
        said = refused(*asked, "-o", output, "--seed", "1")
        assert "seed 0 there, 1 now" in said
        assert "--force" in said
        assert run(*asked, "-o", output, "--seed", "1", "--force")[0] == 0

    def test_a_report_of_nothing(self, refused, tmp_path):
        assert "nothing.records.jsonl" in refused("report", tmp_path / "nothing.jsonl")

    def test_a_group_that_is_no_column(self, run, refused, asked, output):
        run(*asked, "-o", output)
        assert refused("report", output, "--group-by", "sauce").startswith("no column 'sauce'. Did you mean 'source'?")


def test_help_names_the_data_and_the_other_commands(run):
    code, out, _ = run("--help")
    assert code == 0
    assert out.startswith("Usage: spectra distill DATA --model MODEL --task T -o OUT [OPTIONS]")
    assert "spectra distill report OUT.jsonl" in out
    assert run("report", "--help")[1].startswith("Usage: spectra distill report [OPTIONS] OUT")
