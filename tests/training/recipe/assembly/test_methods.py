import shutil

import pytest
import torch

from spectra.training.recipe.assembly.assembling import assembled
from tests.assembled_runs import classifier, domains, labelled, prompts, recipe, save_encoder, save_llama, texts, weights
from tests.pretrained import save_bert, save_gpt2, save_t5

LORA = {"name": "lora", "rank": 2, "targets": ["query", "value"]}
BALANCED = {"tempbalance": {"interval": 1}, "alphadecay": {"interval": 1}}
DECAY = {"weight_decay": 0.1}
EVERYTHING = {"diagnostics": BALANCED | {"guided_dropout": {"p_upper": 0.3}}, "training": DECAY}


def of_domains(folder, **changes):
    data = {"tasks": domains(folder), "eval": "eval", "test": "test", "text_column": "text", "label_column": "label"}
    return recipe(folder, save_encoder(folder / "bert"), data | {"max_length": 16}, **({"method": "meta_peft"} | changes))


def of_prompts(folder, **changes):
    data = {use: prompts(folder, use) for use in ("train", "eval", "test")}
    columns = {"prompt_column": "prompt", "response_column": "response", "max_length": 32}
    return recipe(folder, save_llama(folder / "llama"), data | columns, **changes)


def of_texts(folder, model, **data):
    files = {use: texts(folder, use) for use in ("train", "eval")}
    return recipe(folder, model, files | {"text_column": "text", "max_length": 16} | data)


SDFT = {"name": "sdft", "task": "text", "generation": {"sampled": False, "max_new_tokens": 4}}
RUNS = {
    "plain": lambda folder: classifier(folder),
    "plain, both balances": lambda folder: classifier(folder, diagnostics=BALANCED, training=DECAY),
    "plain, best state": lambda folder: classifier(folder, training={"metric_for_best_model": "accuracy", "eval_steps": 2}),
    "dcs, everything": lambda folder: classifier(folder, method="dcs", adapter=LORA, **EVERYTHING),
    "meta_peft, everything": lambda folder: of_domains(folder, adapter=LORA, **EVERYTHING),
    "meta_peft, standard": lambda folder: of_domains(folder, method={"name": "meta_peft", "method": "standard"}),
    "sdft": lambda folder: of_prompts(folder, method=SDFT, adapter={"name": "lora", "rank": 2}),
    "responses, dcs": lambda folder: of_prompts(folder, method="dcs"),
    "causal-lm": lambda folder: of_texts(folder, save_gpt2(folder / "gpt2"), target_column="label"),
    "masked-lm": lambda folder: of_texts(folder, save_bert(folder / "bert")),
    "seq2seq": lambda folder: of_texts(folder, save_t5(folder / "t5"), target_column="label"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_goes_on_from_a_checkpoint_ends_with_the_same_bits(tmp_path, name):
    made = RUNS[name](tmp_path)
    whole = assembled(made, tmp_path / "run")
    whole.trainer.train()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "checkpoint-4")
    rest = assembled(made, tmp_path / "run")
    assert not rest.seconds.keys() - {"responses"}
    rest.trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoints" / "checkpoint-2"))
    for one, other in zip(weights(whole.trainer.model), weights(rest.trainer.model), strict=True):
        assert torch.equal(one, other)
    steps = [[line["loss"] for line in one.trainer.state.log_history if "loss" in line] for one in (whole, rest)]
    assert steps[0] == steps[1]


def test_logs_of_multipliers_go_to_the_run_folder_and_know_the_whole_run(tmp_path):
    from spectra.results.scale_log import load_scale_log

    made = classifier(tmp_path, diagnostics=BALANCED, training=DECAY)
    assembled(made, tmp_path / "run").trainer.train()
    for name in BALANCED:
        log = load_scale_log(tmp_path / "run" / f"{name}.jsonl")
        assert [record.step for record in log.records] == [0, 1, 2, 3, 4]
        assert len({tuple(record.scales.values()) for record in log.records}) > 1


def test_a_teacher_is_trained_as_its_student_is(tmp_path, capsys):
    from spectra.training.guided_dropout import GuidedDropoutCallback
    from spectra.training.tempbalance_callback import TempBalanceCallback

    run = assembled(classifier(tmp_path, method={"name": "dcs", "generations": 2}, **EVERYTHING), tmp_path / "run")
    nested = run.trainer.make_teacher_trainer(run.model, run.trainer.args, run.trainer.config)
    further = nested.make_teacher_trainer(run.model, run.trainer.args, run.trainer.config)
    for trainer in (run.trainer, nested, further):
        kinds = [type(one) for one in trainer.callback_handler.callbacks]
        assert kinds.count(TempBalanceCallback) == 2
        assert kinds.count(GuidedDropoutCallback) == 1
    run.trainer.train()
    assert capsys.readouterr().out == ""  # nobody prints what is logged
    at_work = [one.balance.seconds_of_updates > 0 for one in run.balances if one.balance is not None]
    assert at_work == [True] * 6  # of the student and its two teachers


def test_options_of_a_method_reach_it(tmp_path):
    run = assembled(classifier(tmp_path, method={"name": "dcs", "lam": 0.25, "tau": 3.0}), tmp_path / "run")
    assert (run.trainer.config.lam, run.trainer.config.tau) == (0.25, 3.0)


def test_the_base_of_several_tasks_is_analysed_and_saved(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = assembled(of_domains(tmp_path, adapter=LORA), tmp_path / "run")
    run.trainer.train()
    found = run.trainer.evaluate(run.test_data, metric_key_prefix="test")
    assert {"test_loss", "test_accuracy", "test_books_accuracy"} <= found.keys()
    assert not any("lora" in name for name, _ in run.model.named_parameters())
    run.save(tmp_path / "model")
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(saved.get_parameter(name), run.model.get_parameter(name))
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("good")["input_ids"] == run.tokenizer("good")["input_ids"]


def test_sdft_is_trained_on_what_the_model_wrote(tmp_path):
    run = assembled(of_prompts(tmp_path, method=SDFT), tmp_path / "run")
    assert (tmp_path / "run" / "responses.jsonl").exists()
    assert "responses are in the model's own words" in run.notes[0]
    assert list(run.seconds) == ["responses"]
    looked = assembled(of_prompts(tmp_path, method=SDFT), tmp_path / "looked", prepare=False)
    assert len(looked.trainer.train_dataset) == len(run.trainer.train_dataset) == 8
    assert not (tmp_path / "looked" / "responses.jsonl").exists()


def test_labelled_data_of_all_kinds_have_a_trainer(tmp_path):
    numbers = {use: texts(tmp_path, use, label=lambda text: len(text) / 10) for use in ("train", "eval")}
    model = {"name": str(save_encoder(tmp_path / "bert")), "task": "regression"}
    made = recipe(tmp_path, model, numbers | {"text_column": "text", "label_column": "label", "max_length": 16}, method="dcs")
    run = assembled(made, tmp_path / "run")
    run.trainer.train()
    assert {"eval_pearson", "eval_spearman"} <= run.trainer.evaluate().keys()
    assert run.task == "regression"
    assert labelled(tmp_path).keys() >= {"train", "eval"}
