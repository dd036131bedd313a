"""``spectra fisher``: what it prints and writes, how it goes on, and what it refuses."""

import csv
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spectra.cli.fisher import fisher as command
from spectra.cli.interrupted import Interrupted
from spectra.cli.model_and_data import ModelAndData, prepare
from spectra.fisher.estimate import fisher
from spectra.fisher.spectrum import fisher_spectrum
from spectra.results.fisher_spectrum import load_fisher_spectrum
from spectra.results.fisher_store import load_fisher
from tests.cli.flags import FLAGS
from tests.cli.interrupts import ctrl_c_when, needs_timers
from tests.pretrained import save_adapter, save_bert, save_gpt2, save_t5

LINES = (
    "the film was very good",
    "it was not good and not bad",
    "a bad film",
    "the film and the goodness",
    "it was badly bad",
    "very very good",
)
LABELS = ("good", "bad", "bad", "good", "bad", "good")


@pytest.fixture
def gpt2(tmp_path):
    return save_gpt2(tmp_path / "gpt2")


@pytest.fixture
def bert(tmp_path):
    return save_bert(tmp_path / "bert")


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(LINES) + "\n")
    return tmp_path / "texts.txt"


@pytest.fixture
def table(tmp_path):
    rows = [f"{text}\t{label}" for text, label in zip(LINES, LABELS, strict=True)]
    (tmp_path / "table.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return tmp_path / "table.tsv"


def prepared(model, data, **changes):
    return prepare(str(model), ModelAndData(data=data, **{**FLAGS, **changes}))


# What it answers


def test_scores_are_printed_highest_first_with_a_conclusion(run, gpt2, texts):
    code, out, err = run(gpt2, "--data", texts)
    assert code == 0
    first, _, heading, *_ = lines = out.splitlines()
    assert first == "Empirical Fisher of 'gpt2' (causal-lm, token_mean): 6 samples, 23 targets"
    assert heading.split() == ["layer", "parameters", "param_mean"]
    scores = [float(line.split()[-1]) for line in lines[3 : lines.index("", 3)]]
    assert scores == sorted(scores, reverse=True)
    assert "6 texts of 'texts.txt', cut to 32 tokens, seed 0" in lines
    assert lines[-1].startswith("param_mean by layer: highest ")
    assert "-o fisher.safetensors" in err
    assert "\x1b" not in out + err


def test_the_result_is_that_of_the_function(run, gpt2, texts, tmp_path):
    assert run(gpt2, "--data", texts, "-o", tmp_path / "f.safetensors", "--batch-size", 2)[0] == 0
    given = prepared(gpt2, texts, batch_size=2)
    saved, expected = load_fisher(tmp_path / "f.safetensors"), fisher(given.model, given.batches)
    assert [tensor.name for tensor in saved.tensors] == [tensor.name for tensor in expected.tensors]
    for name, values in expected.values.items():
        np.testing.assert_array_equal(saved.values[name], values)
    assert saved.info.model == "gpt2"
    assert saved.info.data == expected.info.data


def test_every_setting_reaches_the_estimate(run, gpt2, texts):
    settings = ["--kind", "sampled", "--draws", 3, "--reduction", "sequence_sum", "--keep", "neurons", "--aggregate", "trace"]
    data = ["--seed", 5, "--samples", 4, "--max-length", 8, "--include", "transformer.h.*", "--exclude", "*.bias"]
    code, out, _ = run(gpt2, "--data", texts, *settings, *data, "--json")
    assert code == 0
    answer = json.loads(out)
    info = answer["info"]
    found = [info[name] for name in ("kind", "num_draws", "reduction", "keep", "aggregate", "seed", "num_samples")]
    assert found == ["sampled", 3, "sequence_sum", "neurons", "trace", 5, 4]
    assert "4 texts of 'texts.txt', cut to 8 tokens, seed 5" in info["notes"]
    names = [tensor["name"] for tensor in answer["tensors"]]
    assert names
    assert all(name.startswith("transformer.h.") and not name.endswith(".bias") for name in names)


def test_hidden_tokens_are_those_of_the_seed(run, bert, texts):
    answers = [json.loads(run(bert, "--data", texts, "--mask-share", 0.5, "--seed", seed, "--json")[1]) for seed in (1, 1, 2)]
    data = [answer["info"]["data"] for answer in answers]
    assert data[0] == data[1] != data[2]
    assert "6 texts of 'texts.txt', cut to 32 tokens, 50% of the tokens hidden, seed 1" in answers[0]["info"]["notes"]


def test_batches_change_no_score(run, bert, texts):
    whole, single = (
        json.loads(run(bert, "--data", texts, "--mask-share", 0.5, "--batch-size", size, "--json")[1])["tensors"]
        for size in (6, 1)
    )
    scores = [np.array([tensor["trace"] for tensor in tensors]) for tensors in (whole, single)]
    # float32 sums in another order, against the largest
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-5 * scores[0].max())


@pytest.mark.parametrize("level", ["layer", "site", "tensor", "neuron"])
def test_csv_has_every_row_of_the_level(run, gpt2, texts, level):
    code, out, err = run(gpt2, "--data", texts, "--csv", "--level", level)
    assert (code, err) == (0, "")
    given = prepared(gpt2, texts)
    assert len(list(csv.DictReader(io.StringIO(out)))) == len(fisher(given.model, given.batches).table(level))


def test_places_without_dropout_are_sites_if_asked_for(run, gpt2, texts):
    names = [
        {row["name"] for row in csv.DictReader(io.StringIO(run(gpt2, "--data", texts, "--csv", "--level", "site", *insert)[1]))}
        for insert in ([], ["--insert", "*.mlp.c_fc"])
    ]
    assert len(names[1] - names[0]) == 1
    assert next(iter(names[1] - names[0])).startswith("transformer.h.0.mlp.c_fc")


@pytest.mark.parametrize("level", ["site", "tensor", "neuron"])
def test_the_table_shows_as_many_rows_as_asked_for(run, gpt2, texts, level):
    code, out, _ = run(gpt2, "--data", texts, "--level", level, "--rows", 2)
    assert code == 0
    assert out.splitlines()[2].split()[0] == {"neuron": "weight"}.get(level, level)
    assert out.splitlines()[5].startswith("… ")


def test_quiet_says_nothing_beside_the_answer(run, gpt2, texts):
    code, out, err = run(gpt2, "--data", texts, "--quiet", "--rows", 3)
    assert (code, err) == (0, "")
    assert "… 6 more layers" in out


def test_labels_by_name_are_numbered_and_a_new_head_is_named(run, tmp_path, table):
    model = save_bert(tmp_path / "bare", "BertModel")
    columns = ["--text-column", "text", "--label-column", "label"]
    code, out, _ = run(model, "--data", table, "--task", "sequence-classification", *columns, "--kind", "exact")
    assert code == 0
    assert out.startswith("Exact Fisher of 'bare' (sequence-classification, token_mean): 6 samples, 6 targets")
    assert "2 parameters of 1 layer (classifier.weight, ...) are not in the checkpoint" in out


def test_of_an_adapter_its_own_parameters_are_measured(run, tmp_path, table):
    adapter = save_adapter(tmp_path / "adapter", save_bert(tmp_path / "base", "BertModel"))
    code, out, _ = run(
        adapter, "--data", table, "--text-column", "text", "--label-column", "label", "--level", "tensor", "--json"
    )
    assert code == 0
    names = [tensor["name"] for tensor in json.loads(out)["tensors"]]
    assert len(names) == 4
    assert all("lora_" in name or "modules_to_save" in name for name in names)


def test_a_sequence_to_sequence_model_predicts_the_targets(run, tmp_path):
    (tmp_path / "qa.jsonl").write_text('{"q": "was it good", "a": "very good"}\n{"q": "bad", "a": "not"}\n')
    model = save_t5(tmp_path / "t5")
    code, out, _ = run(model, "--data", tmp_path / "qa.jsonl", "--text-column", "q", "--target-column", "a")
    assert code == 0
    assert out.startswith("Empirical Fisher of 't5' (seq2seq, token_mean): 2 samples, 7 targets")  # with [CLS] and [SEP]


def test_texts_without_a_target_are_counted(run, gpt2, tmp_path):
    (tmp_path / "short.txt").write_text("the film was good\ngood\nbad\n")
    code, out, _ = run(gpt2, "--data", tmp_path / "short.txt")
    assert code == 0
    assert "1 sample, 3 targets, 2 skipped" in out


def test_blank_lines_are_counted_in_the_notes(run, gpt2, tmp_path):
    (tmp_path / "gaps.txt").write_text("the film was good\n\n\n")
    code, out, _ = run(gpt2, "--data", tmp_path / "gaps.txt")
    assert code == 0
    assert "1 texts of 'gaps.txt', cut to 32 tokens, seed 0, 2 blank lines skipped" in out.splitlines()


def test_the_demo_can_be_measured(run, demo_folder, texts):
    settings = ["--task", "masked-lm", "--include", "*layer.5.*", "--keep", "traces", "--mask-share", 0.5, "--samples", 2]
    code, out, _ = run("demo", "--data", texts, *settings)
    assert code == 0
    assert out.startswith("Empirical Fisher of 'all-MiniLM-L6-v2' (masked-lm, token_mean): ")


def test_a_model_in_the_hub_cache_is_measured_by_its_id_and_nobody_else_says_a_word(texts, tmp_path):
    cache, revision = tmp_path / "hub" / "models--org--tiny", "0123456789abcdef0123456789abcdef01234567"
    save_gpt2(cache / "snapshots" / revision)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(revision)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "spectra", "fisher", "org/tiny", "--data", str(texts)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Empirical Fisher of 'org/tiny' (causal-lm, token_mean): 6 samples, 23 targets")
    assert done.stderr == "All rows: --csv. Keep the result for figures, plans and loss surfaces: -o fisher.safetensors\n"


# Files


def test_both_files_are_written_and_named(run, gpt2, texts, tmp_path):
    code, _, err = run(gpt2, "--data", texts, "-o", tmp_path / "new" / "f.safetensors")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["f.json", "f.safetensors"]
    assert f"Next: spectra plot {tmp_path / 'new' / 'f.safetensors'} fisher-by-layer" in err


def test_a_finished_result_is_left_alone_unless_forced(run, refused, gpt2, texts, tmp_path):
    output = tmp_path / "f.safetensors"
    run(gpt2, "--data", texts, "-o", output)
    before = output.read_bytes()
    assert refused(gpt2, "--data", texts, "-o", output, "--seed", 1).startswith(f"'{output}' exists. Choose another name")
    assert output.read_bytes() == before
    assert run(gpt2, "--data", texts, "-o", output, "--keep", "traces", "--force")[0] == 0
    assert output.read_bytes() != before


def interrupted_run(model, data, state, **changes):
    """Measure two texts and stop as Ctrl-C does, which the function leaves to the end of a batch."""
    given = prepared(model, data, **changes)

    def batches():
        yield given.batches[0]
        signal.raise_signal(signal.SIGINT)
        yield given.batches[1]

    with pytest.raises(KeyboardInterrupt):
        fisher(given.model, batches(), task=given.task, state=state)


def test_the_same_command_continues_an_unfinished_run(run, gpt2, texts, tmp_path):
    whole, output, state = tmp_path / "whole.safetensors", tmp_path / "f.safetensors", tmp_path / "f.partial.safetensors"
    run(gpt2, "--data", texts, "--batch-size", 1, "-o", whole)
    interrupted_run(gpt2, texts, state, batch_size=1)
    assert state.exists()
    assert run(gpt2, "--data", texts, "--batch-size", 1, "-o", output)[0] == 0
    assert not state.exists()
    assert output.read_bytes() == whole.read_bytes()


def test_an_unfinished_run_of_other_settings_is_not_continued(refused, gpt2, texts, tmp_path):
    state = tmp_path / "f.partial.safetensors"
    interrupted_run(gpt2, texts, state, batch_size=1)
    before = state.read_bytes()
    line = refused(gpt2, "--data", texts, "--batch-size", 1, "--kind", "exact", "-o", tmp_path / "f.safetensors")
    assert state.read_bytes() == before
    assert line.startswith(f"'{state}' is ")
    assert "unfinished" in line
    assert "kind" in line


@needs_timers
def test_an_interrupted_run_says_where_it_continues(gpt2, tmp_path, capsys):
    (tmp_path / "many.txt").write_text("".join(f"{line}\n" for line in LINES * 50))
    unhandled = signal.getsignal(signal.SIGINT)
    arguments = [gpt2, "--data", tmp_path / "many.txt", "--batch-size", 1, "-o", tmp_path / "f.safetensors"]
    # Once the estimate handles the signal it is at work.
    with (
        ctrl_c_when(lambda _: signal.getsignal(signal.SIGINT) is not unhandled),
        pytest.raises(Interrupted, match="^The texts so far are kept in '.*f.partial.safetensors'; the same command continues"),
    ):
        command.main(list(map(str, arguments)), standalone_mode=False)
    assert (tmp_path / "f.partial.safetensors").exists()
    assert capsys.readouterr().out == ""


# The spectrum

SPECTRUM = "f.spectrum.safetensors"


def test_the_spectrum_is_that_of_the_function_for_the_first_texts(run, gpt2, texts, tmp_path):
    settings = ["--kind", "sampled", "--draws", 2, "--reduction", "sequence_sum", "--exclude", "*.bias", "--seed", 5]
    code, out, _ = run(gpt2, "--data", texts, *settings, "--batch-size", 4, "-o", tmp_path / "f.safetensors", "--spectrum", 4)
    assert code == 0
    given = prepared(gpt2, texts, batch_size=4, seed=5)
    which = {"kind": "sampled", "num_draws": 2, "reduction": "sequence_sum", "exclude": "*.bias", "seed": 5}
    expected = fisher_spectrum(given.model, given.batches.of_first(4), **which)
    found = load_fisher_spectrum(tmp_path / SPECTRUM)
    np.testing.assert_array_equal(found.whole, expected.whole)
    for layer in expected.layers:
        np.testing.assert_array_equal(found.eigenvalues(layer.layer_name), layer.eigenvalues)
    assert (found.info.model, found.info.num_samples, found.info.num_rows) == ("gpt2", 4, 8)
    assert found.info.notes == ("6 texts of 'texts.txt', cut to 32 tokens, seed 5", "the first 4 of them")
    *_, last = out.splitlines()
    numbers = f"largest eigenvalue {expected.whole[-1]:.2e}, stable rank {expected.whole.sum() / expected.whole[-1]:.1f}"
    assert last == f"spectrum of 4 texts: {numbers}; in '{tmp_path / SPECTRUM}'"


def test_the_spectrum_of_all_texts_adds_up_to_the_diagonal(run, bert, texts, tmp_path):
    arguments = ["--mask-share", 0.5, "-o", tmp_path / "f.safetensors", "--spectrum", 100, "--json"]
    code, out, _ = run(bert, "--data", texts, *arguments)
    assert code == 0
    found = load_fisher_spectrum(tmp_path / SPECTRUM)
    diagonal = json.loads(out)  # the spectrum does not get between
    assert found.info.data == diagonal["info"]["data"]
    # float32 gradients
    assert found.whole.sum() == pytest.approx(sum(layer["trace"] for layer in diagonal["layers"]), rel=1e-5)
    assert sorted(path.name for path in tmp_path.glob("f.*")) == ["f.json", "f.safetensors", SPECTRUM]


def test_a_spectrum_that_exists_is_left_alone_unless_forced(run, refused, gpt2, texts, tmp_path):
    (tmp_path / SPECTRUM).write_bytes(b"mine")
    arguments = [gpt2, "--data", texts, "-o", tmp_path / "f.safetensors", "--spectrum", 3]
    assert refused(*arguments).startswith(f"'{tmp_path / SPECTRUM}' exists. Choose another name")
    assert (tmp_path / SPECTRUM).read_bytes() == b"mine"
    assert run(*arguments, "--force")[0] == 0
    assert load_fisher_spectrum(tmp_path / SPECTRUM).info.num_samples == 3


def test_an_unfinished_run_continues_with_a_spectrum(run, gpt2, texts, tmp_path):
    arguments = [gpt2, "--data", texts, "--batch-size", 1, "--spectrum", 3, "-o"]
    run(*arguments, tmp_path / "whole.safetensors")
    interrupted_run(gpt2, texts, tmp_path / "f.partial.safetensors", batch_size=1)
    assert run(*arguments, tmp_path / "f.safetensors")[0] == 0
    for ending in (".safetensors", ".spectrum.safetensors"):
        found, expected = (tmp_path / f"{name}{ending}" for name in ("f", "whole"))
        assert found.read_bytes() == expected.read_bytes()


def test_a_spectrum_of_too_many_gradients_is_refused_before_the_work(refused, gpt2, tmp_path):
    (tmp_path / "many.txt").write_text("it was good\n" * 300)
    arguments = ["--kind", "exact", "--spectrum", 300, "-o", tmp_path / "f.safetensors"]  # 300 texts, 2 targets, 17 words
    assert refused(gpt2, "--data", tmp_path / "many.txt", *arguments).startswith("a spectrum of more than 8,192 gradients")
    assert list(tmp_path.glob("f.*")) == []


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--csv"], "--json and --csv exclude each other. Choose one;"),
        (["--level", "neuron", "--keep", "traces"], "--level neuron needs the sums by neuron. Use --keep neurons or"),
        (["--keep", "traces", "--aggregate", "relative"], "aggregate='relative' needs every value"),
        (["--kind", "empirial"], "Invalid value for '--kind': 'empirial' is not one of 'empirical', 'sampled', 'exact'."),
        (["--kind", "sampled", "--reduction", "token"], "reduction"),
        (["--task", "masked_lm"], "unknown task 'masked_lm'. Did you mean 'masked-lm'?"),
        (["--task", "masked-lm"], "'{model}': transformers has no gpt2 model for task 'masked-lm'."),
        (["--device", "nowhere"], "device: cannot compute on 'nowhere'"),
        (["--dtype", "float31"], "unknown dtype 'float31'. Did you mean 'float32'?"),
        (["--samples", "0"], "Invalid value for '--samples'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--max-length", "33"], "max_length: expected 1 to 32 tokens, as the model takes, got 33."),
        (["--mask-share", "2"], "mask_share: expected a share above 0 and up to 1, got 2."),
        (["--include", "layer.*"], "no parameter matches 'layer.*'."),
        (["--text-column", "txt"], "'{texts}' has no column 'txt'. Did you mean 'text'? Columns: 'text'."),
        (["--label-column", "text"], "task 'causal-lm' reads no label. Leave --label-column out"),
        (["-o", "fisher.npz"], "'fisher.npz' must end in .safetensors"),
        (["--spectrum", "3"], "--spectrum writes a file beside the result. Name the result, too: -o FILE.safetensors"),
        (["--spectrum", "0"], "Invalid value for '--spectrum'"),
        (["--outptu", "x"], "No such option '--outptu'. Did you mean '--output'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_argument_that_cannot_be_used_is_one_line(refused, gpt2, texts, arguments, message):
    assert message.format(model=gpt2, texts=texts) in refused(gpt2, "--data", texts, *arguments)


def test_data_are_asked_for(refused, gpt2):
    assert refused(gpt2).startswith("Missing option '--data'.")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "", "holds no examples. Give a file with at least one."),
        ("empty.csv", "text,label\n", "holds no examples."),
        ("words.txt", "good\nbad\n", "no sample of 2 has a target"),
    ],
    ids=["no bytes", "no rows", "no targets"],
)
def test_data_with_nothing_to_measure_are_one_line(refused, gpt2, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    columns = ["--text-column", "text"] if name.endswith("csv") else []
    assert message in refused(gpt2, "--data", tmp_path / name, *columns)


def test_missing_data_are_one_line(refused, gpt2, tmp_path):
    assert refused(gpt2, "--data", tmp_path / "no.txt").startswith(f"cannot read '{tmp_path / 'no.txt'}': No such file")


def test_an_unknown_column_comes_with_a_suggestion(refused, tmp_path, table):
    model = save_bert(tmp_path / "model", "BertForSequenceClassification")
    line = refused(model, "--data", table, "--text-column", "txet", "--label-column", "label")
    assert line == f"'{table}' has no column 'txet'. Did you mean 'text'? Columns: 'text', 'label'."


def test_a_classifier_asks_for_labels(refused, tmp_path, table):
    model = save_bert(tmp_path / "model", "BertForSequenceClassification")
    line = refused(model, "--data", table, "--text-column", "text")
    assert line == "task 'sequence-classification' needs a label per text. Say which column holds it: --label-column NAME."


def test_a_label_out_of_range_is_named_with_its_row(refused, tmp_path):
    model = save_bert(tmp_path / "model", "BertForSequenceClassification")
    (tmp_path / "data.csv").write_text("text,label\nthe film,0\na film,2\n")
    line = refused(model, "--data", tmp_path / "data.csv", "--text-column", "text", "--label-column", "label")
    assert line.startswith("row 2: label 2 is none of the model's 2 classes.")


def test_a_loss_that_is_not_finite_is_one_line(refused, gpt2, texts):
    weights = load_file(gpt2 / "model.safetensors")
    name = next(name for name in weights if name.endswith("ln_f.weight"))
    save_file({**weights, name: torch.full_like(weights[name], float("nan"))}, gpt2 / "model.safetensors", {"format": "pt"})
    assert "not finite" in refused(gpt2, "--data", texts)


def test_a_model_that_cannot_be_loaded_is_one_line(refused, gpt2, texts):
    (gpt2 / "model.safetensors").write_bytes(b"text")
    assert refused(gpt2, "--data", texts).startswith("cannot load 'gpt2' (")


def test_a_refused_command_leaves_nothing_behind(refused, gpt2, tmp_path):
    (tmp_path / "words.txt").write_text("good\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    refused(gpt2, "--data", tmp_path / "words.txt", "-o", tmp_path / "f.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
